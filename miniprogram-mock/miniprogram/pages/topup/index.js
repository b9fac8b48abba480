const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const consent = require('../../utils/consent.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const ids = require('../../utils/ids.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const TILES_FEN = [2000, 5000, 10000, 20000, 30000, 50000]
const LEAST_FEN = 100
const MOST_FEN = 50000
const ASK_EVERY_MS = 2000
const ASK_FOR_MS = 60 * 1000
const OPEN_ORDER = 'top-up'
const FRESH_MS = 110 * 60 * 1000
const FINAL = ['paid', 'closed', 'failed', 'exception', 'returned']
/** What somebody who has just topped up may want to hear of. */
const TOLD_OF = ['top-up-paid', 'charge-approved', 'balance-low']

/** 充值. Whatever the payment sheet says, only our server's answer counts; an order is paid under one id or not at all. */
Page(
  screen('topup', {
    data: { view: 'loading', amountFen: 5000, custom: '', channel: platform.host, phase: '', busy: false, order: null, tiles: [], channels: [], toAsk: [] },

    onLoad() {
      const t = i18n.words('topup')
      this.setData({ consentText: i18n.words('notices').consent })
      const names = i18n.words('channels')
      const inAlipay = platform.host === 'alipay'
      const channels = [
        { channel: 'wechat', mark: '微', name: names.wechat, note: t.wechatNote },
        { channel: 'alipay', mark: '支', name: names.alipay, note: inAlipay ? t.alipayNote : t.handOffNote },
      ]
      this.setData({
        tiles: TILES_FEN.map((fen) => ({ fen, text: money.brief(fen) })),
        channels: inAlipay ? channels.slice(1) : channels,
      })
      this.showAmount(this.data.amountFen)
    },

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

    async load() {
      const known = holder.lastKnown()
      if (known) this.showBalance(known.me)
      try {
        const { binding } = await api.session()
        if (binding !== 'active') {
          this.setData({ view: 'unbound' })
          return
        }
        const { me } = await holder.fetchMe()
        this.showBalance(me)
        this.setData({ problem: null })
        if (this.data.phase === 'handoff') this.watch(clock.now())
      } catch (refusal) {
        if (refusal.code === 'not-bound') this.setData({ view: 'unbound' })
        else this.setData({ view: 'ready', problem: i18n.problem(refusal) })
      }
    },

    showBalance(me) {
      if (!me.holder) return
      const { balance, purses } = holder.face(me)
      this.setData({ view: 'ready', ended: Boolean(holder.ending()), balance, purseLine: purses.map((purse) => `${purse.name} ${purse.balance}`).join(' · ') })
    },

    seeClosing() {
      platform.go('/pages/closing/index')
    },

    showAmount(fen) {
      const t = i18n.words('topup')
      this.setData({
        amountFen: fen,
        amountText: fen ? money.yuan(fen) : '',
        payText: fen ? i18n.fill(t.pay, { amount: money.yuan(fen) }) : t.choose,
        problem: null,
      })
    },

    chooseAmount(tap) {
      this.setData({ custom: '', amountError: '' })
      this.showAmount(Number(tap.currentTarget.dataset.amountFen))
    },

    typeAmount(input) {
      const custom = input.detail.value
      const fen = money.parse(custom)
      const good = fen !== null && fen >= LEAST_FEN && fen <= MOST_FEN
      this.setData({ custom, amountError: custom && !good ? this.data.t.range : '' })
      this.showAmount(good ? fen : 0)
    },

    chooseChannel(tap) {
      this.setData({ channel: tap.currentTarget.dataset.channel })
    },

    /** The unpaid order for this amount and channel, or a new one in place of what is open; its id is kept before anything is sent. */
    async openOrder() {
      const { channel, amountFen } = this.data
      const open = platform.load(OPEN_ORDER)
      if (open && open.channel === channel && open.amount_fen === amountFen && fresh(open)) return { ...open, resumed: true }
      const found = open ? null : await this.findUnpaid(channel, amountFen)
      if (found) return { ...found, resumed: true, known: true }
      const order = { id: await ids.newId(), channel, amount_fen: amountFen, begun_at: clock.now() }
      if (open) order.replaces = open.id
      platform.save(OPEN_ORDER, order)
      return { ...order, resumed: false }
    },

    /** An order that this phone no longer remembers, but could still pay. */
    async findUnpaid(channel, amountFen) {
      const { items } = await api.call('GET', '/me/top-ups')
      return items.find(
        (order) => order.state === 'pending' && order.channel === channel && order.amount_fen === amountFen && order.client_params && fresh(order),
      )
    },

    /** What the order is by now: ordered anew, or, where it had been, as the gateway tells. */
    async place({ id, channel, amount_fen, replaces, resumed, known }) {
      const path = `/me/top-ups/${id}`
      if (known) return api.call('POST', `${path}/sync`)
      const order = await api.call('PUT', path, { channel, amount_fen, ...(replaces ? { replaces } : {}) })
      return resumed && order.client_params ? api.call('POST', `${path}/sync`) : order
    },

    async pay() {
      if (this.data.busy || !this.data.amountFen) return
      this.setData({ busy: true, problem: null })
      try {
        const open = await this.openOrder()
        const order = await this.place(open)
        if (!open.known) platform.save(OPEN_ORDER, { ...open, expires_at: order.expires_at })
        this.setData({ order })
        if (FINAL.includes(order.state)) this.settle(order)
        else if (order.state === 'closing' || !order.client_params) this.wait()
        else if (order.client_params.kind === 'qr') {
          this.setData({ phase: 'handoff' })
          this.watch(clock.now())
        } else {
          this.setData({ phase: 'waiting' })
          const outcome = await platform.pay(order.client_params)
          if (outcome === 'cancelled') this.setData({ phase: 'cancelled' })
          else this.wait()
        }
      } catch (refusal) {
        await this.refuse(refusal)
      } finally {
        this.setData({ busy: false })
      }
    },

    /** A refused order was not made; if the one before it turned out paid, that is the news. */
    async refuse(refusal) {
      this.setData({ phase: '', problem: i18n.problem(refusal) })
      if (refusal.code === 'id-reused' || refusal.code === 'not-found') platform.save(OPEN_ORDER, null)
      if (refusal.code !== 'top-up-paid') return
      try {
        const order = await api.call('GET', `/me/top-ups/${refusal.facts.top_up_id}`)
        this.setData({ problem: null })
        await this.settle(order)
      } catch {
        platform.save(OPEN_ORDER, null)
      }
    },

    /** Give the order up. Only the gateway can say that nobody can pay it any more; until then it is closing. */
    async cancel() {
      if (this.data.busy || !this.data.order) return
      this.setData({ busy: true })
      clearTimeout(this.asking)
      try {
        await this.settle(await api.call('POST', `/me/top-ups/${this.data.order.id}/cancel`))
      } catch (refusal) {
        this.setData({ phase: '', problem: i18n.problem(refusal) })
      } finally {
        this.setData({ busy: false })
      }
    },

    /** After the payment sheet: ask the gateway through our server at once, then every two seconds for a minute. */
    wait() {
      this.setData({ phase: 'waiting' })
      this.watch(clock.now(), true)
    },

    async watch(since, sync) {
      clearTimeout(this.asking)
      const { id } = this.data.order
      const path = `/me/top-ups/${id}`
      try {
        const order = sync ? await api.call('POST', `${path}/sync`) : await api.call('GET', path)
        if (!this.data.phase || this.data.order.id !== id) return
        if (FINAL.includes(order.state)) {
          this.settle(order)
          return
        }
      } catch {
        // no answer is not an answer: ask again below
      }
      const waiting = this.data.phase === 'waiting'
      if (waiting && clock.now() - since > ASK_FOR_MS) this.setData({ phase: 'unknown' })
      else if (this.shown && (waiting || this.data.phase === 'handoff')) {
        this.asking = setTimeout(() => this.watch(since, waiting), ASK_EVERY_MS)
      }
    },

    ask() {
      this.wait()
    },

    async settle(order) {
      clearTimeout(this.asking)
      platform.save(OPEN_ORDER, null)
      const amountText = money.yuan(order.amount_fen)
      this.setData({ phase: order.state, order, amountText, paidText: i18n.fill(this.data.t.paidText, { amount: amountText }) })
      if (order.state === 'paid') {
        platform.vibrate()
        const [{ me }, toAsk] = await Promise.all([holder.fetchMe(), consent.toAsk(TOLD_OF).catch(() => [])])
        this.showBalance(me)
        this.setData({ toAsk })
      }
    },

    async askConsent() {
      const { toAsk } = this.data
      this.setData({ toAsk: [] })
      if (await consent.ask(toAsk)) platform.toast(i18n.words('notices').consented)
    },

    dismiss() {
      clearTimeout(this.asking)
      this.setData({ phase: '' })
      this.showAmount(this.data.amountFen)
    },

    bind() {
      platform.go('/pages/bind/index')
    },

    history() {
      platform.go('/pages/topups/index')
    },
  }),
)

/** Whether an unpaid order can still be paid: the platform's handle is good for two hours, the order for less. */
function fresh(order) {
  const begun = order.begun_at || Date.parse(order.created_at)
  return clock.now() - begun < FRESH_MS && !(order.expires_at && Date.parse(order.expires_at) <= clock.now())
}
