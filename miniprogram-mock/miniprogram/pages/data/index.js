const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

i18n.learn({ 'zh-CN': require('./i18n/zh-CN.js'), en: require('./i18n/en.js') })

/** The names of the tables, as the API tells them, by what they are about. */
const GROUPS = {
  person: ['holders', 'holder_numbers', 'category_changes', 'data_changes', 'permission_overrides', 'roster_conflicts', 'applicants', 'applications', 'early_leavings', 'retirements', 'leavers', 'graduates', 'screening_items', 'lending_signals'],
  phone: ['bindings', 'binding_tries', 'holder_sessions', 'delegations'],
  cards: ['cards', 'loss_reports', 'restorations', 'replacement_requests', 'replacements', 'counter_operations', 'found_cards', 'issue_items', 'issue_decisions', 'closings', 'reopenings'],
  money: ['accounts', 'transfers', 'top_ups', 'channel_notices', 'top_up_resolutions', 'stray_payments', 'cash_top_ups', 'cash_reversals', 'charges', 'charge_reversals', 'surcharge_returns', 'arrears', 'arrears_write_offs', 'subsidy_items', 'subsidy_withdrawals', 'holder_refunds', 'channel_refunds', 'refund_payouts', 'payout_lines', 'late_uploads', 'resolutions'],
  gates: ['passages', 'access_rules'],
  notices: ['holder_notices', 'inbox_marks', 'notice_messages', 'message_consents', 'subscription_credits'],
  log: ['operation_log'],
}

/** 我的数据: what is kept of the holder, who of the staff looked, and all of it as a file (个人信息副本). */
Page(
  screen('data', {
    data: { groups: null, looks: [], problem: null },

    async onShow() {
      if (this.copy) return // the platform's sheet was closed: it is the same copy
      try {
        this.copy = await api.call('GET', '/me/data')
        this.setData({ groups: groups(this.copy.kept), looks: this.copy.looks.map(look), problem: null })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    /** In the tap itself: WeChat opens its sheet only there. */
    async download() {
      const name = `campus-card-${clock.day(this.copy.taken_at)}.json`
      try {
        await platform.handOver(name, JSON.stringify(this.copy, null, 2))
        if (platform.host === 'alipay') platform.toast(this.data.t.copied)
      } catch {
        // the sheet was dismissed
      }
    },
  }),
)

function groups(kept) {
  const t = i18n.words('data')
  const known = Object.keys(GROUPS)
  const counts = {}
  for (const table of Object.keys(kept)) {
    const name = known.find((one) => GROUPS[one].includes(table)) || 'other'
    counts[name] = (counts[name] || 0) + kept[table].length
  }
  return [...known, 'other'].filter((name) => counts[name]).map((name) => ({ name, word: t.groups[name], count: i18n.fill(t.rows, { count: counts[name] }) }))
}

function look({ at, revealed, role, reason }, index) {
  const t = i18n.words('data')
  const why = t.reasons[reason]
  return {
    index,
    who: t.roles[role] || t.roles.none,
    at: `${clock.day(at)} ${clock.time(at)}${why ? ` · ${why}` : ''}`,
    word: revealed ? t.revealed : t.masked,
    tone: revealed ? 'chip-warn' : 'chip-plain',
  }
}
