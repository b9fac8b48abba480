/**
 * One charge from the first byte to a definite answer, whatever the network does. The id is stored
 * before it is sent and every retry carries the same one, so the server charges at most once.
 */

import { NoAnswer, newId, pause } from "../faces/api.js";

const RETRY_AFTER_MS = [600, 1500];
const VOID_AGAIN_MS = { first: 800, longest: 15_000 };

export class Charging {
  #givenUp = false;

  /** `tell(stage)` hears `sending`, then in doubt `retrying`, `asking`, `voiding`. */
  constructor(api, pending, tell) {
    this.api = api;
    this.pending = pending;
    this.tell = tell;
  }

  /** Charges the code: `{outcome: "approved" | "refused" | "voided", charge | problem}`. */
  async charge(code, amountFen) {
    const entry = { kind: "charge", id: newId(), amount_fen: amountFen };
    this.pending.add(entry);
    this.#givenUp = false;
    this.tell("sending");
    const result = (await this.#send(entry, code)) ?? (await this.#ask(entry)) ?? (await this.#void(entry));
    this.pending.remove(entry);
    return result;
  }

  /** Settles a charge left over from before a reload: its code is gone, so it is asked for, else voided. */
  async recover(entry) {
    const result = (await this.#ask(entry)) ?? (await this.#void(entry));
    this.pending.remove(entry);
    return result;
  }

  /** Stops retrying the charge in doubt and voids it. */
  giveUp() {
    this.#givenUp = true;
  }

  async #send({ id, amount_fen }, code) {
    for (const wait of [0, ...RETRY_AFTER_MS]) {
      await pause(wait);
      if (this.#givenUp) return null;
      const answer = await this.#answer(() => this.api.put(`/charges/${id}`, { code, amount_fen }));
      if (answer && (decides(answer) || wait === 0)) return resultOf(answer);
      this.tell("retrying");
    }
    return null;
  }

  async #ask({ id }) {
    this.tell("asking");
    const answer = await this.#answer(() => this.api.get(`/charges/${id}`));
    // 404 is no answer to build on: the request may still be under way. Only a void settles that.
    return answer?.ok ? resultOf(answer) : null;
  }

  async #void({ id, amount_fen }) {
    for (let wait = VOID_AGAIN_MS.first; ; wait = Math.min(wait * 2, VOID_AGAIN_MS.longest)) {
      this.tell("voiding");
      const answer = await this.#answer(() => this.api.put(`/charges/${id}/void`));
      if (answer?.ok) return resultOf({ ...answer, body: { ...answer.body, amount_fen } });
      if (answer && decides(answer)) {
        return (await this.#ask({ id })) ?? { outcome: "refused", problem: answer.body };
      }
      await backOnline(wait);
    }
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

/** Waits, but no longer than until the network comes back. */
function backOnline(ms) {
  return Promise.race([pause(ms), new Promise((done) => window.addEventListener("online", done, { once: true }))]);
}

/** A token that died, or a brake that was pulled, between two tries says nothing about the first one. */
const decides = ({ status }) => status !== 401 && status !== 429;

function resultOf({ ok, body }) {
  if (!ok) return { outcome: "refused", problem: body };
  if (body.state === "voided") return { outcome: "voided", charge: body };
  if (body.state === "declined") return { outcome: "refused", problem: { ...body, code: body.reason } };
  return { outcome: "approved", charge: body };
}

/** Reverses a stored reversal (冲正) under its own id until a definite answer: `{ok, body}`. */
export async function reverse(api, { charge_id, id, amount_fen }, tell) {
  for (let wait = VOID_AGAIN_MS.first; ; wait = Math.min(wait * 2, VOID_AGAIN_MS.longest)) {
    try {
      const answer = await api.put(`/charges/${charge_id}/reversals/${id}`, { amount_fen });
      if (decides(answer)) return answer;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
    }
    tell("retrying");
    await backOnline(wait);
  }
}
