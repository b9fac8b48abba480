/**
 * What a till or a gate needs to go on without a server (脱机): its scanner, what waits for the server, and the meetings
 * at which both are brought together again, as `qr/sync.py` does. Loaded once the page is ready for its first code.
 */

import { NoAnswer } from "./api.js";
import { drawDevice } from "./device.js";
import { Scanner } from "./qr/scanner.js";
import { ScannerStore } from "./qr/store.js";
import { IndexedTables } from "./qr/tables.js";
import { Verifier } from "./qr/verifier.js";

const MEET_MS = 60_000;
const MEET_SOON_MS = 10_000; // while something waits for the server
const ITEMS_AT_ONCE = 200;
const BUNDLE = "/terminals/current/bundle";
const SCOPE_PAY = 1;

/** The outcomes of an upload that nobody has to look at. */
const ORDINARY = ["charged", "recorded", "already-charged", "already-recorded"];

/** The server has kept nothing of these: they stay in the queue. */
const NOT_TAKEN = ["malformed", "id-reused"];

const judged = ({ outcome, reference }) => ({ outcome, reference, taken: !NOT_TAKEN.includes(outcome), ordinary: ORDINARY.includes(outcome) });

/** The server refused what a meeting asked for; `code` says why. */
class Declined extends Error {
  constructor({ status, body }) {
    super(body?.code ?? `status ${status}`);
    this.code = this.message;
  }
}

export class Alone {
  /** How it stands: the queue, what to look at, the last and the next meeting (milliseconds), what went wrong there. */
  status = { queueLength: 0, lastSequence: 0, attention: [], lastContact: null, nextTry: null, trouble: null };
  #api;
  #terminal;
  #store;
  #scanner = null;
  #beat;
  #onChange;
  #meeting = false;
  #again = false;
  #timer = null;

  /**
   * Opens the store of a terminal and begins to meet the server. `beat()` tells the server of us and resolves to
   * `{serverTime, at}` or null; `onChange()` hears whenever `status` or the bundle may have changed.
   */
  static async open(api, terminal, { beat, onChange }) {
    const alone = new Alone();
    alone.#api = api;
    alone.#terminal = terminal;
    alone.#beat = beat;
    alone.#onChange = onChange;
    alone.#store = new ScannerStore(await IndexedTables.open(`campus-card.scanner.${terminal.terminal_id}`));
    if (terminal.enrolled) await alone.#store.forgetSchool();
    await alone.#openScanner(await alone.#store.school());
    await alone.#count();
    alone.#meetWheneverPossible();
    navigator.storage?.persist?.(); // what waits for the server is not to be cleared away for space
    keepFiles().catch((error) => console.warn("a reload will need the network:", error.message));
    return alone;
  }

  /** The bundle in use, or null. */
  get bundle() {
    return this.#scanner?.bundle ?? null;
  }

  /** Whether the school lets this till take money without network. */
  get takesMoney() {
    return this.bundle?.till?.offline ?? false;
  }

  /** What a heartbeat tells. */
  told() {
    const { queueLength, lastSequence } = this.status;
    const known = this.bundle && { bundle_sequence: this.bundle.sequence };
    return { queue_length: queueLength, last_sequence: lastSequence, ...known };
  }

  /** Decides a charge, as `Scanner.decideCharge`; on disk when it resolves. */
  decideCharge(code, amountFen, id) {
    return this.#decided(this.#scanner.decideCharge(code, { amountFen, id, now: Date.now() }));
  }

  /** Decides a passage, as `Scanner.decidePassage`; on disk when it resolves. */
  decidePassage(code, { direction, emergency, id }) {
    return this.#decided(this.#scanner.decidePassage(code, { direction, emergency, id, now: Date.now() }));
  }

  /** What was decided here under an id, or undefined. */
  decision(id) {
    return this.#store.decision(id);
  }

  /** Gives an id up; returns what was decided under it before, if anything was. */
  forsake(id) {
    return this.#store.forsake(id);
  }

  /** Notes that the server has accepted a code, for a payment or for the passage in this direction. */
  async noteUsed(code, { direction } = {}) {
    await this.#scanner?.noteUsed(code, { scope: this.bundle?.gate?.scope ?? SCOPE_PAY, direction, now: Date.now() });
  }

  /** Draws how the device stands wherever the page has room for it. */
  drawDevice(onSeen) {
    drawDevice(this, (decision) => this.seen(decision).then(onSeen));
  }

  /** Somebody has seen the outcome of this decision. */
  async seen({ sequence }) {
    await this.#store.seen(sequence);
    await this.#count();
  }

  /** Tells the server everything that waits, and learns what is new; never throws. */
  async meet() {
    if (this.#meeting) {
      this.#again = true; // the network came back, or failed and came back, in the middle of it
      return;
    }
    this.#meeting = true;
    this.#again = false;
    this.status.trouble = null;
    const talk = () => this.#talk();
    // Two pages of one terminal take turns. Where there are no locks, on plain HTTP, the server is told some things twice.
    const talked = navigator.locks?.request(`campus-card.meet.${this.#terminal.terminal_id}`, talk) ?? talk();
    await talked.catch((error) => this.#note(error));
    await this.#count().catch((error) => this.#note(error));
    this.#meetAgain();
    this.#meeting = false;
    this.#onChange();
    if (this.#again) await this.meet();
  }

  async #talk() {
    const heard = await this.#beat();
    if (!heard) throw new NoAnswer("no heartbeat");
    this.status.lastContact = Date.now();
    if (!this.#scanner) await this.#openScanner(await this.#store.pinSchool(await this.#ask(`${BUNDLE}/keys`)));
    await this.#scanner.learnTime(heard.serverTime, heard.at);
    // What one of them cannot do is no reason not to try the other.
    await this.#upload().catch((error) => this.#note(error));
    await this.#learn().catch((error) => this.#note(error));
  }

  async #openScanner(school) {
    if (!school) return;
    const { issuer, keys } = school;
    this.#scanner = await Scanner.open(this.#store, {
      roots: Verifier.keysOf({ keys }),
      issuer,
      terminal: this.#terminal.terminal_id,
    });
  }

  /** Tells what waits, oldest first. Cut at any point it is told again: the server knows each decision by its id. */
  async #upload() {
    for (let last = 0; ; ) {
      const items = await this.#store.waiting(ITEMS_AT_ONCE, last);
      if (items.length === 0) return;
      last = items.at(-1).sequence;
      const path = "amount_fen" in items[0] ? "/charges/late" : "/passages/late";
      const answer = await this.#api.post(path, { items });
      if (!answer.ok) throw new Declined(answer);
      const outcomes = new Map(answer.body.items.map((said) => [said.id, said]));
      const told = items.filter(({ id }) => outcomes.has(id));
      await this.#store.confirmed(told.map(({ id, sequence }) => ({ id, sequence, ...judged(outcomes.get(id)) })));
      await this.#count();
      this.#onChange();
    }
  }

  async #learn() {
    const after = this.bundle ? `?after=${this.bundle.sequence}` : "";
    const answer = await this.#api.get(BUNDLE + after);
    if (answer.status === 304) return;
    if (!answer.ok) throw new Declined(answer);
    await this.#scanner.learn(answer.body.bundle).catch(async (error) => {
      if (error.code !== "bundle-base-missing") throw error;
      await this.#scanner.learn((await this.#ask(BUNDLE)).bundle);
    });
  }

  async #ask(path) {
    const answer = await this.#api.get(path);
    if (!answer.ok) throw new Declined(answer);
    return answer.body;
  }

  async #decided(deciding) {
    const decision = await deciding;
    await this.#count();
    this.#onChange();
    return decision;
  }

  async #count() {
    Object.assign(this.status, await this.#store.counts(), { attention: await this.#store.attention() });
  }

  #note(error) {
    this.status.trouble = error instanceof NoAnswer ? "unreachable" : (error.code ?? error.name);
  }

  #meetWheneverPossible() {
    window.addEventListener("online", () => this.meet());
    const show = this.#api.onReach;
    this.#api.onReach = (reached) => {
      show(reached);
      if (reached && !this.#meeting && this.status.trouble === "unreachable") this.meet();
    };
    this.meet();
  }

  #meetAgain() {
    clearTimeout(this.#timer);
    const wait = this.status.queueLength > 0 ? MEET_SOON_MS : MEET_MS;
    this.status.nextTry = Date.now() + wait;
    this.#timer = setTimeout(() => this.meet(), wait);
  }
}

/** Has the files of this page kept for a reload without network; on plain HTTP no browser does that. */
async function keepFiles() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("service-worker.js");
  const { active } = await navigator.serviceWorker.ready;
  const files = [location.href, ...performance.getEntriesByType("resource").map(({ name }) => name)];
  active.postMessage({ files });
}
