const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const PAGE_SIZE = 30
const TABS = ['/pages/bills/index', '/pages/topup/index']
/** How each kind looks, and where a tap on it leads. */
const LOOKS = {
  charge: ['meal', '/pages/bills/index'],
  refund: ['back', '/pages/refund/index'],
  'top-up': ['wallet', '/pages/topups/index'],
  cash: ['wallet', '/pages/bills/index'],
  arrears: ['alert', '/pages/topup/index'],
  balance: ['alert', '/pages/topup/index'],
  card: ['shield', '/pages/card/index'],
  replacement: ['shield', '/pages/card/index'],
  limits: ['limit', '/pages/limits/index'],
  closing: ['cross', '/pages/closing/index'],
  payout: ['back', '/pages/closing/index'],
  passage: ['gate', '/pages/passages/index'],
}

/** 消息: what the holder was told, newest first. Opening it reads it. */
Page(
  screen('notices', {
    data: { rows: null, cursor: null, problem: null },

    onShow() {
      this.load(null, [])
    },

    onReachBottom() {
      if (this.data.cursor) this.load(this.data.cursor, this.data.rows)
    },

    async load(cursor, before) {
      if (this.loading) return
      this.loading = true
      try {
        const page = await api.call('GET', `/me/notices?limit=${PAGE_SIZE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
        this.setData({ rows: before.concat(page.items.map(row)), cursor: page.next_cursor, problem: null })
        if (page.newest && page.unread) await api.call('PUT', '/me/notices/read', { up_to: page.newest })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      } finally {
        this.loading = false
      }
    },

    open(tap) {
      const { url } = tap.currentTarget.dataset
      if (TABS.includes(url)) platform.goTab(url)
      else if (url) platform.go(url)
    },
  }),
)

function row(item) {
  const t = i18n.words('notices')
  const about = Object.keys(LOOKS).find((name) => item.kind.startsWith(name))
  const [icon, url] = LOOKS[about] || ['list', '']
  const fen = item.total_fen === undefined ? item.amount_fen : item.total_fen
  const why = item.reason && i18n.words('problems')[item.reason] ? i18n.reason(item.reason, item, item.reference).title : ''
  const channel = item.channel ? i18n.words('channels')[item.channel] || '' : ''
  const balance = item.balance_fen === undefined ? '' : i18n.fill(t.balance, { amount: money.yuan(item.balance_fen) })
  return {
    id: item.id,
    kind: item.kind,
    icon,
    url,
    unread: !item.read,
    title: i18n.words('result')[item.kind] || t.kinds[item.kind] || t.other,
    line: [item.place || channel, why, balance].filter(Boolean).join(' · '),
    amount: fen === undefined ? '' : money.yuan(fen),
    at: clock.dayAndTime(item.at),
  }
}
