/** Draws the big panel that the customer reads: one view per state of the till. */

import { element, find, glyph } from "../faces/dom.js";
import { yuan } from "../faces/money.js";
import { refusalWords, word } from "../faces/words.js";

const big = (text, attributes = {}) => element("p", { class: "headline", ...attributes }, text);
const small = (text, attributes = {}) => element("p", { class: "hint", ...attributes }, text);
const sum = (fen, name) => element("p", { class: "sum", "data-field": name }, yuan(fen));

const referenceOf = ({ reference }) =>
  reference ? element("p", { class: "reference", "data-field": "reference" }, word("reference", { reference })) : null;

function approved({ charge, earlier }) {
  const { amount_fen, surcharge_fen, total_fen, balance_fen, holder } = charge;
  const who = holder && `${holder.name_masked} · ${word(holder.category)}`;
  return [
    glyph("yes"),
    big(word("approved")),
    sum(total_fen, "total"),
    surcharge_fen
      ? small(word("surcharge", { amount: yuan(amount_fen), surcharge: yuan(surcharge_fen) }), { "data-field": "surcharge" })
      : null,
    who ? element("p", { class: "who", "data-field": "holder" }, who) : null,
    Number.isInteger(balance_fen) ? small(word("balance", { balance: yuan(balance_fen) }), { "data-field": "balance" }) : null,
    earlier ? small(word("earlier")) : null,
    referenceOf(charge),
  ];
}

function refused({ problem, earlier }) {
  const { reason, next } = refusalWords(problem);
  return [
    glyph("no"),
    small(word("refused"), { class: "hint verdict" }),
    big(reason, { "data-field": "reason" }),
    small(next, { "data-field": "next" }),
    problem.alone ? small(word("refusedAlone"), { "data-field": "alone" }) : null,
    earlier ? small(word("earlier")) : null,
    referenceOf(problem),
  ];
}

function recorded({ charge, earlier }) {
  return [
    glyph("yes"),
    big(word("recorded")),
    sum(charge.amount_fen, "asked"),
    small(word("recordedHint")),
    earlier ? small(word("earlier")) : null,
  ];
}

const VIEWS = {
  loading: () => [big(word("loading"))],
  amount: ({ held }) => (held ? [glyph("yes"), big(word("codeHeld")), small(word("codeHeldHint"))] : [big(word("enterAmount")), small(word("enterAmountHint"))]),
  awaiting: ({ amountFen, offline, offlineLimitFen }) => [
    element("div", { class: "aim", "aria-hidden": "true" }, element("i")),
    big(word("showCode")),
    sum(amountFen, "asked"),
    small(!offline ? word("showCodeHint") : offlineLimitFen ? word("offlineTakes", { limit: yuan(offlineLimitFen) }) : word("offlineHint")),
  ],
  sending: ({ amountFen }) => [element("div", { class: "spinner", "aria-hidden": "true" }), big(word("sending")), sum(amountFen, "asked")],
  doubt: ({ amountFen, stage }) => [
    glyph("doubt"),
    big(word("doubt")),
    sum(amountFen, "asked"),
    small(word({ retrying: "doubtRetrying", asking: "doubtAsking", voiding: "doubtVoiding" }[stage])),
  ],
  approved,
  recorded,
  refused,
  voided: ({ charge, earlier }) => [
    glyph("doubt"),
    big(word("voided")),
    Number.isInteger(charge.amount_fen) ? sum(charge.amount_fen, "asked") : null,
    small(word("voidedHint")),
    earlier ? small(word("earlier")) : null,
    referenceOf(charge),
  ],
};

/** Shows the state on the page: `data-state` on the body, and for refusals `data-reason` on the panel. */
export function draw(view) {
  const panel = find("#panel-view");
  document.body.dataset.state = view.state;
  panel.parentElement.toggleAttribute("data-held", Boolean(view.held));
  if (view.problem?.code) panel.dataset.reason = view.problem.code;
  else delete panel.dataset.reason;
  panel.replaceChildren(...VIEWS[view.state](view).filter((node) => node !== null));
}
