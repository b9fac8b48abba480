/** The stage: phone, till and gate side by side, and the hand that carries the phone's code. */

import { pause } from "../faces/api.js";
import { element, find } from "../faces/dom.js";
import { readDemo } from "../faces/identity.js";
import { yuan } from "../faces/money.js";
import { listenToLanguage, speakLanguage, word } from "../faces/words.js";
import { Feed } from "./feed.js";
import "./words.js";

const STORY_FEN = 1250;

const feed = new Feed();
const frames = { phone: find("#phone"), till: find("#till"), gate: find("#gate") };
const pickers = { phone: find("#holder"), till: find("#till-picker"), gate: find("#gate-picker") };

let code = null; // what the phone shows now
let telling = null; // the story being told
let said = ["", {}]; // the caption, to say it again in another language
const listeners = new Set(); // who waits for the next event

const post = (name, message) => frames[name].contentWindow.postMessage(message, location.origin);

const NOTES = { expired: "noteExpired", lost: "noteLost", "short of money": "noteShort" };

function holderWords({ name, category, note }) {
  return [name, word(category), note in NOTES ? word(NOTES[note]) : note].filter(Boolean).join(" · ");
}

function fillPickers({ holders, terminals }) {
  const options = {
    phone: holders.map((holder) => [new URLSearchParams({ login: holder.login_code, platform: holder.platform }), holderWords(holder)]),
    till: terminals.filter(({ kind }) => kind === "till").map((terminal) => [new URLSearchParams({ terminal: terminal.terminal_id }), terminal.place]),
    gate: terminals.filter(({ kind }) => kind === "gate").map((terminal) => [new URLSearchParams({ terminal: terminal.terminal_id }), terminal.place]),
  };
  for (const [name, picker] of Object.entries(pickers)) {
    const chosen = picker.value;
    picker.replaceChildren(...options[name].map(([query, text]) => element("option", { value: query }, text)));
    if (chosen) picker.value = chosen;
  }
}

function open(name) {
  if (name === "phone") setCode(null);
  frames[name].src = `/stage/${name}/?${pickers[name].value}`;
}

function setCode(text) {
  code = text;
  find("#to-till").disabled = text === null;
  find("#to-gate").disabled = text === null;
}

function carry(to) {
  feed.add({ kind: "carried", to });
  post(to, { type: "scan", text: code });
}

function onMessage({ origin, source, data }) {
  if (origin !== location.origin) return;
  if (source === frames.phone.contentWindow && data?.type === "phone-code") {
    setCode(data.text ? String(data.text) : null);
    if (data.text) feed.add({ kind: "phone-code" });
  } else if (source === frames.phone.contentWindow && data?.type === "phone-event") {
    feed.add({ ...data.event, kind: `phone-${data.event.kind}` });
  } else if (data?.type === "face-event" && source === frames[data.face]?.contentWindow) {
    feed.add(data);
    for (const listener of listeners) listener(data);
  }
}

/** Resolves with the next event of this face, or null when the story was stopped. */
function nextOf(face, story) {
  return new Promise((done) => {
    const listener = (event) => event.face === face && finish(event);
    const finish = (event) => {
      listeners.delete(listener);
      done(event);
    };
    listeners.add(listener);
    story.addEventListener("abort", () => finish(null), { once: true });
  });
}

/** Waits for a code other than the last one: each code is good for one use. */
async function freshCode(last, story) {
  while (!story.aborted && (code === null || code === last)) await pause(200);
  return code;
}

function caption(key, facts = {}) {
  said = [key, facts];
  find("#caption").textContent = key ? word(key, facts) : "";
}

async function tell(story) {
  if (code === null) {
    caption("storyNoCode");
    return;
  }
  const scan = async (face, text) => {
    const event = nextOf(face, story);
    post(face, { type: "scan", text });
    return event;
  };
  const beat = () => pause(2200);

  caption("storyAmount", { amount: yuan(STORY_FEN) });
  post("till", { type: "amount", amount_fen: STORY_FEN });
  await beat();
  if (story.aborted) return;
  caption("storyPay");
  const first = code;
  await scan("till", first);
  await beat();
  if (story.aborted) return;
  const second = await freshCode(first, story);
  if (story.aborted) return;
  caption("storyGate");
  await scan("gate", second);
  await beat();
  if (story.aborted) return;
  caption("storyEnd");
}

async function toggleStory() {
  if (telling) {
    telling.abort();
    return;
  }
  telling = new AbortController();
  find("#story").dataset.word = "storyStop";
  find("#story").textContent = word("storyStop");
  await tell(telling.signal);
  if (telling.signal.aborted) caption("");
  telling = null;
  find("#story").dataset.word = "story";
  find("#story").textContent = word("story");
}

function titleFrames() {
  for (const frame of Object.values(frames)) frame.title = word(frame.dataset.title);
}

speakLanguage();
titleFrames();
feed.draw();
const demo = (await readDemo()) ?? { holders: [], terminals: [] };
fillPickers(demo);
if (demo.sandbox_url) {
  find("#sandbox").href = demo.sandbox_url;
  find("#sandbox").hidden = false;
}
if (demo.terminals.length === 0) caption("noDemo");
for (const [name, picker] of Object.entries(pickers)) {
  picker.addEventListener("change", () => open(name));
  open(name);
}
find("#to-till").addEventListener("click", () => carry("till"));
find("#to-gate").addEventListener("click", () => carry("gate"));
find("#story").addEventListener("click", toggleStory);
window.addEventListener("message", onMessage);
listenToLanguage(find("#language"), () => {
  titleFrames();
  fillPickers(demo);
  feed.draw();
  caption(...said);
  for (const name of Object.keys(frames)) open(name);
});
