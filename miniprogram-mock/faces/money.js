/** Money is whole fen from end to end; yuan exist only as text on the screen. */

const AMOUNT = /^(?:0|[1-9]\d{0,3})?(?:\.\d{0,2})?$/;

/** Whether the text is an amount, or the beginning of one, that a till can take (up to ¥9999.99). */
export const isAmount = (text) => AMOUNT.test(text);

/** The fen that an amount text such as "12.5" stands for; 0 for an empty one. */
export function fenOf(text) {
  const [whole, part = ""] = text.split(".");
  return Number(whole || "0") * 100 + Number(part.padEnd(2, "0"));
}

/** "¥12.50", or "−¥12.50" with the true minus sign. */
export function yuan(fen) {
  const size = Math.abs(fen);
  const text = `¥${Math.floor(size / 100)}.${String(size % 100).padStart(2, "0")}`;
  return fen < 0 ? `−${text}` : text;
}

/** The amount text of so many fen, as a person would key it: "12.50". */
export const amountText = (fen) => yuan(fen).slice(1);
