/** The last ten charges and their reversal (冲正), whole or in part. */

import { newId } from "../faces/api.js";
import { element, find } from "../faces/dom.js";
import { amountText, fenOf, isAmount, yuan } from "../faces/money.js";
import { refusalWords, word } from "../faces/words.js";
import { reverse } from "./charging.js";
import { hourOf } from "./today.js";

const leftOf = ({ amount_fen, reversed_fen }) => amount_fen - reversed_fen;

export class Recent {
  /** `onReversed(row, answer)` hears of each reversal that was confirmed. */
  constructor(api, pending, today, onReversed) {
    this.api = api;
    this.pending = pending;
    this.today = today;
    this.onReversed = onReversed;
    this.dialog = find("#reversal");
    this.form = find("form", this.dialog);
    this.form.addEventListener("submit", (event) => this.#submit(event));
    find("[data-close]", this.dialog).addEventListener("click", () => this.dialog.close());
  }

  draw() {
    const { recent } = this.today.read();
    find("#recent").replaceChildren(
      ...(recent.length > 0 ? recent.map((row) => this.#rowOf(row)) : [element("li", { class: "none" }, word("noneYet"))]),
    );
  }

  /** Opens the reversal of the newest charge that has something left: what F2 does. */
  openNewest() {
    const row = this.today.read().recent.find((candidate) => leftOf(candidate) > 0 && candidate.alone !== "waiting");
    if (row) this.#open(row);
  }

  /** Finishes a reversal left over from before a reload. */
  async recover(entry) {
    await this.#settle(entry, () => {});
  }

  #rowOf(row) {
    const waiting = row.alone === "waiting"; // the server does not know it yet, so it has nothing to reverse
    const reversed = row.reversed_fen > 0 ? word("reversedPart", { amount: yuan(row.reversed_fen) }) : "";
    const offline = row.alone ? word(waiting ? "offlineWaiting" : "offlineSale") : "";
    const notes = [offline, reversed].filter(Boolean).map((text) => element("span", { class: "remark" }, text));
    return element(
      "li",
      { "data-charge": row.id, "data-alone": row.alone ?? null },
      element("time", { datetime: row.charged_at }, hourOf(row.charged_at)),
      element("span", { class: "name" }, row.name_masked),
      ...notes,
      element("strong", {}, yuan(row.total_fen)),
      element(
        "button",
        { type: "button", "data-reverse": row.id, disabled: leftOf(row) === 0 || waiting, onclick: () => this.#open(row), "aria-label": `${word("reverse")} ${yuan(row.total_fen)} ${row.name_masked}` },
        word("reverse"),
      ),
    );
  }

  #open(row) {
    this.row = row;
    find("h2", this.dialog).textContent = word("reverseTitle", { total: yuan(row.total_fen) });
    find(".left", this.dialog).textContent = word("reverseHint", { left: yuan(leftOf(row)) });
    this.#notice("");
    this.form.elements.namedItem("amount").value = amountText(leftOf(row));
    this.#busy(false);
    this.dialog.showModal();
    this.form.elements.namedItem("amount").select();
  }

  async #submit(event) {
    event.preventDefault();
    const text = this.form.elements.namedItem("amount").value.trim();
    const amountFen = isAmount(text) ? fenOf(text) : 0;
    if (amountFen === 0 || amountFen > leftOf(this.row)) {
      this.#notice(word("wrongAmount"));
      return;
    }
    const entry = { kind: "reversal", id: newId(), charge_id: this.row.id, amount_fen: amountFen };
    this.pending.add(entry);
    this.#busy(true);
    this.#notice(word("reversing"));
    const answer = await this.#settle(entry, () => this.#notice(word("reverseDoubt")));
    this.#busy(false);
    if (answer.ok) this.dialog.close();
    else this.#notice(this.#whyNot(answer.body));
  }

  async #settle(entry, tell) {
    const answer = await reverse(this.api, entry, tell);
    this.pending.remove(entry);
    if (answer.ok) {
      this.today.recordReversal(entry);
      this.draw();
      this.onReversed(answer.body);
    }
    return answer;
  }

  #whyNot(problem) {
    const { reason, next } = refusalWords(problem);
    const reference = problem.reference ? word("reference", { reference: problem.reference }) : "";
    return [reason, next, reference].filter(Boolean).join(" · ");
  }

  #notice(text) {
    find("[role=alert]", this.dialog).textContent = text;
  }

  #busy(yes) {
    for (const control of this.form.elements) control.disabled = yes && !control.hasAttribute("data-close");
  }
}
