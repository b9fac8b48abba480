/**
 * What a scanner remembers through a power cut (本地存储), as `qr/store.py` does: a decision, the mark of its code, the
 * counters and the place in the queue are one transaction, on disk before anybody hears of it.
 *
 * Moments are milliseconds, marks and what is trusted whole seconds, both since 1970.
 */

const KEPT_SECONDS = 3 * 86_400; // marks and counters: longer than any code, delegation or bundle lives
const NEW = { clockOffset: 0, trustedAt: null, lastSequence: 0, bundleSequence: null, cleanedAt: 0 };
const ALL = "*";

/** One decision on its way to the disk: made by `ScannerStore.deciding` alone. */
class Deciding {
  #rows;
  #state;

  constructor(rows, state) {
    this.#rows = rows;
    this.#state = state;
  }

  static async begin(rows) {
    return new Deciding(rows, (await rows.get("state", "scanner")) ?? { ...NEW });
  }

  /** What to add to this device's clock, in milliseconds. */
  get clockOffset() {
    return this.#state.clockOffset;
  }

  /** A second that has surely passed, or null. */
  get trustedAt() {
    return this.#state.trustedAt;
  }

  /** The sequence of the bundle in use, or null: another page may have learnt one. */
  get bundleSequence() {
    return this.#state.bundleSequence;
  }

  /** Notes a second that has surely passed: no clock may show an earlier one again. */
  trust(second) {
    return this.#change({ trustedAt: Math.max(this.trustedAt ?? 0, second) });
  }

  /** Uses a code up; false when it, or a newer one of its bearer, already was. */
  async claim(bearer, scope, { issuedAt, sequence }) {
    const last = await this.#rows.get("marks", [scope, bearer]);
    if (last && (issuedAt < last.issuedAt || (issuedAt === last.issuedAt && sequence <= last.sequence))) return false;
    await this.#rows.put("marks", [scope, bearer], { issuedAt, sequence });
    return true;
  }

  /** Which way a bearer went last through this gate, `{direction, at}` in seconds, or undefined. */
  lastPassage(bearer) {
    return this.#rows.get("passages", bearer);
  }

  notePassage(bearer, direction, second) {
    return this.#rows.put("passages", bearer, { direction, at: second });
  }

  /** What was taken on a day, `{count, fen}`, from one bearer, or from all. */
  async spent(day, bearer = ALL) {
    return (await this.#rows.get("spent", [day, bearer])) ?? { count: 0, fen: 0 };
  }

  async noteCharge(day, bearer, amountFen) {
    for (const whose of [bearer, ALL]) {
      const { count, fen } = await this.spent(day, whose);
      await this.#rows.put("spent", [day, whose], { count: count + 1, fen: fen + amountFen });
    }
  }

  /** What was decided under an id, here or in another page, or undefined. It holds no code. */
  decision(id) {
    return this.#rows.get("decisions", id);
  }

  /**
   * Puts what was decided in the queue; returns its place, one above the last ever given. `facts` are of this terminal
   * alone: the server is not told them.
   */
  async enqueue(item, { accepted, facts }) {
    const sequence = this.#state.lastSequence + 1;
    await this.#change({ lastSequence: sequence });
    await this.#rows.put("queue", sequence, item);
    const { code, ...said } = item;
    await this.#rows.put("decisions", item.id, { ...said, accepted, facts, sequence, outcome: null });
    return sequence;
  }

  #change(changed) {
    this.#state = { ...this.#state, ...changed };
    return this.#rows.put("state", "scanner", this.#state);
  }
}

export class ScannerStore {
  #tables;

  /** `tables` as in `tables.js`; one terminal has them for itself, its pages share them. */
  constructor(tables) {
    this.#tables = tables;
  }

  /** Runs `work(deciding)`; what it did is on disk when this has resolved, or it never was. */
  deciding(work) {
    return this.#tables.transact(async (rows) => work(await Deciding.begin(rows)));
  }

  /** The claims of the bundle in use, or null. */
  async claims() {
    return (await this.#tables.transact((rows) => rows.get("state", "bundle"))) ?? null;
  }

  /** Keeps a bundle, unless a newer one is here, and forgets once a day what no code can need any more. */
  keepClaims(claims) {
    return this.#changing(async (rows, state) => {
      if (claims.seq <= (state.bundleSequence ?? 0)) return state;
      await rows.put("state", "bundle", claims);
      const cleaned = claims.iat - state.cleanedAt > 86_400;
      if (cleaned) await forget(rows, claims.iat - KEPT_SECONDS);
      return {
        ...state,
        bundleSequence: claims.seq,
        trustedAt: Math.max(state.trustedAt ?? 0, claims.iat),
        cleanedAt: cleaned ? claims.iat : state.cleanedAt,
      };
    });
  }

  /**
   * Keeps what to add to this device's clock, in milliseconds, as the server told. The server is believed backwards too:
   * a scanner that was led into the future comes back.
   */
  keepClock({ offset, trustedAt }) {
    return this.#changing((_, state) => ({ ...state, clockOffset: offset, trustedAt }));
  }

  /** Whom to believe, `{issuer, keys}` as the school published them when this terminal first asked, or null. */
  async school() {
    return (await this.#tables.transact((rows) => rows.get("state", "school"))) ?? null;
  }

  /** Keeps whom to believe for good: the first answer stays, also against another page's. Returns what is kept. */
  pinSchool(school) {
    return this.#tables.transact(async (rows) => {
      const kept = await rows.get("state", "school");
      if (!kept) await rows.put("state", "school", school);
      return kept ?? school;
    });
  }

  /** Forgets the school and its bundle, as a new enrolment does; marks and queue stay. */
  forgetSchool() {
    return this.#changing(async (rows, state) => {
      await rows.delete("state", "school");
      await rows.delete("state", "bundle");
      return { ...state, bundleSequence: null };
    });
  }

  /**
   * Gives an id up that the server did not answer, so that nothing is decided under it any more. Returns what was
   * decided under it before, if anything was: that stands, and its id must not be voided.
   */
  forsake(id) {
    return this.#tables.transact(async (rows) => {
      const decision = await rows.get("decisions", id);
      const forsaken = { id, forsaken: true, outcome: "forsaken", decided_at: new Date().toISOString() };
      if (!decision) await rows.put("decisions", id, forsaken);
      return decision?.forsaken ? undefined : decision;
    });
  }

  /** What was decided under an id, or undefined. */
  decision(id) {
    return this.#tables.transact((rows) => rows.get("decisions", id));
  }

  /** The oldest items of the queue above a sequence, each with its own. */
  async waiting(most, above = 0) {
    const rows = await this.#tables.transact((tables) => tables.list("queue", { most, above }));
    return rows.map(([sequence, item]) => ({ sequence, ...item }));
  }

  /** `{queueLength, lastSequence}`: how many items the server has not confirmed, and the last sequence ever given. */
  counts() {
    return this.#tables.transact(async (rows) => ({
      queueLength: await rows.count("queue"),
      lastSequence: (await rows.get("state", "scanner"))?.lastSequence ?? 0,
    }));
  }

  /**
   * Keeps what came of items of the queue, `[{id, sequence, outcome, reference, taken, ordinary}]`, with their decisions.
   * What the server has taken leaves the queue; what did not end in an ordinary way waits for somebody to see it.
   */
  confirmed(outcomes) {
    return this.#tables.transact(async (rows) => {
      for (const { id, sequence, outcome, reference, taken, ordinary } of outcomes) {
        const before = await rows.get("decisions", id);
        const decision = { ...before, outcome, reference };
        if (taken) await rows.delete("queue", sequence);
        await rows.put("decisions", id, decision);
        if (!ordinary && before.outcome !== outcome) await rows.put("attention", sequence, decision);
      }
    });
  }

  /** The decisions whose outcome nobody has seen yet, oldest first. */
  async attention() {
    const rows = await this.#tables.transact((tables) => tables.list("attention"));
    return rows.map(([, decision]) => decision);
  }

  /** Somebody has seen the outcome of the decision with this sequence. */
  seen(sequence) {
    return this.#tables.transact((rows) => rows.delete("attention", sequence));
  }

  #changing(work) {
    return this.#tables.transact(async (rows) => {
      const state = (await rows.get("state", "scanner")) ?? { ...NEW };
      await rows.put("state", "scanner", await work(rows, state));
    });
  }
}

async function forget(rows, before) {
  const day = new Date(before * 1000).toISOString();
  const old = {
    marks: ({ issuedAt }) => issuedAt < before,
    passages: ({ at }) => at < before,
    spent: (_, [ofDay]) => ofDay < day.slice(0, 10),
    decisions: ({ outcome, decided_at: at }) => outcome && at < day,
  };
  for (const [table, isOld] of Object.entries(old)) {
    for (const [key, value] of await rows.list(table)) if (isOld(value, key)) await rows.delete(table, key);
  }
}
