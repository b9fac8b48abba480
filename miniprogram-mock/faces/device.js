/** What somebody at the device may want to know of it: its bundle, its last contact, what waits, what came of it. */

import { outcomeWords } from "./alone-words.js";
import { element, find } from "./dom.js";
import { yuan } from "./money.js";
import { refusalWords, word } from "./words.js";

const TIME = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", dateStyle: "short", timeStyle: "medium", hour12: false });
const MINUTE_MS = 60_000;

const timeOf = (at) => (at === null ? word("never") : TIME.format(at));

function ageOf(ms) {
  const minutes = Math.max(0, Math.floor(ms / MINUTE_MS));
  if (minutes < 60) return word("minutes", { count: minutes });
  return word("hours", { count: Math.floor(minutes / 60) });
}

function* bundleFacts(bundle) {
  if (!bundle) {
    yield ["bundle", word("bundleNone")];
    return;
  }
  const { sequence, issuedAt, freshUntil, expiresAt, keys, revoked, stopped, gate, till } = bundle;
  const now = Date.now();
  yield ["bundle", word("bundleAge", { sequence, age: ageOf(now - issuedAt * 1000) })];
  yield ["fresh", word(now >= expiresAt * 1000 ? "bundleExpired" : now >= freshUntil * 1000 ? "bundleStale" : "bundleFresh")];
  yield ["keys", keys.size];
  yield ["revoked", revoked.size];
  yield ["stopped", stopped.size];
  if (gate) yield ["policy", word(`policy_${gate.offline}`)];
  if (gate) yield ["passback", gate.passbackSeconds > 0 ? word("minutes", { count: gate.passbackSeconds / 60 }) : word("none")];
  if (till) yield ["policy", till.offline ? word("tillCaps", capsOf(till)) : word("tillOff")];
}

const capsOf = ({ perSaleFen, perCardCount, perCardFen, terminalFen }) => ({
  sale: yuan(perSaleFen),
  count: perCardCount,
  card: yuan(perCardFen),
  total: yuan(terminalFen),
});

function* contactFacts({ lastContact, nextTry, queueLength, trouble }) {
  yield ["contact", timeOf(lastContact)];
  yield ["try", timeOf(nextTry)];
  yield ["waiting", queueLength];
  if (trouble) yield ["trouble", trouble === "unreachable" ? word("unreachable") : refusalWords({ code: trouble }).reason];
}

/** Draws the facts, the outcomes to look at, and how many decisions wait; `onSeen(decision)` hears of a look. */
export function drawDevice(alone, onSeen) {
  drawFacts(find("#facts"), alone);
  drawAttention(find("#attention"), alone.status, onSeen);
  drawQueue(find("#queue"), alone.status);
}

/** Every value carries its name in `data-fact`. */
function drawFacts(list, { bundle, status }) {
  const facts = [...bundleFacts(bundle), ...contactFacts(status)];
  list.replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", {}, word(`fact_${name}`)), element("dd", { "data-fact": name }, String(value))]),
  );
}

function drawAttention(list, { attention }, onSeen) {
  list.replaceChildren(
    ...attention.map((decision) =>
      element(
        "li",
        { "data-outcome": decision.outcome },
        element("time", { datetime: decision.decided_at }, timeOf(new Date(decision.decided_at))),
        element("strong", {}, decision.amount_fen ? yuan(decision.amount_fen) : word(decision.direction)),
        element("span", {}, outcomeWords(decision.outcome)),
        decision.reference ? element("span", { class: "reference" }, word("reference", decision)) : null,
        element("button", { type: "button", onclick: () => onSeen(decision) }, word("seen")),
      ),
    ),
  );
}

function drawQueue(chip, { queueLength }) {
  chip.hidden = queueLength === 0;
  chip.dataset.waiting = queueLength;
  chip.textContent = word("queue", { count: queueLength });
}
