/**
 * Three ways in for a card code: a keyboard wedge (扫码枪), the camera, a paste box; on the stage a
 * fourth, a message from the page around. All of them end in `onCode(text)`.
 */

const CODE_LENGTHS = { 962: 430, 961: 201, 960: 20 };
const LONGEST_CODE = 430;
const STRAY = 16; // digits somebody may have typed before the scan

/**
 * A wedge that types Enter after the code sends it within this time. The code itself is already
 * complete by length, so nothing read depends on it: it only keeps that Enter from acting as a key press.
 */
const WEDGE_ENTER_MS = 400;

/** Whether the text is a card code by its letters alone: ASCII digits, prefix and exact length. */
export const isCode = (text) => /^\d+$/.test(text) && text.length === CODE_LENGTHS[text.slice(0, 3)];

/** Splits what a line ended with from what was typed before it: `{before, code}`, code null if none. */
export function codeAtEnd(line) {
  for (const length of [430, 201, 20]) {
    if (line.length >= length && isCode(line.slice(-length))) {
      return { before: line.slice(0, -length), code: line.slice(-length) };
    }
  }
  return { before: line, code: null };
}

const isEditable = (node) => node?.matches("input:not([type=radio], [type=checkbox]), textarea, select") ?? false;

/**
 * Keeps the field ready for a wedge and reports what is typed into it. A code ends by Enter or by
 * its prefix and exact length, never by a pause, so a slow wedge loses nothing.
 *
 * `onCode(code, before)` a whole code, and what stood before it on the line
 * `onLine(text)` Enter after something else, or after nothing
 * `onTyping(text)` the line so far
 * `onForeign(text)` a character no wedge of ours types, such as a full-width digit from an input method
 */
export function listenToWedge(field, { allowed = /^\d*$/, onCode, onLine, onTyping, onForeign }) {
  let codeAt = -Infinity;
  const take = () => {
    const line = field.value;
    field.value = "";
    return line;
  };
  const finish = (code, before, at) => {
    codeAt = at;
    onCode(code, before);
  };

  field.addEventListener("input", (event) => {
    if (event.isComposing) return;
    if (!allowed.test(field.value) || field.value.length > LONGEST_CODE + STRAY) return onForeign(take());
    if (isCode(field.value)) return finish(take(), "", event.timeStamp);
    onTyping(field.value);
  });
  field.addEventListener("compositionend", () => field.value !== "" && onForeign(take()));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (field.value === "" && event.timeStamp - codeAt < WEDGE_ENTER_MS) return;
    const { before, code } = codeAtEnd(take());
    if (code) finish(code, before, event.timeStamp);
    else onLine(before);
  });

  const ready = () => document.hasFocus() && !document.querySelector("dialog[open]") && !isEditable(document.activeElement);
  const refocus = () => ready() && field.focus({ preventScroll: true });
  // Focus that the Tab key moved to a button stays there; focus lost to a click or to nothing comes back.
  field.addEventListener("blur", ({ relatedTarget }) => relatedTarget === null && setTimeout(refocus));
  document.addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
  document.addEventListener("click", ({ detail }) => detail > 0 && setTimeout(refocus));
  // A dialog hands the focus back without the caret if its own field was disabled meanwhile: take it anew.
  document.addEventListener("close", () => { field.blur(); setTimeout(refocus); }, true);
  window.addEventListener("focus", refocus);
  // A scan that begins while a button has the focus moves to the field before its first digit lands.
  document.addEventListener("keydown", (event) => /^\d$/.test(event.key) && !event.ctrlKey && refocus(), true);
  refocus();
}

/** Opens and closes the camera by its button. The decoder is fetched when first opened, not before. */
export function listenToCamera(button, video, { onText, onFailure }) {
  let close = null;
  const toggle = async () => {
    if (close) {
      close();
      close = null;
      return;
    }
    const { openCamera } = await import("./camera.js");
    close = await openCamera(video, onText);
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    video.hidden = close !== null;
    await toggle().catch((error) => {
      video.hidden = true;
      onFailure(error);
    });
    button.disabled = false;
    button.setAttribute("aria-pressed", String(close !== null));
  });
}

/** Takes a code from the paste box; spaces and line breaks around it are people's, not the code's. */
export function listenToPaste(form, onText) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const box = form.elements.namedItem("code");
    const text = box.value.trim();
    box.value = "";
    if (text) onText(text);
  });
}

/** Takes `{type: "scan", text}` from the page this one is framed in, and from no other origin. */
export function listenToStage(handlers) {
  window.addEventListener("message", ({ origin, source, data }) => {
    if (origin === location.origin && source === window.parent && source !== window) handlers[data?.type]?.(data);
  });
}

/** Tells the page around what happened here, for its feed; alone in a window it tells nobody. */
export function tellStage(face, event) {
  if (window.parent !== window) window.parent.postMessage({ type: "face-event", face, ...event }, location.origin);
}

/**
 * Remembers the codes already taken: a scan box with its light always on reads the same screen again
 * and again. A code whose attempt ended without a decision may be released and shown again.
 */
export class DoubleScanGuard {
  #taken = new Set();

  take(code) {
    if (this.#taken.has(code)) return false;
    this.#taken.add(code);
    if (this.#taken.size > 200) this.#taken.delete(this.#taken.values().next().value);
    return true;
  }

  release(code) {
    this.#taken.delete(code);
  }
}
