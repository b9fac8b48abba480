const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const codes = require('../../utils/codes.js')
const delegation = require('../../utils/delegation.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const ids = require('../../utils/ids.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

i18n.learn({ 'zh-CN': require('./i18n/zh-CN.js'), en: require('./i18n/en.js') })

const OPEN_CLOSING = 'closing'
const ORDER = ['started', 'settling', 'paying', 'closed']
const ARRIVED = ['succeeded', 'paid', 'paid_out']
const FAILED = ['returned', 'abnormal', 'bounced']
const WAYS = ['new_account', 'in_person']
const NUMBER_LETTERS = 12

/** 销户: what it would mean, asking for it, how far it is, and the receipt at the end. */
Page(
  screen('closing', {
    data: { view: 'loading', asking: false, busy: false, problem: null },

    onShow() {
      this.load()
    },

    async load() {
      try {
        await holder.fetchMe() // every page's title says how the account stands
        const closing = await this.current()
        if (closing) this.showClosing(closing)
        else this.showPreview(await api.call('GET', '/me/closing/preview'))
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    /** The closing that goes on or has ended, null where there is none. */
    async current() {
      try {
        return await api.call('GET', '/me/closing')
      } catch (refusal) {
        if (refusal.status !== 404) throw refusal
        return null
      }
    },

    showPreview(preview) {
      const { t } = this.data
      const channels = i18n.words('channels')
      const back = preview.to_source.reduce((sum, part) => sum + part.amount_fen, preview.to_list_fen)
      const waiting = preview.checks.find((one) => one.check === 'waiting')
      this.setData({
        view: 'before',
        total: money.yuan(back),
        goes: [
          ...preview.to_source.map((part) => row(part.channel, i18n.fill(t.toSource, { channel: channels[part.channel] }), part.amount_fen)),
          row('list', t.toList, preview.to_list_fen),
          row('owed', t.owed, preview.owed_fen),
          row('subsidy', t.subsidy, preview.subsidy_fen, t.subsidyWhy),
        ].filter((one) => one.fen),
        checks: this.checksOf(preview.checks, 1),
        refused: preview.reason ? i18n.reason(preview.reason) : null,
        wait: waiting.stands ? i18n.fill(t.effectWait, { time: clock.dayAndTime(waiting.facts.wait_until) }) : '',
      })
    },

    /** `at` says which words: before the closing (1), or since it began (2), when no top-up is taken. */
    checksOf(checks, at) {
      const { t } = this.data
      return checks.map(({ check, stands, waived, facts }) => {
        const fine = t.names[check][0]
        const open = t.names[check][at] || t.names[check][1]
        const said = { count: facts.count, time: facts.wait_until && clock.dayAndTime(facts.wait_until) }
        const fens = { arrears: money.yuan(facts.arrears_fen || 0), short: money.yuan(facts.short_fen || 0) }
        const state = !stands ? 'ok' : waived ? 'waived' : 'open'
        return { check, state, word: t[state], tone: state === 'open' ? 'chip-warn' : 'chip-good', text: i18n.fill(stands ? open : fine, { ...said, ...fens }) }
      })
    },

    showClosing(closing) {
      const { t } = this.data
      const [headline, text] = t.states[closing.state]
      const closed = closing.state === 'closed'
      const at = closed ? closing.closed_at : closing.wait_until
      const reached = ORDER.indexOf(closing.state) + 1
      this.setData({
        view: closed ? 'closed' : 'going',
        id: closing.id,
        state: closing.state,
        headline,
        text: i18n.fill(text, { time: clock.dayAndTime(at) }),
        steps: t.steps.map((word, index) => ({ word, mark: closed || index < reached ? 'done' : index === reached ? 'now' : 'to-come' })),
        checks: this.checksOf(closing.checks, 2).filter((one) => one.state !== 'ok'),
        mayWithdraw: closing.may_withdraw,
        byCentre: closing.kind !== 'own_request',
        parts: this.partsOf(closing.parts),
        receipt: closed ? this.receiptOf(closing) : [],
        number: numberOf(closing.id),
      })
    },

    partsOf(parts) {
      const { t } = this.data
      const channels = i18n.words('channels')
      return parts.map(({ channel, amount_fen: fen, state, line_id: line, may_claim: claimable, claim_way: way, claim_accepted: accepted, claim_refusal: reason }, index) => ({
        key: index,
        line,
        claimable,
        said: !way ? t.claimText : accepted === false ? i18n.fill(t.refusedClaim, { reason }) : (accepted ? t.accepted : t.claimed)[way],
        state,
        where: channel ? channels[channel] : t.bank,
        amount: money.yuan(fen),
        word: t.parts[state],
        tone: ARRIVED.includes(state) ? 'chip-good' : FAILED.includes(state) ? 'chip-bad' : 'chip-warn',
      }))
    },

    receiptOf(closing) {
      const { t } = this.data
      return [
        { name: t.number, value: numberOf(closing.id) },
        { name: t.kind, value: t.kinds[closing.kind] },
        { name: t.startedAt, value: clock.stamp(closing.started_at) },
        { name: t.closedAt, value: clock.stamp(closing.closed_at) },
        { name: t.paid, value: money.yuan(closing.paid_fen) },
        { name: t.withdrawnSubsidy, value: money.yuan(closing.withdrawn_fen) },
      ]
    },

    openAsking() {
      this.setData({ asking: true, problem: null })
    },

    closeAsking() {
      this.setData({ asking: false })
    },

    /** One wish to close has one id, kept before it is sent: a lost answer is asked for again, not twice. */
    async openClosing() {
      const open = platform.load(OPEN_CLOSING)
      if (open) return open
      const id = await ids.newId()
      platform.save(OPEN_CLOSING, id)
      return id
    },

    async ask() {
      const id = await this.openClosing()
      await this.change(async () => {
        await api.callWithStepUp('PUT', `/me/closings/${id}`)
        codes.clearAll()
        delegation.forget()
      })
    },

    async withdraw() {
      const { t, c, id } = this.data
      if (!(await platform.confirm(t.withdrawSure, t.effectFrozen, t.withdraw, c.cancel))) return
      await this.change(async () => {
        await api.call('DELETE', `/me/closings/${id}`)
        platform.toast(t.withdrawn)
      })
    },

    async change(act) {
      if (this.data.busy) return
      this.setData({ busy: true, problem: null })
      let problem = null
      try {
        await act()
        platform.save(OPEN_CLOSING, null)
      } catch (refusal) {
        if (refusal.status >= 400 && refusal.status < 500) platform.save(OPEN_CLOSING, null) // surely not taken
        problem = i18n.problem(refusal)
      }
      await this.load()
      this.setData({ busy: false, asking: false, ...(problem && { problem }) })
    },

    /** 认领: what came back from the bank is asked for again, through another account or in person. */
    async claim(tap) {
      const { line } = tap.currentTarget.dataset
      const { t } = this.data
      const index = await platform.choose(WAYS.map((way) => t.ways[way]))
      if (index === null) return
      const id = await ids.newId()
      await this.change(() => api.call('PUT', `/me/payout-claims/${id}`, { line_id: line, way: WAYS[index] }))
    },

    copy() {
      platform.copy(this.data.number)
      platform.toast(this.data.c.copied)
    },
  }),
)

const row = (name, text, fen, why = '') => ({ name, text, fen, why, amount: money.yuan(fen) })

/** The end of the id, as people read it out: the beginning is much the same for all of one day. */
const numberOf = (id) => id.replace(/-/g, '').slice(-NUMBER_LETTERS).toUpperCase().replace(/(.{4})(?=.)/g, '$1-')
