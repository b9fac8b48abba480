const api = require('../../utils/api.js')
const bills = require('../../utils/bills.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const PAGE_SIZE = 30
const MONTHS_BACK = 12

Page(
  screen('bills', {
    data: { view: 'loading', month: '', days: [], bars: [], cursor: null, choosing: false, months: [] },

    onLoad() {
      this.items = []
    },

    onShow() {
      this.show(this.data.month || clock.month(clock.now()))
    },

    onPullDownRefresh() {
      this.show(this.data.month).then(platform.stopPullDown)
    },

    onReachBottom() {
      this.more()
    },

    async show(month) {
      const monthText = this.label(month)
      this.setData({ month, monthText })
      try {
        const { binding } = await api.session()
        if (binding !== 'active') {
          this.setData({ view: 'unbound', words: i18n.words('bills').unbound, out: '–', in: '–', days: [], bars: [] })
          return
        }
        const page = await api.call('GET', `/me/statement?month=${month}&limit=${PAGE_SIZE}`)
        if (month !== this.data.month) return
        this.items = page.items
        this.setData({ out: money.yuan(Math.abs(page.out_fen)), in: money.yuan(page.in_fen) })
        this.draw(page.next_cursor)
      } catch (refusal) {
        const unbound = refusal.code === 'not-bound'
        const words = i18n.words('bills')
        this.setData({ view: unbound ? 'unbound' : 'failed', words: unbound ? words.unbound : words.failed, days: [], bars: [] })
      }
    },

    async more() {
      const { cursor, month } = this.data
      if (!cursor || this.loading) return
      this.loading = true
      try {
        const page = await api.call('GET', `/me/statement?month=${month}&limit=${PAGE_SIZE}&cursor=${encodeURIComponent(cursor)}`)
        if (month !== this.data.month) return
        this.items = this.items.concat(page.items)
        this.draw(page.next_cursor)
      } catch (refusal) {
        platform.toast(i18n.problem(refusal).title)
      } finally {
        this.loading = false
      }
    },

    draw(cursor) {
      const days = bills.byDay(this.items)
      this.setData({ days, bars: bills.bars(days), cursor, view: this.items.length ? 'list' : 'empty' })
    },

    label(month) {
      const [year, number] = month.split('-').map(Number)
      return i18n.fill(i18n.words('bills').month, { year, month: number })
    },

    openMonths() {
      const [year, number] = clock.month(clock.now()).split('-').map(Number)
      const months = []
      for (let back = 0; back < MONTHS_BACK; back += 1) {
        const count = year * 12 + number - 1 - back
        const month = `${Math.floor(count / 12)}-${clock.two((count % 12) + 1)}`
        months.push({ month, label: month.replace('-', '.') })
      }
      this.setData({ choosing: true, months })
    },

    closeMonths() {
      this.setData({ choosing: false })
    },

    chooseMonth(tap) {
      this.setData({ choosing: false })
      this.show(tap.currentTarget.dataset.month)
    },

    open(tap) {
      const item = this.items.find((one) => one.id === tap.currentTarget.dataset.bill)
      platform.save('bill', item)
      platform.go('/pages/bill/index')
    },

    act(tap) {
      if (tap.detail.state === 'unbound') platform.go('/pages/bind/index')
      else this.show(this.data.month)
    },
  }),
)
