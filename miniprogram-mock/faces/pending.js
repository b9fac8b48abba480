/**
 * What was sent and has no definite answer yet, kept in this browser so that a reload, a crash or a
 * power cut forgets nothing. Written before the first byte leaves; never holds a card code.
 *
 * A charge is marked `alone` before the till decides it by itself, so that nobody voids it without having looked there,
 * and `withdrawn` when the till has refused it: then it waits only to be voided.
 */
export class Pending {
  constructor(terminalId) {
    this.key = `campus-card.pending.${terminalId}`;
  }

  all() {
    return JSON.parse(localStorage.getItem(this.key) ?? "[]");
  }

  add(entry) {
    const others = this.all().filter(({ id }) => id !== entry.id);
    localStorage.setItem(this.key, JSON.stringify([...others, entry]));
  }

  remove(entry) {
    localStorage.setItem(this.key, JSON.stringify(this.all().filter(({ id }) => id !== entry.id)));
  }
}
