/** The published API, as a terminal sees it: a definite answer, or `NoAnswer`. */

/**
 * Nobody knows whether the server acted: no connection, no answer in time, a 5xx, or something in
 * between that is not our server (a captive portal answers HTML).
 */
export class NoAnswer extends Error {}

const UNDECIDED = new Set([408, 425]);

/** A random UUID, also on plain HTTP in a campus network, where `crypto.randomUUID` is missing. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Api {
  token = null;
  /** Told `true` after every definite answer and `false` after every missing one. */
  onReach = () => {};
  /** Whether the last request had an answer. */
  reached = true;

  constructor({ base = "/api/v1", timeoutMs = 6000 } = {}) {
    this.base = base;
    this.timeoutMs = timeoutMs;
  }

  get(path) {
    return this.#ask("GET", path);
  }

  /** `timeoutMs` where this one request shall wait less than the others. */
  put(path, body, { timeoutMs } = {}) {
    return this.#ask("PUT", path, body, timeoutMs);
  }

  post(path, body) {
    return this.#ask("POST", path, body);
  }

  /** One request: `{ok, status, body}`, where a refusal's body is its problem document. */
  async #ask(method, path, body, timeoutMs = this.timeoutMs) {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    try {
      const answer = await this.#read(method, path, body, late.signal);
      this.#reach(true);
      return answer;
    } catch (error) {
      this.#reach(false);
      throw new NoAnswer(`${method} ${path}: ${error.message}`);
    } finally {
      clearTimeout(timer);
    }
  }

  #reach(yes) {
    this.reached = yes;
    this.onReach(yes);
  }

  async #read(method, path, body, signal) {
    const headers = { Accept: "application/json, application/problem+json", "Accept-Language": document.documentElement.lang };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await fetch(this.base + path, {
      method,
      headers,
      signal,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.status >= 500 || UNDECIDED.has(response.status)) throw new Error(`status ${response.status}`);
    const text = await response.text();
    return { ok: response.ok, status: response.status, body: text === "" ? null : JSON.parse(text) };
  }
}
