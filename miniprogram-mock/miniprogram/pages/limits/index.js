const api = require('../../utils/api.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const FIELDS = [['per_charge_fen', 'perCharge'], ['per_day_fen', 'perDay']]

/** The holder's own limits: lower at once, higher from tomorrow. */
Page(
  screen('limits', {
    data: { fields: [], paused: false, pending: '', problem: null, busy: false, resuming: false, lastSix: '' },

    onShow() {
      this.exchange('GET')
    },

    async exchange(method, body) {
      this.setData({ busy: true })
      try {
        const limits = await api.callWithStepUp(method, '/me/limits', body)
        this.draw(limits)
        return true
      } catch (refusal) {
        const problem = i18n.problem(refusal)
        this.setData(refusal.code === 'identity-not-matched' ? { lastSixError: problem.title } : { problem, resuming: false })
        return false
      } finally {
        this.setData({ busy: false })
      }
    },

    draw(limits) {
      const t = i18n.words('limits')
      this.setData({
        fields: FIELDS.map(([field, word]) => ({
          field,
          label: t[word],
          value: limits[field] === null ? '' : money.yuan(limits[field]).slice(1).replace(/\.00$/, ''),
          bad: false,
        })),
        paused: limits.paused,
        pending: limits.pending ? i18n.fill(t.pending, { date: limits.pending.from.slice(0, 10) }) : '',
        problem: null,
      })
    },

    type(input) {
      const { index } = input.currentTarget.dataset
      this.setData({ [`fields[${index}].value`]: input.detail.value, [`fields[${index}].bad`]: false })
    },

    async save() {
      const body = {}
      let good = true
      this.data.fields.forEach(({ field, value }, index) => {
        const fen = value.trim() === '' ? null : money.parse(value)
        if (fen === null && value.trim() !== '') {
          good = false
          this.setData({ [`fields[${index}].bad`]: true })
        }
        body[field] = fen
      })
      if (good && (await this.exchange('PATCH', body))) platform.toast(this.data.c.saved)
    },

    /** Pausing asks nothing; who resumes says who they are, or a stolen phone would. */
    pause() {
      if (this.data.busy) return
      if (this.data.paused) this.setData({ resuming: true, lastSix: '', lastSixError: '', problem: null, w: i18n.words('card') })
      else this.exchange('PATCH', { paused: true })
    },

    closeResume() {
      this.setData({ resuming: false, lastSix: '' })
    },

    typeLastSix(input) {
      this.setData({ lastSix: input.detail.value.toUpperCase(), lastSixError: '' })
    },

    async resume() {
      const { busy, lastSix, w } = this.data
      if (busy) return
      if (lastSix.length < 6) this.setData({ lastSixError: w.lastSixBad })
      else if (await this.exchange('PATCH', { paused: false, document_last_six: lastSix })) this.closeResume()
    },
  }),
)
