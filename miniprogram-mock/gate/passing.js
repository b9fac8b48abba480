/** One passage from scan to decision. A decision recorded twice under one id is one decision. */

import { NoAnswer, newId, pause } from "../faces/api.js";

const RETRY_AFTER_MS = [0, 500, 1200];

export class Passing {
  #undecided = new Map(); // code → id, so that showing the same code again asks for the same decision

  constructor(api) {
    this.api = api;
  }

  /** Resolves to `{decision, …}` with the passage, `{problem}` for a refusal, or null: nobody answered. */
  async pass(code, direction) {
    const id = this.#undecided.get(code) ?? newId();
    this.#undecided.set(code, id);
    for (const wait of RETRY_AFTER_MS) {
      await pause(wait);
      const answer = await this.#answer(() => this.api.put(`/passages/${id}`, { code, direction }));
      if (answer) {
        this.#undecided.delete(code);
        return answer.ok ? answer.body : { problem: answer.body };
      }
    }
    return null;
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
