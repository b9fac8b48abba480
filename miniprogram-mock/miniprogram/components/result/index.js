const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')

const AUTO_CLOSE_MS = 4000
const GOOD = ['charge-approved', 'charge-voided', 'charge-reversed', 'passage-allowed', 'top-up-paid', 'card-restored']

/** What just happened, over the whole page: an event of GET /me/events. Good news closes itself; bad news waits. */
Component({
  properties: { event: { type: Object, value: null } },
  data: { kind: '', facts: [], timer: 0 },
  observers: {
    event(event) {
      clearTimeout(this.data.timer)
      if (!event) {
        this.setData({ kind: '' })
        return
      }
      this.setData(face(event))
      if (GOOD.includes(event.kind)) this.setData({ timer: setTimeout(() => this.close(), AUTO_CLOSE_MS) })
    },
  },
  lifetimes: {
    detached() {
      clearTimeout(this.data.timer)
    },
  },
  methods: {
    close() {
      clearTimeout(this.data.timer)
      this.triggerEvent('close')
    },
    act() {
      this.triggerEvent('act', { event: this.data.event })
    },
  },
})

function face(event) {
  const t = i18n.words('result')
  const good = GOOD.includes(event.kind)
  const why = event.reason ? i18n.reason(event.reason, event, event.reference) : null
  const paid = event.total_fen === undefined ? event.amount_fen : event.total_fen
  const facts = []
  if (event.surcharge_fen) facts.push([t.price, money.yuan(event.amount_fen)], [t.surcharge, money.yuan(event.surcharge_fen)])
  if (event.place) facts.push([t.place, event.direction ? `${event.place} · ${t[event.direction]}` : event.place])
  if (event.balance_fen !== undefined) facts.push([t.balance, money.yuan(event.balance_fen)])
  facts.push([t.time, clock.stamp(event.at)])
  if (event.reference) facts.push([i18n.words('common').reference, event.reference])
  return {
    kind: event.kind,
    reason: event.reason || '',
    tone: good ? 'good' : 'bad',
    heading: why ? why.title : t[event.kind],
    advice: why ? why.next : '',
    amount: good && paid !== undefined ? money.yuan(paid) : '',
    facts,
    action: t.actions[event.reason] || (event.kind === 'charge-approved' ? t.dispute : ''),
    done: good ? t.done : t.again,
  }
}
