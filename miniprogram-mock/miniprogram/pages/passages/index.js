const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const { screen } = require('../../utils/screen.js')

const PAGE_SIZE = 30

Page(
  screen('passages', {
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
        const page = await api.call('GET', `/me/passages?limit=${PAGE_SIZE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)
        this.setData({ rows: before.concat(page.items.map(row)), cursor: page.next_cursor, problem: null })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      } finally {
        this.loading = false
      }
    },
  }),
)

function row(item) {
  const t = i18n.words('passages')
  return {
    id: item.id,
    place: item.place,
    decision: item.decision,
    icon: item.direction,
    at: `${t[item.direction]} · ${clock.day(item.at)} ${clock.time(item.at)}`,
    word: t[item.decision],
    why: item.reason ? i18n.reason(item.reason).title : '',
  }
}
