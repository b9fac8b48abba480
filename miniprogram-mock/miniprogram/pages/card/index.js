const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const codes = require('../../utils/codes.js')
const consent = require('../../utils/consent.js')
const delegation = require('../../utils/delegation.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const ids = require('../../utils/ids.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const TONES = { active: 'chip-good', lost: 'chip-bad', frozen: 'chip-bad', expired: 'chip-warn', closing: 'chip-warn' }
/** So many terminals that are offline are named in one line; the list below has all of them. */
const MOST_NAMED = 3
const LAST_SIX = /^[0-9A-Z]{6}$/

/** 挂失 asks for nothing but a confirmation; 解挂 asks who you are. Both show what they do. */
Page(
  screen('card', {
    data: { credential: '', alsoVirtual: false, restoring: false, lastSix: '', report: null, replacement: null, replacing: false, problem: null, busy: false, toAsk: [] },

    onShow() {
      this.setData({ consentText: i18n.words('notices').consent })
      this.load().catch((refusal) => this.setData({ problem: i18n.problem(refusal) }))
    },

    async load() {
      const { me } = await holder.fetchMe()
      delegation.ensure() // a loss ends it, a restoration lets the phone ask for another
      const cards = i18n.words('cards')
      const physicalState = me.physical_card ? me.physical_card.state : 'none'
      const virtualState = me.virtual_card ? me.virtual_card.state : 'none'
      this.setData({
        physicalState,
        physicalWord: cards[physicalState],
        physicalTone: TONES[physicalState] || 'chip-plain',
        virtualState,
        virtualWord: cards[virtualState],
        virtualTone: TONES[virtualState] || 'chip-plain',
        ending: i18n.words('me').endings[holder.ending()] || '',
        anyLost: physicalState === 'lost' || virtualState === 'lost',
        canReport: physicalState === 'active' || virtualState === 'active',
        canRestore: me.restore_from_phone,
        replacement: physicalState === 'lost' ? this.replacementOf(await api.call('GET', '/me/replacements')) : null,
      })
    },

    /** 补卡: what a new card costs, what is missing for it, or what was asked for. */
    replacementOf({ quote, reason, request }) {
      const { t } = this.data
      const fee = money.yuan(request ? request.fee_fen : quote.fee_fen)
      const state = request ? 'requested' : reason ? 'none' : quote.short_fen ? 'short' : 'possible'
      const texts = { requested: t.pickUp, short: t.feeShort, possible: t.feeText }
      return { state, id: request ? request.id : '', text: i18n.fill(texts[state] || '', { fee, short: money.yuan(quote.short_fen) }) }
    },

    async openReplacement() {
      this.replacementId = await ids.newId()
      this.setData({ replacing: true, problem: null })
    },

    closeReplacement() {
      this.setData({ replacing: false })
    },

    showClosing() {
      platform.go('/pages/closing/index')
    },

    topUp() {
      platform.goTab('/pages/topup/index')
    },

    askReplacement() {
      return this.changeReplacement('PUT', this.replacementId, { cause: 'lost' })
    },

    cancelReplacement() {
      return this.changeReplacement('DELETE', this.data.replacement.id)
    },

    async changeReplacement(method, id, body) {
      if (this.data.busy) return
      this.setData({ busy: true, problem: null })
      try {
        await api.call(method, `/me/replacements/${id}`, body)
        await this.load()
      } catch (refusal) {
        await this.load().catch(() => {})
        this.setData({ problem: i18n.problem(refusal) })
      } finally {
        this.setData({ busy: false, replacing: false })
      }
    },

    async openReport(tap) {
      this.lossReportId = await ids.newId()
      this.setData({ credential: tap.currentTarget.dataset.credential, alsoVirtual: false })
      this.showEffect()
    },

    closeReport() {
      this.setData({ credential: '' })
    },

    toggleVirtual() {
      this.setData({ alsoVirtual: !this.data.alsoVirtual })
      this.showEffect()
    },

    showEffect() {
      const { t, credential, alsoVirtual } = this.data
      this.setData({ effect: credential === 'phone' ? t.phoneEffect : alsoVirtual ? t.physicalEffectBoth : t.physicalEffect })
    },

    async report() {
      if (this.data.busy) return
      const { credential, alsoVirtual } = this.data
      const body = credential === 'phone' ? { credential } : { credential, stop_virtual_card: alsoVirtual }
      this.setData({ busy: true, problem: null })
      try {
        const report = await api.call('PUT', `/me/loss-reports/${this.lossReportId}`, body)
        if (report.virtual_card_state === 'lost') codes.clearAll()
        this.showReport(report)
        platform.vibrate()
        await this.load()
        this.setData({ toAsk: await consent.toAsk(['card-lost', 'card-restored']).catch(() => []) })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      } finally {
        this.setData({ busy: false, credential: '' })
      }
    },

    async askConsent() {
      const { toAsk } = this.data
      this.setData({ toAsk: [] })
      if (await consent.ask(toAsk)) platform.toast(i18n.words('notices').consented)
    },

    showReport(report) {
      const { t } = this.data
      const terminals = report.terminals.map((terminal) => ({
        id: terminal.terminal_id,
        place: terminal.place,
        hasIt: terminal.has_it,
        word: i18n.fill(terminal.has_it ? t.hasIt : t.offline, { time: clock.time(terminal.since || terminal.offline_since) }),
      }))
      const away = terminals.filter((terminal) => !terminal.hasIt)
      const counts = i18n.fill(t.terminals, { done: terminals.length - away.length, all: terminals.length })
      this.setData({
        report: {
          id: report.id,
          at: clock.stamp(report.reported_at),
          summary: [counts, ...away.slice(0, MOST_NAMED).map(({ place, word }) => `${place} ${word}`)].join(t.and),
          terminals,
        },
      })
    },

    async refresh() {
      try {
        this.showReport(await api.call('GET', `/me/loss-reports/${this.data.report.id}`))
        this.setData({ problem: null })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    async openRestore() {
      this.restorationId = await ids.newId()
      this.setData({ restoring: true, lastSix: '', lastSixError: '', problem: null })
    },

    closeRestore() {
      this.setData({ restoring: false, lastSix: '' })
    },

    typeLastSix(input) {
      this.setData({ lastSix: input.detail.value.toUpperCase(), lastSixError: '' })
    },

    async restore() {
      if (this.data.busy) return
      const { lastSix, t } = this.data
      if (!LAST_SIX.test(lastSix)) {
        this.setData({ lastSixError: t.lastSixBad })
        return
      }
      this.setData({ busy: true })
      try {
        await api.callWithStepUp('PUT', `/me/restorations/${this.restorationId}`, { document_last_six: lastSix })
        codes.clearAll()
        this.setData({ restoring: false, lastSix: '', report: null })
        platform.toast(t.restored)
        await this.load()
      } catch (refusal) {
        const problem = i18n.problem(refusal)
        this.restorationId = await ids.newId()
        if (refusal.code === 'identity-not-matched') this.setData({ lastSixError: problem.title })
        else this.setData({ restoring: false, lastSix: '', problem })
      } finally {
        this.setData({ busy: false })
      }
    },
  }),
)
