/**
 * What a scanner that works alone may decide (脱机规则). Pure: no clock, no storage. The same rules stand in
 * `qr/rules.py`, and both are tried on `qr/scenes.json`.
 */

const FEN_A_YUAN = 100;

/** Whether opening hours `{days, begins, ends}` hold at a second of the school's own clock. */
export function hoursHold({ days, begins, ends }, local) {
  const at = new Date(local * 1000);
  const minute = at.getUTCHours() * 60 + at.getUTCMinutes();
  return days.includes(at.getUTCDay() || 7) && begins <= minute && minute < ends;
}

/**
 * Why whoever shows this code may not pass at a second of the school's clock, or null. A stale bundle may not know
 * newcomers, so it speaks for those alone whom it names.
 */
export function gateRefusal(rules, code, { local, stale }) {
  const named = rules.classes.find((access) => isNamed(access, code));
  if (stale && !named) return "bundle-stale";
  if (!named && rules.default === null) return "access-not-allowed";
  const { hours } = named ?? rules.classes[rules.default];
  if (hours.length === 0) return "access-not-allowed";
  return hours.some((one) => hoursHold(one, local)) ? null : "access-outside-hours";
}

const isNamed = ({ aliases, serials }, { kind, alias, serial }) =>
  kind === "device" ? serials.has(serial) : aliases.has(alias);

/**
 * Why an amount cannot be taken, `{reason, facts}`, or null. A device code brings caps of its own from the school; the
 * lower one counts. `card` and `terminal` are what was taken today from this card and from all, `{count, fen}`.
 */
export function tillRefusal(rules, code, amountFen, { card, terminal }) {
  const own = code.kind === "device";
  const perSaleFen = own ? Math.min(rules.perSaleFen, code.capYuan * FEN_A_YUAN) : rules.perSaleFen;
  const perCardCount = own ? Math.min(rules.perCardCount, code.capCount) : rules.perCardCount;
  if (amountFen > perSaleFen) return over("per_sale", { limit_fen: perSaleFen });
  if (card.count + 1 > perCardCount) return over("per_card_count", { limit: perCardCount });
  if (card.fen + amountFen > rules.perCardFen) return over("per_card", { limit_fen: rules.perCardFen });
  if (terminal.fen + amountFen > rules.terminalFen) return over("terminal", { limit_fen: rules.terminalFen });
  return null;
}

const over = (cap, limit) => ({ reason: "offline-cap-exceeded", facts: { cap, ...limit } });
