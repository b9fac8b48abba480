/** One passage from scan to decision. A decision recorded twice under one id is one decision. */

import { NoAnswer, newId, pause } from "../faces/api.js";

const RETRY_AFTER_MS = [0, 500, 1200];

/** How long a gate that may decide by itself waits for an answer: people stand in line. */
const PATIENCE_MS = { reached: 2000, silent: 1000 };

export class Passing {
  #undecided = new Map(); // code → id, so that showing the same code again asks for the same decision

  /** `alone()` is the gate's scanner with its queue, or null where there is none yet. */
  constructor(api, { alone }) {
    this.api = api;
    this.alone = alone;
  }

  /**
   * Resolves to `{decision, …}` with the passage, `{problem}` for a refusal, or null: nobody answered. A passage that
   * the gate decided by itself has `alone`.
   */
  async pass(code, direction) {
    const id = this.#undecided.get(code) ?? newId();
    this.#undecided.set(code, id);
    const answered = await this.#send(id, code, direction);
    if (answered?.decision === "allow") this.alone()?.noteUsed(code, { direction }).catch(() => null); // the door is open anyway
    const decided = answered ?? (await this.#decide(id, code, direction));
    if (decided) this.#undecided.delete(code);
    return decided;
  }

  /** Lets somebody leave in an emergency, with a code or without: nobody waits for a server, nothing stands against it. */
  async leave(code) {
    const decision = await this.#decide(newId(), code, "out", true).catch(() => null);
    return { reason: null, holder: null, alone: true, ...decision, decision: "allow", direction: "out" };
  }

  async #send(id, code, direction) {
    const alone = Boolean(this.alone()?.bundle);
    const reached = this.api.reached && navigator.onLine;
    const options = alone ? { timeoutMs: reached ? PATIENCE_MS.reached : PATIENCE_MS.silent } : {};
    for (const wait of alone && !reached ? [0] : RETRY_AFTER_MS) {
      await pause(wait);
      const answer = await this.#answer(() => this.api.put(`/passages/${id}`, { code, direction }, options));
      if (answer) return answer.ok ? answer.body : { problem: answer.body };
    }
    return null;
  }

  async #decide(id, code, direction, emergency = false) {
    const alone = this.alone();
    if (!alone?.bundle) return null;
    const { accepted, reason } = await alone.decidePassage(code, { direction, emergency, id });
    return { id, decision: accepted ? "allow" : "deny", reason, direction, holder: null, alone: true };
  }

  async #answer(request) {
    try {
      return await request();
    } catch (error) {
      if (error instanceof NoAnswer) return null;
      throw error;
    }
  }
}
