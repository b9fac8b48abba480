// How one item of the statement looks in a list and on its own page.

const clock = require('./clock.js')
const i18n = require('./i18n.js')
const money = require('./money.js')

const LOOKS = {
  charge: ['meal', 'out'],
  surcharge: ['meal', 'out'],
  void: ['back', 'back'],
  reversal: ['back', 'back'],
  top_up: ['wallet', 'in'],
  cash_top_up: ['wallet', 'in'],
  cash_top_up_reversal: ['back', 'out'],
  subsidy: ['gift', 'in'],
  correction: ['list', 'back'],
  refund: ['back', 'out'],
  refund_returned: ['back', 'in'],
}

/** One row of the list. */
function row(item) {
  const kind = i18n.words('kinds')[item.kind]
  const [icon, tone] = LOOKS[item.kind] || LOOKS.correction
  const channel = item.channel ? i18n.words('channels')[item.channel] || item.channel : ''
  return {
    id: item.id,
    kind: item.kind,
    icon,
    tone,
    title: item.place || (channel ? `${kind} · ${channel}` : kind),
    line: [clock.time(item.at), item.place ? kind : '', i18n.words('purses')[item.purse]].filter(Boolean).join(' · '),
    amount: money.signed(item.amount_fen),
    positive: item.amount_fen > 0,
  }
}

/** Items in the order they came, grouped by accounting day with what the day cost. */
function byDay(items) {
  const t = i18n.words('bills')
  const today = clock.day(clock.now())
  const yesterday = clock.day(clock.now() - 24 * 3600 * 1000)
  const days = []
  for (const item of items) {
    const day = item.business_date
    let group = days[days.length - 1]
    if (!group || group.day !== day) {
      const [, month, date] = day.split('-').map(Number)
      const label = { [today]: t.today, [yesterday]: t.yesterday }[day] || i18n.fill(t.dayLabel, { month, day: date })
      group = { day, label, outFen: 0, items: [] }
      days.push(group)
    }
    if (item.amount_fen < 0) group.outFen -= item.amount_fen
    group.items.push(row(item))
  }
  return days.map((group) => ({ ...group, total: group.outFen ? `${t.out} ${money.yuan(group.outFen)}` : '' }))
}

/** The month's spending as heights in percent, oldest day first; nothing for a single day. */
function bars(days) {
  if (days.length < 2) return []
  const most = Math.max(...days.map((one) => one.outFen), 1)
  return days.map((one) => ({ day: one.day, height: Math.round((100 * one.outFen) / most) })).reverse()
}

module.exports = { bars, byDay, row }
