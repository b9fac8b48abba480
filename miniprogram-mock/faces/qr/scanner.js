/**
 * A scanner that decides alone (脱机终端), as `qr/scanner.py` does: gate or till, with the network cut. Everything that
 * it must not forget is in its store before it answers. It never approves what the server would surely have refused at
 * the time of its bundle.
 */

import { asBundle, readBundle } from "./bundle.js";
import { Refused, hexOf, isShortCode, readCode } from "./codes.js";
import { gateRefusal, tillRefusal } from "./rules.js";
import { Verifier } from "./verifier.js";

const EARLY_MS = 15_000;
const LONGEST_CODE = 430;
const PAY = 1;
const ANOTHER_BUNDLE = Symbol("another page has learnt a newer bundle");

export class Scanner {
  #store;
  #school;
  #bundle = null;

  /**
   * A scanner on a store. `roots` is a Map of the root keys given at enrolment, only they can sign a bundle; `issuer` is
   * the school and `terminal` the id of this terminal: it listens to no other.
   */
  static async open(store, { roots, issuer, terminal }) {
    const scanner = new Scanner();
    scanner.#store = store;
    scanner.#school = { roots, issuer, terminal };
    await scanner.#recall();
    return scanner;
  }

  /** The bundle in use, or null. */
  get bundle() {
    return this.#bundle;
  }

  /** Takes a newer bundle into use, whole or as a delta. Throws BundleRefused; the bundle in use stays. */
  async learn(token) {
    const claims = await readBundle(token, { ...this.#school, after: await this.#store.claims() });
    await this.#store.keepClaims(claims);
    await this.#recall();
  }

  /**
   * Sets the scanner's clock right by the server's, as heard at its own `now`; both in milliseconds. It alone can take
   * back what was trusted before.
   */
  async learnTime(serverTime, now) {
    await this.#store.keepClock({ offset: Math.round(serverTime - now), trustedAt: Math.floor(serverTime / 1000) });
  }

  /**
   * Decides whether whoever shows this code may pass (脱机通行): `{id, accepted, reason, facts, sequence}`, on disk
   * before it is told. A code that was genuine is used up by it. Where a gate opened all the same, `reason` is what
   * stood against it; `sequence` is null for a text that was no card code, of which the server is not told.
   *
   * The reasons, in order of precedence: `clock-behind`, `bundle-missing`, `bundle-expired`, `offline-closed`,
   * `code-online-only`, the code's own, `code-revoked`, `code-stale`, `code-spent`, `bundle-stale`, `access-not-allowed`,
   * `access-outside-hours`, `passback`. In an emergency everybody may leave; a gate whose policy is open opens always.
   *
   * `now` is this device's clock in milliseconds, `emergency` the building's own signal beside the bundle's, `id` that
   * of the attempt which the server did not answer, so that both are one.
   */
  decidePassage(text, { direction, now, id, emergency = false }) {
    return this.#decide(id, async (deciding) => {
      const moment = now + deciding.clockOffset;
      const { code, reason } = await this.#judgePassage(text, direction, moment, deciding);
      const rules = this.#bundle?.gate;
      const leaving = direction === "out" && (emergency || Boolean(rules?.emergency));
      const accepted = reason === null || leaving || rules?.offline === "open";
      if (code && accepted) await deciding.notePassage(bearerOf(code), direction, Math.floor(moment / 1000));
      const decision = { id, accepted, reason, facts: {} };
      return this.#told(deciding, text, decision, moment, { direction, decision: accepted ? "allow" : "deny" });
    });
  }

  /**
   * Decides whether an amount may be taken from whoever shows this code (脱机消费); all as for a passage.
   *
   * The reasons, in order of precedence: `clock-behind`, `bundle-missing`, `bundle-expired`, `bundle-stale`,
   * `offline-not-allowed`, `code-online-only`, the code's own, `code-revoked`, `code-stale`, `code-spent`,
   * `offline-cap-exceeded` with the facts `cap` and `limit_fen` or `limit`. An id that was given up is refused as
   * `charge-voided`.
   */
  decideCharge(text, { amountFen, now, id, note = null }) {
    if (!Number.isInteger(amountFen) || amountFen < 1) throw new RangeError("a charge is for at least one fen");
    return this.#decide(id, async (deciding) => {
      const moment = now + deciding.clockOffset;
      const judged = await this.#judgeCharge(text, amountFen, moment, deciding);
      const { reason, facts = {} } = judged;
      const decision = { id, accepted: reason === null, reason, facts };
      const said = { amount_fen: amountFen, state: decision.accepted ? "approved" : "declined", ...(note && { note }) };
      return this.#told(deciding, text, decision, moment, said);
    });
  }

  /**
   * Notes that the server has accepted this code, so that it is worth nothing here when the network fails next; and in
   * which direction its bearer went, if it was for a passage.
   */
  async noteUsed(text, { scope, now, direction = null }) {
    if (isShortCode(text)) return;
    const { kind, alias, issuedAt, delegation, proof } = readCode(text);
    const device = kind === "device";
    const bearer = bearerOf(device ? { kind, serial: delegation.serial } : { kind, alias: hexOf(alias) });
    await this.#store.deciding(async (deciding) => {
      await deciding.claim(bearer, scope, device ? proof : { issuedAt, sequence: 0 });
      if (direction) await deciding.notePassage(bearer, direction, Math.floor((now + deciding.clockOffset) / 1000));
    });
  }

  async #recall() {
    const claims = await this.#store.claims();
    this.#bundle = claims && (await asBundle(claims));
  }

  /** Decides with the newest bundle of all pages of this terminal; what was decided under an id stays. */
  async #decide(id, judge) {
    for (;;) {
      const decision = await this.#store.deciding(async (deciding) => {
        if (deciding.bundleSequence !== (this.#bundle?.sequence ?? null)) return ANOTHER_BUNDLE;
        const earlier = await deciding.decision(id);
        if (earlier?.forsaken) return { id, accepted: false, reason: "charge-voided", facts: {}, sequence: null };
        return earlier ?? judge(deciding);
      });
      if (decision !== ANOTHER_BUNDLE) return decision;
      await this.#recall();
    }
  }

  async #judgePassage(text, direction, moment, deciding) {
    const bundle = this.#bundle;
    const unready = this.#unready(moment, deciding);
    if (unready) return { reason: unready };
    if (!bundle.gate) return { reason: "bundle-missing" };
    if (bundle.gate.offline === "closed") return { reason: "offline-closed" };
    const { code, reason } = await this.#judgeCode(text, bundle.gate.scope, moment, deciding);
    if (!code || reason) return { code, reason };
    const rights = { local: this.#local(moment), stale: moment >= bundle.freshUntil * 1000 };
    return { code, reason: gateRefusal(bundle.gate, code, rights) ?? (await this.#passback(code, direction, moment, deciding)) };
  }

  async #passback(code, direction, moment, deciding) {
    const last = await deciding.lastPassage(bearerOf(code));
    const again = last?.direction === direction && moment < (last.at + this.#bundle.gate.passbackSeconds) * 1000;
    return again ? "passback" : null;
  }

  async #judgeCharge(text, amountFen, moment, deciding) {
    const bundle = this.#bundle;
    const unready = this.#unready(moment, deciding);
    if (unready) return { reason: unready };
    if (!bundle.till) return { reason: "bundle-missing" };
    if (moment >= bundle.freshUntil * 1000) return { reason: "bundle-stale" };
    if (!bundle.till.offline) return { reason: "offline-not-allowed" };
    const { code, reason } = await this.#judgeCode(text, PAY, moment, deciding);
    if (reason) return { reason };
    const day = new Date(this.#local(moment) * 1000).toISOString().slice(0, 10);
    const bearer = bearerOf(code);
    const taken = { card: await deciding.spent(day, bearer), terminal: await deciding.spent(day) };
    const over = tillRefusal(bundle.till, code, amountFen, taken);
    if (over) return over;
    await deciding.noteCharge(day, bearer, amountFen);
    return { reason: null };
  }

  /** What keeps this scanner from deciding anything, or null. */
  #unready(moment, { trustedAt }) {
    if (trustedAt !== null && moment < trustedAt * 1000 - EARLY_MS) return "clock-behind";
    if (!this.#bundle) return "bundle-missing";
    return moment >= this.#bundle.expiresAt * 1000 ? "bundle-expired" : null;
  }

  /** `{code, reason}`: the code if it is genuine, and why it is refused all the same; uses it up. */
  async #judgeCode(text, need, moment, deciding) {
    if (isShortCode(text)) return { reason: "code-online-only" };
    const { keys, early, late, revoked, stopped } = this.#bundle;
    const verifier = new Verifier(keys, { issuer: this.#school.issuer, early, late });
    let code;
    try {
      code = verifier.verify(text, { need, now: Math.floor(moment / 1000) });
    } catch (error) {
      if (error instanceof Refused) return { reason: error.code };
      throw error;
    }
    // A code that the school signed this minute: so late it surely is. A phone's own word counts for nothing.
    if (code.kind === "signed") await deciding.trust(Math.floor(moment / 1000));
    const fresh = await deciding.claim(bearerOf(code), need, code);
    if (code.kind === "device" && revoked.has(code.serial)) return { code, reason: "code-revoked" };
    if (code.kind === "signed" && stopped.has(code.alias)) return { code, reason: "code-stale" };
    return { code, reason: fresh ? null : "code-spent" };
  }

  /**
   * Puts a decision in the queue for the server, unless what was shown is no card code. Where a gate opened all the same,
   * the passage is told, but not the text: it may be anything.
   */
  async #told(deciding, text, decision, moment, said) {
    const digits = text.length <= LONGEST_CODE && /^\d+$/.test(text);
    const unknown = !digits || decision.reason === "code-malformed";
    if (unknown && !decision.accepted) return { ...decision, sequence: null };
    const item = {
      id: decision.id,
      code: digits ? text : "",
      decided_at: new Date(moment).toISOString(),
      reason: decision.reason,
      bundle_sequence: this.#bundle?.sequence ?? null,
      ...said,
    };
    return { ...decision, sequence: await deciding.enqueue(item, decision) };
  }

  /** The second that the school's own clocks show. */
  #local(moment) {
    return Math.floor(moment / 1000) + this.#bundle.utcOffsetMinutes * 60;
  }
}

/** Whoever shows a code: the same for all codes of one card, or of one phone. */
const bearerOf = ({ kind, alias, serial }) => (kind === "device" ? `D${serial}` : `S${alias}`);
