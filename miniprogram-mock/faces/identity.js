/**
 * Which terminal this page is. `?terminal=` names one of the demo's, by id or by number among its
 * kind; without it the device uses the token it was given at first use, kept in this browser.
 */

import { NoAnswer, pause } from "./api.js";
import { element } from "./dom.js";
import { word } from "./words.js";

const SOFTWARE = "campus-card-faces/1";
const HEARTBEAT_MS = 30_000;
const AGAIN_MS = 3000;

const keyOf = (kind) => `campus-card.${kind}.identity`;

const stored = (kind) => JSON.parse(localStorage.getItem(keyOf(kind)) ?? "null");

/** The demo's description, or null where there is no demo. */
export async function readDemo() {
  const response = await fetch("/stage/demo.json", { cache: "no-store" }).catch(() => null);
  return response?.ok ? response.json() : null;
}

async function fromDemo(kind, wanted) {
  const demo = await readDemo();
  const ours = demo?.terminals.filter((terminal) => terminal.kind === kind) ?? [];
  return ours.find(({ terminal_id }) => terminal_id === wanted) ?? ours[Number(wanted) - 1] ?? null;
}

async function enrol(api, enrolmentToken) {
  const answer = await api.post("/terminals/enrolments", { enrolment_token: enrolmentToken, software: SOFTWARE });
  if (!answer.ok) throw new Error(answer.body.detail ?? answer.body.title);
  return answer.body;
}

/** Asks the person in front for an enrolment code, a token, or the demo; resolves to `{token}`. */
function askPerson(kind, api, trouble) {
  return new Promise((done) => {
    const notice = element("p", { class: "notice", role: "alert" }, trouble);
    const field = (name, key) =>
      element("label", {}, word(key), element("input", { type: "text", name, autocomplete: "off", spellcheck: "false" }));
    const finish = async (way) => {
      try {
        const identity = await way();
        dialog.close();
        dialog.remove();
        done(identity);
      } catch (error) {
        notice.textContent = error instanceof NoAnswer ? word("unreachable") : error.message;
      }
    };
    const demo = async () => {
      const identity = await fromDemo(kind, "1");
      if (!identity) throw new Error(word("noDemo"));
      return identity;
    };
    const typed = async () => {
      const { enrolment_token: code, token } = Object.fromEntries(new FormData(form));
      if (code.trim()) return enrol(api, code.trim());
      if (token.trim()) return { token: token.trim() };
      throw new Error(word("needToken"));
    };
    const register = (event) => {
      event.preventDefault();
      finish(typed);
    };
    const form = element(
      "form",
      { onsubmit: register },
      field("enrolment_token", "enrolmentToken"),
      field("token", "terminalToken"),
      notice,
      element(
        "div",
        { class: "choices" },
        element("button", { type: "button", "data-way": "demo", onclick: () => finish(demo) }, word("useDemo")),
        element("button", { type: "submit", class: "primary" }, word("register")),
      ),
    );
    const dialog = element(
      "dialog",
      { id: "first-use", "aria-labelledby": "first-use-title" },
      element("h2", { id: "first-use-title" }, word("firstUse")),
      element("p", {}, word(kind === "till" ? "firstUseTill" : "firstUseGate")),
      form,
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function current(api) {
  for (;;) {
    try {
      return await api.get("/terminals/current");
    } catch {
      await pause(AGAIN_MS);
    }
  }
}

/** Signs this page in as a terminal of the kind and gives the api its token; asks until one is accepted. */
export async function signIn(kind, api) {
  const wanted = new URLSearchParams(location.search).get("terminal");
  let identity = (wanted && (await fromDemo(kind, wanted))) || stored(kind);
  let trouble = "";
  for (;;) {
    const asked = !identity;
    identity ??= await askPerson(kind, api, trouble);
    api.token = identity.token;
    const answer = await current(api);
    if (answer.ok && answer.body.kind === kind) {
      if (asked) localStorage.setItem(keyOf(kind), JSON.stringify({ token: identity.token }));
      return answer.body;
    }
    trouble = word(answer.ok ? "wrongKind" : "tokenRefused");
    localStorage.removeItem(keyOf(kind));
    identity = null;
    api.token = null;
  }
}

/** Shows whether the server can be reached, from every answer, and tells how the page is every 30 seconds. */
export function keepReach(api, chip, queueLength) {
  api.onReach = (online) => {
    const reach = online && navigator.onLine ? "online" : "offline";
    chip.dataset.reach = reach;
    chip.dataset.word = reach;
    chip.textContent = word(reach);
  };
  const beat = async () => {
    if (!api.token) return;
    const told = { queue_length: queueLength(), clock: new Date().toISOString(), software: SOFTWARE };
    await api
      .post("/terminals/current/heartbeat", told)
      .catch(() => null); // the chip says it already
  };
  window.addEventListener("offline", () => api.onReach(false));
  window.addEventListener("online", beat);
  setInterval(beat, HEARTBEAT_MS);
}
