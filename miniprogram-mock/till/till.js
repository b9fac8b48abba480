/** The till (收银台): an amount, then a code, then a verdict that nobody can misread. */

import { Api } from "../faces/api.js";
import { find } from "../faces/dom.js";
import { keepReach, signIn } from "../faces/identity.js";
import { amountText, fenOf, isAmount, yuan } from "../faces/money.js";
import { Pending } from "../faces/pending.js";
import { DoubleScanGuard, isCode, listenToCamera, listenToPaste, listenToStage, listenToWedge, tellStage } from "../faces/reader.js";
import { Switch, beep, speak } from "../faces/sound.js";
import { listenToLanguage, speakLanguage, word } from "../faces/words.js";
import { Charging } from "./charging.js";
import { draw } from "./panel.js";
import { Recent } from "./recent.js";
import { Today } from "./today.js";

const HOLD_CODE_MS = 15_000; // a code read before the amount was confirmed waits no longer for it
const SHOW_APPROVED_MS = 8000; // a name and a balance do not stay on a public screen
const SHOW_APPROVED_FIXED_MS = 2500;

const api = new Api();
const guard = new DoubleScanGuard();
const wedge = find("#wedge");
let pending, today, recent, charging;
let alone = null; // what goes on without a server, once it is loaded

let view = { state: "loading" };
let entry = ""; // the amount as keyed
let held = null; // a code read before the amount was confirmed
let clock = null; // the one timer: to drop a held code, or to leave an approved charge

const isBusy = () => ["loading", "sending", "doubt"].includes(view.state);
const isOver = () => ["approved", "recorded", "refused", "voided"].includes(view.state);
const isOffline = () => find("#reach").dataset.reach === "offline";

function show(next) {
  clearTimeout(clock);
  view = next;
  redraw();
}

function redraw() {
  draw(view);
  drawAmount();
  drawToday();
  drawDevice();
  recent?.draw();
}

function drawToday() {
  const { count, sum_fen, alone_count } = today?.read() ?? { count: 0, sum_fen: 0, alone_count: 0 };
  const words = word("today", { count, sum: yuan(sum_fen) });
  find("#today").textContent = alone_count > 0 ? word("todayAlone", { today: words, count: alone_count }) : words;
}

function drawDevice() {
  alone?.drawDevice(drawDevice);
  find("#device-open").toggleAttribute("data-attention", (alone?.status.attention.length ?? 0) > 0);
}

function drawAmount(typed = wedge.value) {
  const whole = entry + typed;
  const shown = isAmount(whole) ? whole : entry;
  const amount = find("#amount");
  amount.textContent = `¥${shown || "0"}`;
  amount.dataset.fen = fenOf(shown);
  amount.classList.toggle("empty", shown === "");
  find("#charge").disabled = isBusy();
}

function notice(key) {
  find("#notice").textContent = key ? word(key) : "";
}

/** Back to keying an amount; keeps the amount when the next step is only another scan of the same. */
function toAmount(text = "") {
  entry = text;
  wedge.value = "";
  dropHeld();
  notice("");
  show({ state: "amount", held: false });
}

function dropHeld() {
  if (held) guard.release(held);
  held = null;
}

function editAmount(change) {
  if (isBusy()) return;
  if (view.state !== "amount") toAmount(isOver() ? "" : entry);
  const next = change(entry + wedge.value);
  wedge.value = "";
  if (isAmount(next)) entry = next;
  notice("");
  drawAmount();
}

function confirm() {
  if (isBusy() || view.state === "awaiting") return;
  if (isAmount(entry + wedge.value)) entry += wedge.value;
  wedge.value = "";
  if (isOver()) {
    const again = ["refused", "voided"].includes(view.state);
    toAmount(again ? entry : "");
    if (!again) return;
  }
  const amountFen = fenOf(entry);
  if (amountFen === 0) {
    notice("enterAmount");
    return;
  }
  notice("");
  if (held) {
    const code = held;
    held = null;
    charge(code, amountFen);
  } else {
    const offlineLimitFen = alone?.takesMoney ? alone.bundle.till.perSaleFen : 0;
    show({ state: "awaiting", amountFen, offline: isOffline(), offlineLimitFen });
  }
}

function cancel() {
  if (view.state === "doubt") charging.giveUp();
  else if (view.state === "awaiting") toAmount(entry);
  else if (!isBusy()) toAmount();
}

function onCode(code, before = "") {
  if (isBusy()) {
    notice("busy");
    return;
  }
  if (!guard.take(code)) {
    notice("repeated");
    return;
  }
  notice("");
  if (view.state === "awaiting") {
    charge(code, view.amountFen);
    return;
  }
  if (isOver()) toAmount(["refused", "voided"].includes(view.state) ? entry : "");
  if (isAmount(entry + before)) entry += before;
  dropHeld();
  held = code;
  show({ state: "amount", held: true });
  clock = setTimeout(() => toAmount(entry), HOLD_CODE_MS);
}

function onText(text) {
  if (isCode(text)) onCode(text);
  else notice("foreign");
}

function onLine(text) {
  if (text !== "") {
    if (view.state !== "amount") return notice("foreign");
    if (!isAmount(entry + text)) {
      drawAmount();
      return notice("foreign");
    }
    entry += text;
  }
  confirm();
}

function onTyping(text) {
  if (isOver() && isAmount(text)) {
    toAmount();
    wedge.value = text;
  }
  if (view.state === "amount") drawAmount(text);
  notice(isAmount(entry + text) && view.state === "amount" ? "" : "readingCode");
}

async function charge(code, amountFen) {
  wedge.value = "";
  closeWith(code, await charging.charge(code, amountFen));
}

function onStage(amountFen) {
  return (stage) => {
    if (stage === "sending") return show({ state: "sending", amountFen: amountFen() });
    if (view.state !== "doubt" && sound.on) beep("doubt");
    show({ state: "doubt", amountFen: amountFen(), stage });
  };
}

function closeWith(code, { outcome, charge: made, problem }, earlier = false) {
  const taken = outcome === "approved" || outcome === "recorded";
  if (taken) today.record(made);
  if (outcome === "voided" && code) guard.release(code);
  if (taken) entry = fixed.on ? amountText(made.amount_fen) : "";
  wedge.value = "";
  show({ state: outcome, charge: made, problem, earlier });
  if (sound.on) beep({ approved: "yes", recorded: "alone", refused: "no", voided: "doubt" }[outcome]);
  if (voice.on) speak(outcome === "recorded" ? word("recordedVoice") : (made ?? problem).display?.voice);
  tellStage("till", { kind: `charge-${outcome}`, place: find("#place").textContent, charge: made, problem });
  if (taken && !earlier) leaveTakenLater();
}

function leaveTakenLater() {
  clock = setTimeout(
    () => {
      toAmount(entry);
      if (fixed.on) confirm();
    },
    fixed.on ? SHOW_APPROVED_FIXED_MS : SHOW_APPROVED_MS,
  );
}

async function recover() {
  for (const left of pending.all()) {
    if (left.kind === "reversal") {
      await recent.recover(left);
    } else {
      if (!left.withdrawn) show({ state: "doubt", amountFen: left.amount_fen, stage: "asking" });
      const result = await charging.recover(left);
      if (result) closeWith(null, result, true);
    }
  }
  if (!isOver()) toAmount();
}

function onKey(event) {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    event.preventDefault();
    cancel();
  } else if (event.key === "F2") {
    event.preventDefault();
    if (!isBusy()) recent.openNewest();
  } else if (event.key === "Backspace" && event.target === wedge && wedge.value === "") {
    event.preventDefault();
    editAmount((text) => text.slice(0, -1));
  }
}

function listen() {
  listenToWedge(wedge, {
    allowed: /^[\d.]*$/,
    onCode,
    onLine,
    onTyping,
    onForeign: () => {
      drawAmount();
      notice("foreign");
    },
  });
  wedge.addEventListener("input", () => wedge.value === "" && view.state === "amount" && drawAmount());
  listenToCamera(find("#camera"), find("#camera-view"), { onText, onFailure: () => notice("cameraFailed") });
  listenToPaste(find("#paste"), onText);
  listenToStage({
    scan: ({ text }) => onText(String(text)),
    amount: ({ amount_fen }) => {
      if (isBusy()) return;
      toAmount(amountText(amount_fen));
      confirm();
    },
  });
  document.addEventListener("keydown", onKey);
  for (const key of document.querySelectorAll("[data-key]")) {
    key.addEventListener("click", () => editAmount((text) => text + key.dataset.key));
  }
  for (const quick of document.querySelectorAll("[data-quick]")) {
    quick.addEventListener("click", () => editAmount(() => amountText(Number(quick.dataset.quick))));
  }
  find("#erase").addEventListener("click", () => editAmount((text) => text.slice(0, -1)));
  find("#clear").addEventListener("click", cancel);
  find("#charge").addEventListener("click", confirm);
  find("#again").addEventListener("click", confirm);
  find("#next").addEventListener("click", () => toAmount());
  find("#give-up").addEventListener("click", () => charging.giveUp());
  find("#device-open").addEventListener("click", () => {
    drawDevice();
    find("#device").showModal();
  });
  find("#device [data-close]").addEventListener("click", () => find("#device").close());
  listenToLanguage(find("#language"), redraw);
}

/** Loads what goes on without a server; without it, in a browser that keeps nothing, the till waits for the network. */
async function openAlone() {
  try {
    const { Alone } = await import("../faces/alone.js");
    alone = await Alone.open(api, terminal, { beat, onChange: onAlone });
    await onAlone();
  } catch (error) {
    console.warn("no work offline:", error.message);
  }
}

async function onAlone() {
  await today.settle(async (id) => (await alone.decision(id))?.outcome);
  drawDevice();
  recent.draw();
}

speakLanguage();
const sound = new Switch(find("#sound"), "sound", { on: true });
const voice = new Switch(find("#voice"), "voice", { on: false });
const fixed = new Switch(find("#fixed"), "till.fixed", { on: false });
show({ state: "loading" });
const beat = keepReach(api, find("#reach"), () => alone?.told() ?? { queue_length: 0 });

const terminal = await signIn("till", api);
find("#place").textContent = terminal.place;
pending = new Pending(terminal.terminal_id);
today = new Today(terminal.terminal_id);
charging = new Charging(api, pending, onStage(() => view.amountFen ?? fenOf(entry)), {
  alone: () => alone,
  onLate: ({ charge: made }) => {
    today.record(made);
    redraw();
    find("#notice").textContent = word("lateCharge", { amount: yuan(made.total_fen) });
  },
});
recent = new Recent(api, pending, today, (reversal) => {
  redraw();
  tellStage("till", { kind: "charge-reversed", place: find("#place").textContent, reversal });
});
listen();
const opening = openAlone();
if (pending.all().length > 0) await opening; // what was left may stand in the till's own books
await recover();
