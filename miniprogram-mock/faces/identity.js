/**
 * Which terminal this page is. `?terminal=` names one of the demo's, by id or by number among its
 * kind; without it the device uses the token it was given at first use, kept in this browser.
 */

import { pause } from "./api.js";
import { word } from "./words.js";

export const SOFTWARE = "campus-card-faces/1";
const HEARTBEAT_MS = 30_000;
const AGAIN_MS = 3000;

const keyOf = (kind) => `campus-card.${kind}.identity`;

const knownKeyOf = (kind, wanted) => `campus-card.${kind}.known.${wanted ?? ""}`;

const read = (key) => JSON.parse(localStorage.getItem(key) ?? "null");

/** The demo's description, or null where there is no demo. */
export async function readDemo() {
  const response = await fetch("/stage/demo.json", { cache: "no-store" }).catch(() => null);
  return response?.ok ? response.json() : null;
}

/** A terminal of the demo by its id or its number among its kind, or null. */
export async function fromDemo(kind, wanted) {
  const demo = await readDemo();
  const ours = demo?.terminals.filter((terminal) => terminal.kind === kind) ?? [];
  return ours.find(({ terminal_id }) => terminal_id === wanted) ?? ours[Number(wanted) - 1] ?? null;
}

/** What the server says of this terminal; while it says nothing, what it said to the same token before. */
async function current(api, known) {
  for (;;) {
    try {
      return await api.get("/terminals/current");
    } catch {
      if (known?.token === api.token) return { ok: true, body: known.terminal };
      await pause(AGAIN_MS);
    }
  }
}

/**
 * Signs this page in as a terminal of the kind and gives the api its token; asks until one is accepted. Resolves to the
 * terminal, `enrolled` when it was asked for just now. Without network it is the one that it was before.
 */
export async function signIn(kind, api) {
  const wanted = new URLSearchParams(location.search).get("terminal");
  const known = read(knownKeyOf(kind, wanted));
  let identity = (wanted && ((await fromDemo(kind, wanted)) ?? known)) || read(keyOf(kind));
  let trouble = "";
  for (;;) {
    const asked = !identity;
    if (asked) identity = await (await import("./first-use.js")).askPerson(kind, api, trouble);
    api.token = identity.token;
    const answer = await current(api, known);
    if (answer.ok && answer.body.kind === kind) {
      if (asked) localStorage.setItem(keyOf(kind), JSON.stringify({ token: identity.token }));
      localStorage.setItem(knownKeyOf(kind, wanted), JSON.stringify({ token: identity.token, terminal: answer.body }));
      return { ...answer.body, enrolled: asked };
    }
    trouble = answer.ok ? "wrongKind" : "tokenRefused";
    localStorage.removeItem(keyOf(kind));
    localStorage.removeItem(knownKeyOf(kind, wanted));
    identity = null;
    api.token = null;
  }
}

/**
 * Shows whether the server can be reached, from every answer, and tells it what `tell()` says every 30 seconds. Returns
 * what tells it at once: resolves to `{serverTime, at}`, one moment by its clock and by ours in milliseconds, or null.
 */
export function keepReach(api, chip, tell) {
  api.onReach = (online) => {
    const reach = online && navigator.onLine ? "online" : "offline";
    chip.dataset.reach = reach;
    chip.dataset.word = reach;
    chip.textContent = word(reach);
  };
  const beat = async () => {
    if (!api.token) return null;
    const sentAt = Date.now();
    const told = { ...tell(), clock: new Date(sentAt).toISOString(), software: SOFTWARE };
    const answer = await api
      .post("/terminals/current/heartbeat", told)
      .catch(() => null); // the chip says it already
    return answer?.ok ? { serverTime: Date.parse(answer.body.server_time), at: (sentAt + Date.now()) / 2 } : null;
  };
  window.addEventListener("offline", () => api.onReach(false));
  window.addEventListener("online", beat);
  setInterval(beat, HEARTBEAT_MS);
  return beat;
}
