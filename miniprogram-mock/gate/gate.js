/** The gate (门禁): waits, reads, and says yes or no so that it is understood from three metres away. */

import { Api } from "../faces/api.js";
import { element, find, glyph } from "../faces/dom.js";
import { keepReach, signIn } from "../faces/identity.js";
import { DoubleScanGuard, isCode, listenToCamera, listenToPaste, listenToStage, listenToWedge, tellStage } from "../faces/reader.js";
import { Switch, beep, speak } from "../faces/sound.js";
import { listenToLanguage, refusalWords, speakLanguage, word } from "../faces/words.js";
import { Passing } from "./passing.js";

const SHOW_MS = { allow: 2500, deny: 5000, doubt: 5000 };
const LOG_KEPT = 50;
const DIRECTION_KEY = "campus-card.gate.direction";
const EMERGENCY_KEY = "campus-card.gate.emergency";

const api = new Api();
const guard = new DoubleScanGuard();
const passing = new Passing(api, { alone: () => alone });
const wedge = find("#wedge");
const log = [];

let view = { state: "loading" };
let clock = null;
let alone = null; // what goes on without a server, once it is loaded

const direction = () => find("#direction input:checked").value;

/** The building's own signal, switched on here, or the school's in the bundle: then everybody may leave. */
const isEmergency = () => localStorage.getItem(EMERGENCY_KEY) === "true" || Boolean(alone?.bundle?.gate?.emergency);
const isExitOpen = () => isEmergency() && direction() === "out";

function verdictWords({ state, passage, problem }) {
  if (state === "allow") {
    const next = passage.alone ? word("allowAlone") : (passage.holder?.name_masked ?? "");
    return { reason: word(passage.direction === "out" ? "allowOut" : "allowIn"), next };
  }
  if (state === "doubt") return { reason: word("gateDoubt"), next: word("gateDoubtHint") };
  if (problem) return refusalWords(problem);
  const words = refusalWords({ code: passage.reason, display: passage.display });
  return { reason: words.reason || word("denied"), next: words.next || word("askAttendant") };
}

const VIEWS = {
  loading: () => [element("p", { class: "headline" }, word("loading"))],
  idle: () => (isExitOpen() ? [glyph("out"), element("p", { class: "headline" }, word("emergencyOn")), element("p", { class: "next" }, word("emergencyHint"))] : [element("p", { class: "headline" }, word("present")), element("p", { class: "next" }, word("presentHint"))]),
  sending: () => [element("p", { class: "headline" }, word("checking"))],
  verdict: (shown) => {
    const { reason, next } = verdictWords(shown);
    const reference = (shown.problem ?? shown.passage)?.reference;
    return [
      glyph({ allow: shown.passage?.direction ?? "in", deny: "no", doubt: "doubt" }[shown.state]),
      element("p", { class: "headline", "data-field": "reason" }, reason),
      element("p", { class: "next", "data-field": "next" }, next),
      reference && shown.state !== "allow" ? element("p", { class: "reference", "data-field": "reference" }, word("reference", { reference })) : null,
    ];
  },
};

function show(next) {
  clearTimeout(clock);
  view = next;
  redraw();
  if (SHOW_MS[view.state]) clock = setTimeout(() => show({ state: "idle" }), SHOW_MS[view.state]);
}

function redraw() {
  document.body.dataset.state = view.state;
  document.body.dataset.direction = direction();
  document.body.toggleAttribute("data-emergency", isEmergency());
  document.body.toggleAttribute("data-alone", Boolean(view.passage?.alone));
  const verdict = find("#verdict");
  const reason = view.problem?.code ?? view.passage?.reason;
  if (reason) verdict.dataset.reason = reason;
  else delete verdict.dataset.reason;
  verdict.replaceChildren(...(VIEWS[view.state] ?? VIEWS.verdict)(view).filter((node) => node !== null));
  drawLog();
  drawDevice();
}

function drawDevice() {
  find("#emergency").setAttribute("aria-pressed", String(isEmergency()));
  alone?.drawDevice(drawDevice);
}

/** The bundle may have declared an emergency, or ended one; a verdict that is being read out is left alone otherwise. */
function onAlone() {
  if (isEmergency() !== document.body.hasAttribute("data-emergency")) redraw();
  else drawDevice();
}

/** What stood against a passage that was let through all the same, as at an open gate. */
const against = ({ state, passage }) => (state === "allow" && passage.reason ? [refusalWords({ code: passage.reason }).reason] : []);

function drawLog() {
  const rows = log.map(({ at, shown }) => {
    const { reason, next } = verdictWords(shown);
    const decision = word(shown.state === "doubt" ? "undecided" : shown.state);
    const way = shown.passage ? word(shown.passage.direction) : "";
    return element(
      "li",
      { "data-decision": shown.state },
      element("time", { datetime: at.toISOString() }, at.toLocaleTimeString("zh-CN", { hour12: false })),
      element("strong", {}, decision),
      element("span", {}, [way, shown.state === "allow" ? next : reason, ...against(shown)].filter(Boolean).join(" · ")),
    );
  });
  find("#log").replaceChildren(...(rows.length > 0 ? rows : [element("li", {}, word("logEmpty"))]));
}

function notice(key) {
  find("#notice").textContent = key ? word(key) : "";
}

async function onCode(code) {
  if (view.state === "loading" || view.state === "sending") return notice("busy");
  if (!isExitOpen() && !guard.take(code)) return notice("repeated");
  notice("");
  show({ state: "sending" });
  const passage = await (isExitOpen() ? passing.leave(code) : passing.pass(code, direction()));
  if (passage === null) {
    guard.release(code);
    conclude({ state: "doubt" });
  } else if (passage.problem) {
    conclude({ state: "deny", problem: passage.problem });
  } else {
    conclude({ state: passage.decision, passage });
  }
}

function conclude(shown) {
  log.unshift({ at: new Date(), shown });
  log.length = Math.min(log.length, LOG_KEPT);
  show(shown);
  if (sound.on) beep({ allow: "yes", deny: "no", doubt: "doubt" }[shown.state]);
  if (voice.on) speak(shown.passage?.alone ? verdictWords(shown).reason : (shown.passage ?? shown.problem)?.display?.voice);
  tellStage("gate", { kind: `passage-${shown.state}`, place: find("#place").textContent, words: verdictWords(shown), ...shown });
}

function onText(text) {
  if (isCode(text) || isExitOpen()) onCode(text);
  else notice("foreign");
}

function listen() {
  listenToWedge(wedge, {
    onCode: (code) => onCode(code),
    onLine: (text) => text !== "" && onText(text),
    onTyping: () => notice("readingCode"),
    onForeign: () => notice("foreign"),
  });
  listenToCamera(find("#camera"), find("#camera-view"), { onText, onFailure: () => notice("cameraFailed") });
  listenToPaste(find("#paste"), (text) => {
    find("#drawer").close();
    onText(text);
  });
  listenToStage({ scan: ({ text }) => onText(String(text)) });
  find("#drawer-open").addEventListener("click", () => {
    drawDevice();
    find("#drawer").showModal();
  });
  find("#drawer-close").addEventListener("click", () => find("#drawer").close());
  listenToLanguage(find("#language"), redraw);
}

function listenToEmergency() {
  find("#emergency").addEventListener("click", () => {
    localStorage.setItem(EMERGENCY_KEY, String(localStorage.getItem(EMERGENCY_KEY) !== "true"));
    redraw();
  });
  window.addEventListener("storage", ({ key }) => key === EMERGENCY_KEY && redraw());
}

/** Loads what goes on without a server; without it, in a browser that keeps nothing, the gate waits for the network. */
async function openAlone() {
  try {
    const { Alone } = await import("../faces/alone.js");
    alone = await Alone.open(api, terminal, { beat, onChange: onAlone });
    onAlone();
  } catch (error) {
    console.warn("no work offline:", error.message);
  }
}

function listenToDirection() {
  const kept = localStorage.getItem(DIRECTION_KEY) ?? "in";
  find(`#direction input[value="${kept === "out" ? "out" : "in"}"]`).checked = true;
  find("#direction").addEventListener("change", () => {
    localStorage.setItem(DIRECTION_KEY, direction());
    redraw();
  });
}

speakLanguage();
const sound = new Switch(find("#sound"), "sound", { on: true });
const voice = new Switch(find("#voice"), "voice", { on: false });
listenToDirection();
show({ state: "loading" });
const beat = keepReach(api, find("#reach"), () => alone?.told() ?? { queue_length: 0 });

const terminal = await signIn("gate", api);
find("#place").textContent = terminal.place;
listen();
listenToEmergency();
show({ state: "idle" });
openAlone();
