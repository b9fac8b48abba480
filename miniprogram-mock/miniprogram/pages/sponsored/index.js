const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const ids = require('../../utils/ids.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

i18n.learn({ 'zh-CN': require('./i18n/zh-CN.js'), en: require('./i18n/en.js') })

const DAY_MS = 24 * 3600 * 1000
const DAYS = [0, 1, 7]
/** Half of what the server takes, so that no letter counts twice. */
const MOST_REASON = 100

/** 我申办的人员: the temporary people for whom the holder answers, and that one of them leaves early (提前离校). */
Page(
  screen('sponsored', {
    data: { view: 'loading', people: [], leaving: null, heading: '', days: [], lastOn: '', reason: '', busy: false, problem: null, most: MOST_REASON },

    onShow() {
      this.load()
    },

    async load() {
      try {
        const { items } = await api.call('GET', '/me/sponsored-people')
        this.setData({ view: items.length ? 'people' : 'empty', people: items.map(this.personOf, this), problem: null })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    personOf({ application_id: application, holder_id: id, name, unit, valid_until: until, left_on: left }) {
      const { t } = this.data
      return { application, id, name, unit, until, left, line: i18n.fill(left ? t.leaves : t.until, { date: left || until }) }
    },

    /** One wish has one id: asked for again after a lost answer, it is not told twice. */
    async open(tap) {
      const leaving = this.data.people[tap.currentTarget.dataset.index]
      const { t } = this.data
      const days = DAYS.map((ahead, index) => ({ day: clock.day(clock.now() + ahead * DAY_MS), word: t.days[index] })).filter(({ day }) => day < leaving.until)
      this.leavingId = await ids.newId()
      this.setData({ leaving, days, lastOn: days.length ? days[0].day : '', heading: i18n.fill(t.heading, { name: leaving.name }), reason: '', problem: null })
    },

    close() {
      this.setData({ leaving: null })
    },

    chooseDay(tap) {
      this.setData({ lastOn: tap.currentTarget.dataset.day })
    },

    typeReason(input) {
      this.setData({ reason: input.detail.value })
    },

    /** A refusal stays in the sheet, where it can be mended. */
    async tell() {
      const { t, leaving, lastOn, busy } = this.data
      const reason = this.data.reason.trim()
      if (busy || !lastOn || !reason) return
      this.setData({ busy: true, problem: null })
      const said = { application_id: leaving.application, holder_id: leaving.id, last_on: lastOn, reason }
      try {
        await api.callWithStepUp('PUT', `/me/early-leavings/${this.leavingId}`, said)
        this.setData({ busy: false, leaving: null })
        platform.toast(t.told)
        await this.load()
      } catch (refusal) {
        if (refusal.code === 'id-reused') this.leavingId = await ids.newId() // it was taken, with other words
        this.setData({ busy: false, problem: i18n.problem(refusal) })
      }
    },
  }),
)
