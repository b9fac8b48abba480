/** Patterns that nobody confuses: rising for yes, in three steps for yes without network, low and broken for no, level for "not known". */

const PATTERNS = {
  yes: [[880, 0, 0.09], [1320, 0.11, 0.18]],
  alone: [[660, 0, 0.08], [880, 0.1, 0.08], [1100, 0.2, 0.2]],
  no: [[220, 0, 0.16], [220, 0.22, 0.16], [165, 0.44, 0.34]],
  doubt: [[523, 0, 0.12], [523, 0.3, 0.12]],
};

let context = null;

/** Plays one pattern. Silent until the page was touched once: browsers allow no sound before that. */
export function beep(name) {
  if (!navigator.userActivation?.hasBeenActive) return;
  context ??= new AudioContext();
  for (const [hertz, start, length] of PATTERNS[name]) {
    const tone = new OscillatorNode(context, { frequency: hertz, type: name === "no" ? "square" : "sine" });
    const volume = new GainNode(context, { gain: 0.18 });
    const at = context.currentTime + start;
    volume.gain.setTargetAtTime(0, at + length - 0.03, 0.01);
    tone.connect(volume).connect(context.destination);
    tone.start(at);
    tone.stop(at + length);
  }
}

/** Speaks the sentence that the server sent with its answer. */
export function speak(sentence) {
  if (!sentence || !("speechSynthesis" in window)) return;
  const utterance = new SpeechSynthesisUtterance(sentence);
  utterance.lang = document.documentElement.lang;
  speechSynthesis.cancel();
  speechSynthesis.speak(utterance);
}

/** A switch that this device remembers: sound is on at first, voice is off. */
export class Switch {
  constructor(button, name, { on }) {
    this.key = `campus-card.${name}`;
    this.on = (localStorage.getItem(this.key) ?? String(on)) === "true";
    button.setAttribute("aria-pressed", String(this.on));
    button.addEventListener("click", () => {
      this.on = !this.on;
      localStorage.setItem(this.key, String(this.on));
      button.setAttribute("aria-pressed", String(this.on));
    });
  }
}
