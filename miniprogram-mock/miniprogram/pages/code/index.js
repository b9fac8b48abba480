const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const codes = require('../../utils/codes.js')
const delegation = require('../../utils/delegation.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const TICK_MS = 500
const RETRY_MS = 4000
const REFRESH_GAP_MS = 3000
const QR_SHARE = 0.76
const SHORT_QR_SHARE = 0.56
const LARGE_SHARE = 0.94

/** How each state without a code looks, and where its button leads. */
const STATES = {
  unbound: { icon: 'shield', tone: 'good', to: '/pages/bind/index' },
  halfway: { icon: 'shield', tone: 'warn', to: '/pages/bind/index' },
  'card-lost': { icon: 'lock', tone: 'bad', to: '/pages/card/index' },
  'card-frozen': { icon: 'lock', tone: 'bad' },
  'card-expired': { icon: 'clock', tone: 'warn' },
  'account-closing': { icon: 'clock', tone: 'warn', to: '/pages/closing/index' },
  'account-closed': { icon: 'cross', tone: 'plain', to: '/pages/closing/index' },
  'not-permitted': { icon: 'lock', tone: 'plain' },
  'payment-paused': { icon: 'lock', tone: 'warn', to: '/pages/limits/index' },
  exhausted: { icon: 'offline', tone: 'warn' },
  clock: { icon: 'clock', tone: 'warn' },
  failed: { icon: 'alert', tone: 'warn' },
}
/** States in which the other use may still work, so that the choice between them stays. */
const SEGMENTED = ['code', 'loading', 'not-permitted', 'payment-paused', 'exhausted', 'failed']
const SHOWN_EVENTS = ['charge-approved', 'charge-declined', 'charge-voided', 'charge-reversed', 'passage-allowed', 'passage-denied']
const TOASTED_EVENTS = ['top-up-paid', 'top-up-returned', 'refund-succeeded', 'refund-returned', 'cash-top-up', 'cash-top-up-reversed']
const USES_CODE = ['charge-approved', 'charge-declined', 'passage-allowed', 'passage-denied']

Page(
  screen('code', {
    data: { view: 'loading', scope: 'pay', online: true, code: {}, face: null, event: null, large: false, segmented: true, chip: {} },

    onLoad() {
      const width = platform.windowWidth()
      this.setData({
        qrWidth: Math.min(300, Math.round((width - 64) * QR_SHARE * 1.12)),
        barWidth: width - 32,
        shortQrWidth: Math.round(width * SHORT_QR_SHARE),
        largeWidth: Math.round(width * LARGE_SHARE),
      })
      this.payKind = undefined // the school's default until the holder asks for another
      this.cursor = null
      this.decks = {}
      this.ownDeck = new codes.OwnDeck()
      this.retryAt = 0
      this.lastRefreshAt = 0
      this.onNetwork = ({ isConnected }) => this.noteNetwork(isConnected)
      this.onCapture = () => this.burn()
    },

    onShow() {
      this.shown = true
      platform.onNetworkChange(this.onNetwork)
      platform.onCapture(this.onCapture)
      platform.raiseBrightness()
      platform.guardScreen(true)
      const known = holder.lastKnown()
      if (known) this.showHolder(known)
      this.start()
    },

    onHide() {
      this.stop()
    },

    onUnload() {
      this.stop()
    },

    stop() {
      this.shown = false
      clearInterval(this.ticker)
      clearTimeout(this.poller)
      platform.offNetworkChange(this.onNetwork)
      platform.offCapture()
      platform.restoreBrightness()
      platform.guardScreen(false)
    },

    /** From nothing to a code: session, holder, codes, events. Without a network, from what is kept here. */
    async start() {
      clearInterval(this.ticker)
      clearTimeout(this.poller)
      this.ticker = setInterval(() => this.tick(), TICK_MS)
      await delegation.load()
      if (!(await platform.isOnline())) {
        this.noteNetwork(false)
        return
      }
      try {
        const known = await holder.fetchMe()
        const { binding } = known.me
        api.noteBinding(binding)
        if (binding !== 'active') {
          this.setData({ face: null })
          this.showState(binding === 'none' ? 'unbound' : 'halfway')
          delegation.ensure()
          return
        }
        this.showHolder(known)
        await this.refill()
        this.loadRecent().catch(() => {}) // a convenience, as below
      } catch (refusal) {
        this.refuse(refusal)
      }
      this.poll()
    },

    deck() {
      const key = this.data.scope === 'pay' ? `pay/${this.payKind}` : 'gate'
      this.decks[key] = this.decks[key] || new codes.Deck(this.data.scope, this.data.scope === 'pay' ? this.payKind : undefined)
      return this.decks[key]
    },

    /** Codes that work without a network: signed, whatever the till's default is. */
    signedDeck() {
      this.decks['pay/signed'] = this.decks['pay/signed'] || new codes.Deck('pay', 'signed')
      return this.decks['pay/signed']
    },

    /** Fresh codes for what is shown. While one request is on its way, others for the same deck wait for it. */
    refill() {
      const deck = this.deck()
      if (!deck.refilling) {
        deck.refilling = this.fill(deck).finally(() => {
          deck.refilling = null
        })
      }
      return deck.refilling
    },

    async fill(deck) {
      await deck.refill()
      this.filled = true
      this.noteNetwork(true)
      this.showCode()
      const current = deck.current()
      if (current && current.kind === 'short' && this.signedDeck().needsRefill()) await this.signedDeck().refill()
    },

    /** Twice a second: the countdown, the next code, and a refill when the supply runs low. */
    tick() {
      const { view } = this.data
      if (view === 'loading' && this.filled) this.showCode() // the first code of an issue may begin a second from now
      if (!['code', 'exhausted', 'failed'].includes(view)) return
      this.showCode()
      if (this.data.online && this.deck().needsRefill() && clock.now() > this.retryAt) {
        this.retryAt = clock.now() + RETRY_MS
        this.refill().catch((refusal) => this.refuse(refusal))
      }
    },

    showCode() {
      if (clock.isWrong()) {
        this.showState('clock')
        return
      }
      const { deck, code } = this.choose()
      if (code && code.kind === 'device' && this.data.scope === 'pay' && this.isPaused()) {
        this.showState('payment-paused')
        return
      }
      if (!code) {
        if (!this.data.online) this.showState(delegation.held() && codes.clockWentBack() ? 'clock' : 'exhausted')
        return
      }
      this.shownDeck = deck
      const now = clock.now()
      if (!this.shownFrom || this.shownText !== code.text) {
        this.shownText = code.text
        this.shownFrom = now
      }
      const left = Math.max(0, code.showUntil - now)
      const whole = Math.max(1, code.showUntil - Math.min(this.shownFrom, now))
      const update = {
        ...this.bearing('code'),
        seconds: Math.ceil(left / 1000),
        percent: Math.round((100 * left) / whole),
        ...this.explain(deck, code),
      }
      if (this.data.code.text !== code.text) {
        if (code.kind !== 'device') codes.shown(code)
        update.code = { text: code.text, kind: code.kind }
        update.digitsShown = false
        update.digits = this.spaced(code, false)
      }
      this.setData(update)
    },

    /** The deck to show and its code, or null: the server's codes while they last; without a network, then our own. */
    choose() {
      const { online, scope } = this.data
      const decks = [this.deck()]
      if (!online && scope === 'pay') decks.push(this.signedDeck())
      for (const deck of decks) {
        const code = deck.current()
        if (code && (online || code.kind !== 'short')) return { deck, code }
      }
      return { deck: this.ownDeck, code: online ? null : this.ownDeck.current(scope) }
    },

    /** Whether the holder had paused payments when there was a network: no till without one would know. */
    isPaused() {
      const known = holder.lastKnown()
      return Boolean(known && known.me.limits && known.me.limits.paused)
    },

    /** What stands below the code: how long it works without a network, and within which bounds. */
    explain(deck, code) {
      const { online, scope, t } = this.data
      const note = code.kind === 'short' ? t.digitsNote : scope === 'pay' ? t.payNote : t.gateNote
      if (code.kind !== 'device') {
        return { note, offlineText: online ? '' : i18n.fill(t.offlineLeft, { left: this.spell(deck.lastsMs()) }) }
      }
      const { expiresAt, capFen, capCount } = code
      return {
        note: scope === 'pay' && capFen && capCount ? i18n.fill(t.offlineCaps, { amount: money.yuan(capFen), count: capCount }) : note,
        offlineText: i18n.fill(t.offlineUntil, { time: clock.dayAndTime(expiresAt) }),
      }
    },

    /** The view, with the chip and the segment that go with it. */
    bearing(view) {
      const t = i18n.words('code')
      const { online } = this.data
      const known = t.chips[view]
      const chip = known
        ? { state: view, text: known, tone: view === 'payment-paused' || view === 'card-expired' ? 'chip-warn' : 'chip-bad' }
        : { state: online ? 'online' : 'offline', text: online ? t.online : t.offline, tone: online ? 'chip-good' : 'chip-warn' }
      return { view, chip, segmented: SEGMENTED.includes(view) }
    },

    spell(ms) {
      const seconds = Math.max(0, Math.ceil(ms / 1000))
      const { minutes, seconds: only } = this.data.t
      return seconds >= 60 ? i18n.fill(minutes, { m: Math.floor(seconds / 60), s: seconds % 60 }) : i18n.fill(only, { s: seconds })
    },

    spaced(code, open) {
      if (code.kind !== 'short') return ''
      const groups = code.text.match(/\d{4}/g)
      return (open ? groups : [groups[0], '****', '****', '****', groups[4]]).join(' ')
    },

    toggleDigits() {
      const digitsShown = !this.data.digitsShown
      this.setData({ digitsShown, digits: this.spaced(this.data.code, digitsShown) })
    },

    showState(state, refusal) {
      const look = STATES[state] || STATES.failed
      const words = i18n.words('code').states
      if (this.data.code.text) getApp().onPhoneEvent({ type: 'phone-code', text: '' })
      const known = refusal && !words[state] ? i18n.problem(refusal) : null
      this.setData({
        ...this.bearing(state),
        stateWords: known ? [known.title, known.next, words.failed[2]] : words[state],
        stateIcon: look.icon,
        stateTone: look.tone,
        stateReference: refusal && refusal.reference ? refusal.reference : '',
        large: false,
        code: {},
      })
    },

    refuse(refusal) {
      if (!(refusal instanceof api.Refusal)) throw refusal
      if (refusal.code === 'network-unavailable') {
        this.noteNetwork(false)
      } else if (refusal.code === 'not-bound') {
        api.noteBinding('none')
        delegation.forget()
        this.showState('unbound')
      } else if (refusal.status === 429 || refusal.status >= 500) {
        this.retryAt = clock.now() + Math.max(RETRY_MS, refusal.retryAfterSeconds * 1000)
        if (refusal.status === 503 && this.data.scope === 'pay' && this.payKind !== 'signed') {
          if (this.payKind === 'short') platform.toast(this.data.t.toOnline)
          this.payKind = 'signed' // short codes need more of the server than signed ones do
          this.retryAt = 0
        } else if (refusal.status >= 500 && delegation.held()) {
          this.noteNetwork(false) // a server that is down is no better than no network
        } else if (!this.deck().current()) {
          this.showState('failed', refusal)
        }
      } else {
        if (/^(card|account|payment)-/.test(refusal.code)) codes.clearAll()
        if (/^(card|account)-/.test(refusal.code)) delegation.forget()
        this.decks = {}
        const state = refusal.code === 'account-closed' && holder.ending() === 'closing' ? 'account-closing' : refusal.code
        this.showState(STATES[state] ? state : 'failed', refusal)
      }
    },

    noteNetwork(online) {
      const before = this.data.online
      if (online !== before) {
        this.setData({ online })
        this.setData(this.bearing(this.data.view))
      }
      if (online && !before && this.shown) this.start()
      if (!online) {
        clearTimeout(this.poller)
        this.poller = setTimeout(() => this.probe(), RETRY_MS)
        this.showCode()
      }
    },

    /** Offline for us may be a dead server: look again now and then. */
    async probe() {
      if (!this.shown || this.data.online) return
      if (await platform.isOnline()) this.start()
      else this.poller = setTimeout(() => this.probe(), RETRY_MS)
    },

    showHolder({ me, at }) {
      if (!me.holder) return
      const t = i18n.words('code')
      const face = holder.face(me)
      this.setData({
        face,
        tops: !holder.ending(), // an account that ends takes no money
        asOf: i18n.fill(t.asOf, { time: clock.time(at) }),
        spent: face.spentToday && i18n.fill(t.spentToday, { amount: face.spentToday }),
      })
    },

    async loadRecent() {
      const { items } = await api.call('GET', `/me/statement?month=${clock.month(clock.now())}&limit=1`)
      const [latest] = items
      this.setData({
        recent: latest ? { place: latest.place || i18n.words('kinds')[latest.kind], amount: money.signed(latest.amount_fen) } : null,
      })
    },

    /** Asks what happened to my codes and money, as often as the server wants to be asked. */
    async poll() {
      clearTimeout(this.poller)
      if (!this.shown) return
      delegation.ensure() // nobody waits for it: without one the page works as long as the server does
      let wait = RETRY_MS
      try {
        const { items, next, nextPollMs } = await api.events(this.cursor)
        this.cursor = next
        wait = nextPollMs
        for (const event of items) this.happened(event)
      } catch (refusal) {
        if (refusal.code === 'network-unavailable') {
          this.noteNetwork(false)
          return
        }
        wait = Math.max(RETRY_MS, refusal.retryAfterSeconds * 1000)
      }
      if (this.shown) {
        clearTimeout(this.poller)
        this.poller = setTimeout(() => (this.data.online ? this.poll() : this.probe()), wait)
      }
    },

    happened(event) {
      getApp().onPhoneEvent({ type: 'phone-event', event })
      if (SHOWN_EVENTS.includes(event.kind)) {
        platform.vibrate()
        this.setData({ event, large: false })
      } else if (TOASTED_EVENTS.includes(event.kind)) {
        platform.toast(i18n.words('result')[event.kind])
      }
      if (USES_CODE.includes(event.kind) && this.data.code.text) this.shownDeck.drop(this.data.code.text)
      holder.fetchMe().then((known) => this.showHolder(known), (refusal) => this.refuse(refusal))
      this.refill().catch((refusal) => this.refuse(refusal))
      this.loadRecent().catch(() => {}) // the line is a convenience; the balance above is what counts
    },

    announceCode(drawn) {
      getApp().onPhoneEvent({ type: 'phone-code', text: drawn.detail.text })
    },

    chooseScope(tap) {
      const { scope } = tap.currentTarget.dataset
      if (scope === this.data.scope) return
      this.setData({ scope })
      this.shownText = ''
      if (this.deck().current()) this.showCode()
      else if (this.data.online) {
        this.setData(this.bearing('loading'))
        this.refill().catch((refusal) => this.refuse(refusal))
      } else this.showCode()
    },

    toggleKind() {
      const kind = this.data.code.kind === 'short' ? 'signed' : 'short'
      if (kind === 'short' && !this.data.online) {
        platform.toast(this.data.t.toOnline)
        return
      }
      this.payKind = kind
      this.shownText = ''
      if (this.deck().current()) this.showCode()
      else this.refill().catch((refusal) => this.refuse(refusal))
    },

    refresh() {
      if (clock.now() - this.lastRefreshAt < REFRESH_GAP_MS) {
        platform.toast(this.data.t.tooFast)
        return
      }
      this.lastRefreshAt = clock.now()
      if (!this.data.online) {
        this.showAnother()
        this.probe()
        return
      }
      this.refill().catch((refusal) => this.refuse(refusal))
    },

    /** Another code without asking anybody, if the phone can make one: this one was used, or seen by somebody. */
    showAnother() {
      if (!this.data.code.text || !delegation.held()) return
      this.shownDeck.drop(this.data.code.text)
      this.showCode()
    },

    /**
     * A screenshot was taken: that code and all others die on the server before anybody can show them. Without a network
     * they cannot, and the holder has to know it.
     */
    async burn() {
      if (this.data.view !== 'code') return
      try {
        if (!this.data.online) throw new api.Refusal('network-unavailable')
        await api.call('DELETE', '/me/codes')
        codes.clearAll()
        this.decks = {}
        await this.refill()
        platform.toast(this.data.t.burnt)
      } catch (refusal) {
        this.refuse(refusal)
        if (this.data.online) return
        this.showAnother()
        platform.toast(this.data.t.notBurnt)
      }
    },

    enlarge() {
      this.setData({ large: !this.data.large })
    },

    restoreBrightness() {
      platform.restoreBrightness()
    },

    act(tap) {
      const { state } = tap.detail
      const look = STATES[state] || STATES.failed
      if (look.to) platform.go(look.to)
      else {
        this.setData(this.bearing('loading'))
        this.start()
      }
    },

    closeResult() {
      this.setData({ event: null })
    },

    actOnResult() {
      const { event } = this.data
      this.setData({ event: null })
      if (event.kind === 'charge-approved') platform.goTab('/pages/bills/index')
      else if (event.reason === 'insufficient-balance') platform.goTab('/pages/topup/index')
      else if (event.reason === 'card-lost') platform.go('/pages/card/index')
      else platform.go('/pages/limits/index')
    },

    topUp() {
      platform.goTab('/pages/topup/index')
    },

    showBills() {
      platform.goTab('/pages/bills/index')
    },
  }),
)
