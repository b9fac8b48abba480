/** The feed of the stage: one line of words for each thing that a face or the phone reports. */

import { element, find } from "../faces/dom.js";
import { yuan } from "../faces/money.js";
import { refusalWords, word } from "../faces/words.js";

const KEPT = 60;

const nameOf = ({ holder }) => holder?.name_masked ?? "";

const LINES = {
  "charge-approved": ({ charge }) => ["yes", `${word("approved")} ${yuan(charge.total_fen)}`, `${nameOf(charge)} · ${word("balance", { balance: yuan(charge.balance_fen) })}`],
  "charge-recorded": ({ charge }) => ["doubt", `${word("chargedAlone")} ${yuan(charge.amount_fen)}`, word("chargedAloneHint")],
  "charge-refused": ({ problem }) => ["no", word("refused"), refusalWords(problem).reason],
  "charge-voided": () => ["doubt", word("voided"), ""],
  "charge-reversed": ({ reversal }) => ["doubt", word("reverseDone", { total: yuan(reversal.total_fen) }), ""],
  "passage-allow": ({ passage }) => ["yes", word("allow"), `${word(passage.direction)} · ${passage.alone ? word("passedAlone") : nameOf(passage)}`],
  "passage-deny": ({ words }) => ["no", word("deny"), words.reason],
  "passage-doubt": ({ words }) => ["doubt", word("undecided"), words.reason],
  "phone-charge-approved": ({ total_fen }) => ["phone", word("phoneTold"), `${word("approved")} ${yuan(total_fen)}`],
  "phone-charge-declined": (event) => ["phone", word("phoneTold"), refusalWords({ ...event, code: event.reason }).reason],
  "phone-charge-reversed": ({ amount_fen }) => ["phone", word("phoneTold"), word("reverseDone", { total: yuan(amount_fen) })],
  "phone-top-up-paid": ({ amount_fen }) => ["yes", `${word("toppedUp")} ${yuan(amount_fen)}`, ""],
  "phone-refund-requested": ({ amount_fen }) => ["phone", `${word("refundAsked")} ${yuan(amount_fen)}`, ""],
  "phone-refund-succeeded": ({ amount_fen }) => ["yes", `${word("refundSent")} ${yuan(amount_fen)}`, ""],
  "phone-refund-returned": ({ amount_fen }) => ["no", `${word("refundBack")} ${yuan(amount_fen)}`, ""],
  "phone-card-lost": () => ["no", word("reportedLost"), ""],
  "phone-card-restored": () => ["yes", word("restored"), ""],
  "phone-code": () => ["phone", word("phoneCode"), ""],
  carried: ({ to }) => ["phone", word("carried", { face: word(to) }), ""],
};

export class Feed {
  #events = [];

  /** Adds what happened; an event that has no line here, such as a newer face's, is left out. */
  add(event) {
    if (!(event.kind in LINES)) return;
    const [latest] = this.#events;
    if (event.kind === "phone-code" && latest?.event.kind === "phone-code") latest.at = new Date();
    else this.#events.unshift({ event, at: new Date() });
    this.#events.length = Math.min(this.#events.length, KEPT);
    this.draw();
  }

  draw() {
    const rows = this.#events.map(({ event, at }) => {
      const [tone, title, detail] = LINES[event.kind](event);
      const where = event.place ?? "";
      return element(
        "li",
        { "data-tone": tone, "data-kind": event.kind },
        element("p", {}, element("strong", {}, title), element("time", { datetime: at.toISOString() }, at.toLocaleTimeString("zh-CN", { hour12: false }))),
        where ? element("p", { class: "where" }, where) : null,
        detail ? element("p", {}, detail) : null,
      );
    });
    find("#feed").replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "none" }, word("feedEmpty"))]));
  }
}
