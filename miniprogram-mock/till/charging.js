/**
 * One charge from the first byte to a definite answer, whatever the network does. The id is stored
 * before it is sent and every retry carries the same one, so the server charges at most once; what
 * the till decides by itself when nobody answers goes under that id, too.
 */

import { NoAnswer, newId, pause } from "../faces/api.js";

const RETRY_AFTER_MS = [600, 1500];
const VOID_AGAIN_MS = { first: 800, longest: 15_000 };

/** How long a till that may decide by itself waits for an answer: people stand in line. */
const PATIENCE_MS = { reached: 3000, silent: 1500 };

export class Charging {
  #givenUp = false;
  #silent = false; // whether the last try had no answer at all

  /**
   * `tell(stage)` hears `sending`, then in doubt `retrying`, `asking`, `voiding`. `alone()` is the till's scanner with
   * its queue, or null where there is none yet. `onLate(result)` hears when a charge that the till had refused by
   * itself turns out to stand after all.
   */
  constructor(api, pending, tell, { alone, onLate }) {
    this.api = api;
    this.pending = pending;
    this.tell = tell;
    this.alone = alone;
    this.onLate = onLate;
  }

  /** Charges the code: `{outcome: "approved" | "refused" | "voided" | "recorded", charge | problem}`. */
  async charge(code, amountFen) {
    const entry = { kind: "charge", id: newId(), amount_fen: amountFen };
    this.pending.add(entry);
    this.#givenUp = false;
    this.tell("sending");
    const answered = await this.#send(entry, code);
    if (answered?.outcome === "approved") this.alone()?.noteUsed(code).catch(() => null); // the sale stands anyway
    const result = answered ?? (await this.#decide(entry, code)) ?? (await this.#ask(entry)) ?? (await this.#void(entry));
    this.#close(entry, result);
    return result;
  }

  /**
   * Settles a charge left over from before a reload: its code is gone, so it is asked for, else voided; unless the till
   * decided it. Resolves to null where nobody has to wait for that.
   */
  async recover(entry) {
    if (entry.withdrawn) {
      this.#withdraw(entry);
      return null;
    }
    if (entry.alone && !this.alone()) return null; // it may stand in the till's own books, which cannot be read now
    const decided = resultOfDecision(await this.alone()?.decision(entry.id));
    const result = decided ?? (await this.#ask(entry)) ?? (await this.#void(entry));
    this.#close(entry, result);
    return result;
  }

  /** Stops retrying the charge in doubt and voids it. */
  giveUp() {
    this.#givenUp = true;
  }

  async #send({ id, amount_fen }, code) {
    const alone = this.alone()?.takesMoney ?? false;
    const reached = this.api.reached && navigator.onLine;
    this.#silent = false;
    const options = alone ? { timeoutMs: reached ? PATIENCE_MS.reached : PATIENCE_MS.silent } : {};
    for (const wait of alone && !reached ? [0] : [0, ...RETRY_AFTER_MS]) {
      await pause(wait);
      if (this.#givenUp) return null;
      const answer = await this.#answer(() => this.api.put(`/charges/${id}`, { code, amount_fen }, options));
      if (answer && (decides(answer) || wait === 0)) return resultOf(answer);
      this.#silent = answer === null;
      this.tell("retrying");
    }
    return null;
  }

  /** What the till decides by itself, under the same id; null where it may not, or cannot. */
  async #decide(entry, code) {
    const alone = this.alone();
    if (this.#givenUp || !this.#silent || !alone?.takesMoney) return null;
    this.pending.add({ ...entry, alone: true });
    const decision = await alone.decideCharge(code, entry.amount_fen, entry.id).catch(() => null);
    return resultOfDecision(decision && { ...entry, ...decision }); // null: its books cannot be written
  }

  /** Forgets what is settled. A charge that the till itself refused may have reached the server: it is voided there. */
  #close(entry, { outcome, problem }) {
    if (outcome === "refused" && problem.alone) this.#withdraw(entry);
    else this.pending.remove(entry);
  }

  async #withdraw(entry) {
    this.pending.add({ ...entry, withdrawn: true });
    const result = await this.#void(entry, () => {});
    this.pending.remove(entry);
    if (result.outcome === "approved") this.onLate(result);
  }

  async #ask({ id }) {
    this.tell("asking");
    return this.#look(id);
  }

  async #look(id) {
    const answer = await this.#answer(() => this.api.get(`/charges/${id}`));
    // 404 is no answer to build on: the request may still be under way. Only a void settles that.
    return answer?.ok ? resultOf(answer) : null;
  }

  async #void({ id, amount_fen }, tell = this.tell) {
    const decided = resultOfDecision(await this.alone()?.forsake(id));
    if (decided?.outcome === "recorded") return decided;
    for (let wait = VOID_AGAIN_MS.first; ; wait = Math.min(wait * 2, VOID_AGAIN_MS.longest)) {
      tell("voiding");
      const answer = await this.#answer(() => this.api.put(`/charges/${id}/void`));
      if (answer?.ok) return resultOf({ ...answer, body: { ...answer.body, amount_fen } });
      if (answer && decides(answer)) return (await this.#look(id)) ?? { outcome: "refused", problem: answer.body };
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

/** What the till decided by itself, in the words of an answer; null when it decided nothing. */
function resultOfDecision(decision) {
  if (!decision || decision.forsaken) return null;
  const { id, accepted, reason, facts, amount_fen, decided_at = new Date().toISOString() } = decision;
  if (!accepted) return { outcome: "refused", problem: { code: reason, ...facts, alone: true } };
  return { outcome: "recorded", charge: { id, amount_fen, total_fen: amount_fen, charged_at: decided_at, alone: true } };
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
