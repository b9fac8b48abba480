/** What this till took today, kept in this browser for the cashier's eye; the ledger is the server's. */

const KEPT = 10;
const DAY = new Intl.DateTimeFormat("sv-SE", { timeZone: "Asia/Shanghai" });
const HOUR = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", hour: "2-digit", minute: "2-digit", hour12: false });

/** The hour and minute on the campus, whatever the device's own zone. */
export const hourOf = (at) => HOUR.format(new Date(at));

export class Today {
  constructor(terminalId) {
    this.key = `campus-card.today.${terminalId}`;
  }

  /**
   * `{date, count, sum_fen, alone_count, recent}`; the sum is of prices, less what was reversed. A row of `recent` that
   * was taken without network has `alone`: "waiting", then what the server made of it.
   */
  read() {
    const kept = JSON.parse(localStorage.getItem(this.key) ?? "null");
    const date = DAY.format(new Date());
    return { alone_count: 0, ...(kept?.date === date ? kept : { date, count: 0, sum_fen: 0, recent: [] }) };
  }

  record({ id, amount_fen, total_fen, holder, charged_at, reference, alone }) {
    const day = this.read();
    if (day.recent.some((row) => row.id === id)) return;
    const row = { id, amount_fen, total_fen, name_masked: holder?.name_masked ?? "", charged_at, reference, reversed_fen: 0 };
    this.#write({
      ...day,
      count: day.count + 1,
      sum_fen: day.sum_fen + amount_fen,
      alone_count: day.alone_count + (alone ? 1 : 0),
      recent: [alone ? { ...row, alone: "waiting" } : row, ...day.recent].slice(0, KEPT),
    });
  }

  recordReversal({ charge_id, amount_fen }) {
    const day = this.read();
    const recent = day.recent.map((row) =>
      row.id === charge_id ? { ...row, reversed_fen: row.reversed_fen + amount_fen } : row,
    );
    this.#write({ ...day, sum_fen: day.sum_fen - amount_fen, recent });
  }

  /** Notes what the server made of the sales without network; `outcomeOf(id)` resolves to null while it has none. */
  async settle(outcomeOf) {
    for (const { id, alone } of this.read().recent) {
      const outcome = alone === "waiting" ? await outcomeOf(id) : null;
      const day = this.read();
      if (outcome) this.#write({ ...day, recent: day.recent.map((row) => (row.id === id ? { ...row, alone: outcome } : row)) });
    }
  }

  #write(day) {
    localStorage.setItem(this.key, JSON.stringify(day));
  }
}
