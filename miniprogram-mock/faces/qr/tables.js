/**
 * Where a scanner keeps what it must not forget: tables of rows by key, changed in transactions. In a browser they are
 * in IndexedDB and survive a power cut; in Node, for tests of the rules, in memory.
 *
 * Both have `transact(work)`: `work(rows)` may await nothing but the rows, and either all that it changed is on disk
 * when `transact` has resolved, or, when it throws, none of it ever was. Transactions come one after another, also
 * those of two pages.
 *
 * `rows`: `get(table, key)`, `put(table, key, value)`, `delete(table, key)`, `count(table)`, and `list(table, {most,
 * above})`: `[key, value]` in the order of the keys, of those above a number where one is given.
 */

export const TABLES = ["state", "marks", "passages", "spent", "queue", "decisions", "attention"];
const VERSION = 1;

const settled = (request) =>
  new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });

export class IndexedTables {
  #database;

  constructor(database) {
    this.#database = database;
  }

  /** Opens the database of this name; it is made at first. */
  static async open(name) {
    const opening = indexedDB.open(name, VERSION);
    opening.onupgradeneeded = () => TABLES.forEach((table) => opening.result.createObjectStore(table));
    const database = await settled(opening);
    database.onversionchange = () => database.close(); // a newer page shall not wait for this one
    return new IndexedTables(database);
  }

  async transact(work) {
    const transaction = this.#database.transaction(TABLES, "readwrite", { durability: "strict" });
    const ended = new Promise((done, failed) => {
      transaction.oncomplete = done;
      transaction.onabort = () => failed(transaction.error ?? new Error("aborted"));
    });
    ended.catch(() => {}); // heard below; an error of `work` itself says more
    try {
      const result = await work(rowsOf(transaction));
      await ended;
      return result;
    } catch (error) {
      if (transaction.error === null) abort(transaction);
      throw error;
    }
  }
}

function abort(transaction) {
  try {
    transaction.abort();
  } catch {
    // it has ended already
  }
}

const rowsOf = (transaction) => ({
  get: (table, key) => settled(transaction.objectStore(table).get(key)),
  put: (table, key, value) => settled(transaction.objectStore(table).put(value, key)),
  delete: (table, key) => settled(transaction.objectStore(table).delete(key)),
  count: (table) => settled(transaction.objectStore(table).count()),
  async list(table, { most, above } = {}) {
    const store = transaction.objectStore(table);
    const range = above === undefined ? null : IDBKeyRange.lowerBound(above, true);
    const [keys, values] = await Promise.all([settled(store.getAllKeys(range, most)), settled(store.getAll(range, most))]);
    return keys.map((key, index) => [key, values[index]]);
  },
});

export class MemoryTables {
  #tables = Object.fromEntries(TABLES.map((table) => [table, new Map()]));
  #last = Promise.resolve();

  transact(work) {
    const turn = this.#last.then(() => this.#run(work));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #run(work) {
    const copies = Object.fromEntries(TABLES.map((table) => [table, new Map(this.#tables[table])]));
    const result = await work(rowsIn(copies));
    this.#tables = copies;
    return result;
  }
}

/** Keys are numbers, texts, or lists of them; a Map tells lists apart by identity, so they are spelled. */
const rowsIn = (tables) => ({
  get: async (table, key) => structuredClone(tables[table].get(JSON.stringify(key))),
  put: async (table, key, value) => void tables[table].set(JSON.stringify(key), structuredClone(value)),
  delete: async (table, key) => void tables[table].delete(JSON.stringify(key)),
  count: async (table) => tables[table].size,
  list: async (table, { most = Infinity, above = -Infinity } = {}) =>
    [...tables[table]]
      .map(([key, value]) => [JSON.parse(key), structuredClone(value)])
      .filter(([key]) => !(key <= above))
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .slice(0, most),
});
