const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const consent = require('../../utils/consent.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const ids = require('../../utils/ids.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

i18n.learn({ 'zh-CN': require('./i18n/zh-CN.js'), en: require('./i18n/en.js') })

const OPEN_REFUND = 'refund'
const PAGE_SIZE = 20
const ASK_EVERY_MS = 3000
const ASK_FOR_MS = 5 * 60 * 1000
const TONES = { processing: 'chip-warn', succeeded: 'chip-good', paid_out: 'chip-good', returned: 'chip-bad', abnormal: 'chip-bad' }

/** 余额退回: back to where it was paid from, the newest top-up first. What stays says why. */
Page(
  screen('refund', {
    data: { able: null, amount: '', amountFen: 0, parts: [], rests: [], refunds: [], cursor: null, problem: null, busy: false, toAsk: [] },

    onShow() {
      this.shown = true
      this.load()
    },

    onHide() {
      this.shown = false
      clearTimeout(this.asking)
    },

    onUnload() {
      this.onHide()
    },

    onReachBottom() {
      this.more()
    },

    async load() {
      try {
        const [{ me }, able] = await Promise.all([holder.fetchMe(), api.call('GET', '/me/refundable')])
        this.showAble(able, me)
        await this.showRefunds()
        this.watch(clock.now())
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    showAble(able, me) {
      const { t } = this.data
      const open = platform.load(OPEN_REFUND)
      const fen = open ? open.amount_fen : able.refundable_fen
      this.setData({
        able,
        most: money.yuan(able.refundable_fen),
        stopped: able.reason ? i18n.reason(able.reason, { arrears_fen: me.arrears_fen }) : null,
        rests: able.rests.map((rest) => ({ reason: rest.reason, amount: money.yuan(rest.amount_fen), word: t.rests[rest.reason] })),
        amount: fen ? money.yuan(fen).slice(1) : '',
      })
      this.showAmount(fen)
    },

    /** The split that the server would make of this amount. */
    showAmount(fen) {
      const { able, t } = this.data
      const channels = i18n.words('channels')
      const parts = []
      let left = fen
      for (const part of able.parts) {
        const some = Math.min(left, part.amount_fen)
        if (some) parts.push({ id: part.top_up_id, channel: channels[part.channel], paid: i18n.fill(t.paidAt, { time: clock.stamp(part.paid_at) }), amount: money.yuan(some) })
        left -= some
      }
      this.setData({ amountFen: fen, parts, button: fen ? i18n.fill(t.give, { amount: money.yuan(fen) }) : t.choose })
    },

    typeAmount(input) {
      const { able, t } = this.data
      const amount = input.detail.value
      const fen = money.parse(amount)
      const good = fen !== null && fen >= able.least_fen && fen <= able.refundable_fen
      this.setData({ amount, amountError: amount && !good ? i18n.fill(t.range, { least: money.yuan(able.least_fen), most: money.yuan(able.refundable_fen) }) : '' })
      this.showAmount(good ? fen : 0)
    },

    /** One refund of this amount has one id, kept before it is sent: a lost answer is asked for again, not twice. */
    async openRefund() {
      const { amountFen } = this.data
      const open = platform.load(OPEN_REFUND)
      if (open && open.amount_fen === amountFen) return open.id
      const id = await ids.newId()
      platform.save(OPEN_REFUND, { id, amount_fen: amountFen })
      return id
    },

    async give() {
      const { t, c, busy, amountFen } = this.data
      if (busy || !amountFen) return
      if (!(await platform.confirm(t.sure, i18n.fill(t.sureText, { amount: money.yuan(amountFen) }), t.yes, c.cancel))) return
      this.setData({ busy: true, problem: null })
      try {
        await api.call('PUT', `/me/refunds/${await this.openRefund()}`, { amount_fen: amountFen })
        platform.save(OPEN_REFUND, null)
        platform.toast(t.taken)
        await this.load()
        this.setData({ toAsk: await consent.toAsk(['refund-succeeded']).catch(() => []), consentText: i18n.words('notices').consent })
      } catch (refusal) {
        if (refusal.status >= 400 && refusal.status < 500) platform.save(OPEN_REFUND, null) // surely not taken
        this.setData({ problem: i18n.problem(refusal) })
      } finally {
        this.setData({ busy: false })
      }
    },

    async askConsent() {
      const { toAsk } = this.data
      this.setData({ toAsk: [] })
      if (await consent.ask(toAsk)) platform.toast(i18n.words('notices').consented)
    },

    async showRefunds() {
      const { items, next_cursor: cursor } = await api.call('GET', `/me/refunds?limit=${PAGE_SIZE}`)
      this.setData({ refunds: items.map((refund) => this.row(refund)), cursor })
    },

    async more() {
      const { cursor, refunds } = this.data
      if (!cursor || this.loading) return
      this.loading = true
      try {
        const page = await api.call('GET', `/me/refunds?limit=${PAGE_SIZE}&cursor=${encodeURIComponent(cursor)}`)
        this.setData({ refunds: refunds.concat(page.items.map((refund) => this.row(refund))), cursor: page.next_cursor })
      } catch (refusal) {
        platform.toast(i18n.problem(refusal).title)
      } finally {
        this.loading = false
      }
    },

    row(refund) {
      const { states } = this.data.t
      const channels = i18n.words('channels')
      return {
        id: refund.id,
        state: refund.state,
        amount: money.yuan(refund.amount_fen),
        at: clock.stamp(refund.requested_at),
        parts: refund.parts.map((part) => ({
          id: part.top_up_id,
          state: part.state,
          channel: channels[part.channel],
          amount: money.yuan(part.amount_fen),
          word: states[part.state],
          tone: TONES[part.state],
        })),
      }
    },

    /** While something is under way, asks every few seconds how it stands. */
    watch(since) {
      clearTimeout(this.asking)
      const open = this.data.refunds.some((refund) => refund.state === 'processing')
      if (!open || !this.shown || clock.now() - since > ASK_FOR_MS) return
      this.asking = setTimeout(async () => {
        try {
          await this.showRefunds()
        } catch {
          // no answer is not an answer: asked again below
        }
        this.watch(since)
      }, ASK_EVERY_MS)
    },
  }),
)
