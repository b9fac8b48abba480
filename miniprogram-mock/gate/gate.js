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

const api = new Api();
const guard = new DoubleScanGuard();
const passing = new Passing(api);
const wedge = find("#wedge");
const log = [];

let view = { state: "loading" };
let clock = null;

const direction = () => find("#direction input:checked").value;

function verdictWords({ state, passage, problem }) {
  if (state === "allow") return { reason: word(passage.direction === "out" ? "allowOut" : "allowIn"), next: passage.holder?.name_masked ?? "" };
  if (state === "doubt") return { reason: word("gateDoubt"), next: word("gateDoubtHint") };
  if (problem) return refusalWords(problem);
  const words = refusalWords({ code: passage.reason, display: passage.display });
  return { reason: words.reason || word("denied"), next: words.next || word("askAttendant") };
}

const VIEWS = {
  loading: () => [element("p", { class: "headline" }, word("loading"))],
  idle: () => [element("p", { class: "headline" }, word("present")), element("p", { class: "next" }, word("presentHint"))],
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
  const verdict = find("#verdict");
  const reason = view.problem?.code ?? view.passage?.reason;
  if (reason) verdict.dataset.reason = reason;
  else delete verdict.dataset.reason;
  verdict.replaceChildren(...(VIEWS[view.state] ?? VIEWS.verdict)(view).filter((node) => node !== null));
  drawLog();
}

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
      element("span", {}, [way, shown.state === "allow" ? next : reason].filter(Boolean).join(" · ")),
    );
  });
  find("#log").replaceChildren(...(rows.length > 0 ? rows : [element("li", {}, word("logEmpty"))]));
}

function notice(key) {
  find("#notice").textContent = key ? word(key) : "";
}

async function onCode(code) {
  if (view.state === "loading" || view.state === "sending") return notice("busy");
  if (!guard.take(code)) return notice("repeated");
  notice("");
  show({ state: "sending" });
  const passage = await passing.pass(code, direction());
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
  if (voice.on) speak((shown.passage ?? shown.problem)?.display?.voice);
  tellStage("gate", { kind: `passage-${shown.state}`, place: find("#place").textContent, words: verdictWords(shown), ...shown });
}

function onText(text) {
  if (isCode(text)) onCode(text);
  else notice("foreign");
}

function listen() {
  listenToWedge(wedge, {
    onCode: (code) => onCode(code),
    onLine: (text) => text !== "" && notice("foreign"),
    onTyping: () => notice("readingCode"),
    onForeign: () => notice("foreign"),
  });
  listenToCamera(find("#camera"), find("#camera-view"), { onText, onFailure: () => notice("cameraFailed") });
  listenToPaste(find("#paste"), (text) => {
    find("#drawer").close();
    onText(text);
  });
  listenToStage({ scan: ({ text }) => onText(String(text)) });
  find("#drawer-open").addEventListener("click", () => find("#drawer").showModal());
  find("#drawer-close").addEventListener("click", () => find("#drawer").close());
  listenToLanguage(find("#language"), redraw);
}

function listenToDirection() {
  const kept = localStorage.getItem(DIRECTION_KEY) ?? "in";
  find(`#direction input[value="${kept === "out" ? "out" : "in"}"]`).checked = true;
  find("#direction").addEventListener("change", () => {
    localStorage.setItem(DIRECTION_KEY, direction());
    document.body.dataset.direction = direction();
  });
}

speakLanguage();
const sound = new Switch(find("#sound"), "sound", { on: true });
const voice = new Switch(find("#voice"), "voice", { on: false });
listenToDirection();
show({ state: "loading" });
keepReach(api, find("#reach"), () => 0);

const terminal = await signIn("gate", api);
find("#place").textContent = terminal.place;
listen();
show({ state: "idle" });
