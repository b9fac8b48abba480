const api = require('../../utils/api.js')
const config = require('../../config.js')
const delegation = require('../../utils/delegation.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const FIELDS = ['holder_number', 'name', 'document_number']
const CONSENT = 0
const IDENTITY = 1
const PAYMENT = 2
const DONE = 3

/** 实名绑定: consent, identity, payment account. The document number leaves this page only inside the one request. */
Page(
  screen('bind', {
    data: { step: CONSENT, agreed: false, errors: {}, problem: null, busy: false, lockedMinutes: 0, holder_number: '', name: '', document_number: '' },

    async onLoad() {
      const t = i18n.words('bind')
      this.setData({ paymentText: i18n.fill(t.paymentText, { platform: t.platforms[platform.host] }) })
      this.goTo(CONSENT)
      try {
        const { binding } = await api.session()
        if (binding === 'identity_verified') this.goTo(PAYMENT)
        if (binding === 'active') this.goTo(DONE)
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    goTo(step) {
      this.setData({ step, problem: null, errors: {}, stepLabel: i18n.fill(i18n.words('bind').step, { n: Math.min(step, PAYMENT) + 1 }) })
    },

    /** Bound: from now on the phone may work without a network, too, even if the code is never opened before. */
    finish() {
      this.goTo(DONE)
      holder.fetchMe().then(delegation.ensure, () => {}) // the code page asks again
    },

    agree() {
      this.setData({ agreed: !this.data.agreed })
    },

    next() {
      if (this.data.agreed) this.goTo(IDENTITY)
    },

    type(input) {
      const { field } = input.currentTarget.dataset
      this.setData({ [field]: input.detail.value, [`errors.${field}`]: '', problem: null })
    },

    async check() {
      if (this.data.busy) return
      const body = { terms_version: config.termsVersion }
      const errors = {}
      for (const field of FIELDS) {
        body[field] = this.data[field].trim()
        if (!body[field]) errors[field] = this.data.t.required
      }
      this.setData({ errors })
      if (Object.keys(errors).length) return
      this.setData({ busy: true, problem: null })
      try {
        const found = await api.call('PUT', '/me/binding', body)
        api.noteBinding(found.binding)
        this.setData({
          document_number: '',
          found: { name: found.name_masked, line: `${i18n.words('categories')[found.category]} · ${found.holder_number}` },
        })
        if (found.binding === 'active') this.finish()
        else this.goTo(PAYMENT)
      } catch (refusal) {
        this.refuse(refusal)
      } finally {
        this.setData({ busy: false })
      }
    },

    async confirm() {
      if (this.data.busy) return
      this.setData({ busy: true, problem: null })
      try {
        const grant = await platform.loginCode()
        const { binding } = await api.call('POST', '/me/binding/payment-identity', { grant })
        api.noteBinding(binding)
        this.finish()
      } catch (refusal) {
        this.refuse(refusal)
      } finally {
        this.setData({ busy: false })
      }
    },

    refuse(refusal) {
      if (refusal.code === 'identity-step-expired') this.goTo(IDENTITY)
      const problem = i18n.problem(refusal)
      const errors = {}
      for (const field of Object.keys(refusal.facts.errors || {})) errors[field] = problem.title
      const lockedMinutes = refusal.status === 429 ? Math.ceil(refusal.retryAfterSeconds / 60) : 0
      this.setData({ problem, errors, lockedMinutes, lockedText: i18n.fill(this.data.t.locked, { minutes: lockedMinutes }) })
      clearTimeout(this.unlock)
      if (lockedMinutes) this.unlock = setTimeout(() => this.setData({ lockedMinutes: 0 }), refusal.retryAfterSeconds * 1000)
    },

    open() {
      platform.restart()
    },

    onUnload() {
      clearTimeout(this.unlock)
    },
  }),
)
