const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const codes = require('../../utils/codes.js')
const delegation = require('../../utils/delegation.js')
const holder = require('../../utils/holder.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

const LOCALES = ['zh-CN', 'en']
const TONES = { active: 'chip-good', pending: 'chip-warn', lost: 'chip-bad', frozen: 'chip-bad', expired: 'chip-warn', closing: 'chip-warn' }

Page(
  screen('me', {
    data: { view: 'loading', face: null, links: [], unread: '' },

    async onShow() {
      const t = i18n.words('me')
      this.setData({
        language: t.languages[LOCALES.indexOf(i18n.locale())],
        links: linksFor(''),
      })
      const known = holder.lastKnown()
      if (known) this.showHolder(known.me)
      await delegation.load()
      this.showOfflineCodes()
      try {
        const { me } = await holder.fetchMe()
        this.showHolder(me)
        if (me.binding === 'active') await this.countUnread()
        await delegation.ensure()
        this.showOfflineCodes()
      } catch (refusal) {
        if (!known) this.setData({ view: 'unbound' })
        platform.toast(i18n.problem(refusal).title)
      }
    },

    async countUnread() {
      const { unread } = await api.call('GET', '/me/notices?limit=1')
      const badge = unread > 99 ? '99+' : unread ? String(unread) : ''
      this.setData({ unread: badge, unreadWord: i18n.fill(this.data.t.unread, { count: badge }) })
    },

    showHolder(me) {
      if (me.binding !== 'active' || !me.holder) {
        this.setData({ view: 'unbound' })
        return
      }
      const t = i18n.words('me')
      const cards = i18n.words('cards')
      const virtual = me.virtual_card || { state: 'none' }
      const physical = me.physical_card || { state: 'none' }
      const until = (card) => (card.valid_until ? i18n.fill(t.validUntil, { date: card.valid_until.slice(0, 10) }) : '')
      this.setData({
        view: 'bound',
        links: linksFor(me.holder.category),
        face: holder.face(me),
        arrears: me.arrears_fen ? i18n.fill(t.arrears, { amount: money.yuan(me.arrears_fen) }) : '',
        ending: t.endings[holder.ending()] || '',
        virtualState: virtual.state,
        virtualWord: cards[virtual.state],
        virtualTone: TONES[virtual.state] || 'chip-plain',
        virtualUntil: until(virtual),
        physicalState: physical.state,
        physicalWord: cards[physical.state],
        physicalTone: TONES[physical.state] || 'chip-plain',
        physicalLine: [physical.number_masked, until(physical)].filter(Boolean).join(' · '),
      })
    },

    showOfflineCodes() {
      const t = i18n.words('me')
      const right = delegation.held()
      const offline = holder.ending() ? 'ended' : delegation.isOff() ? 'off' : right ? 'held' : 'none'
      this.setData({
        offline,
        offlineLine: { off: t.offlineOff, none: t.offlineNone, ended: t.offlineEnded }[offline] || i18n.fill(t.offlineUntil, { time: clock.dayAndTime(right.expiresAt) }),
        offlineAct: { off: t.start, held: t.stop }[offline] || '',
      })
    },

    async toggleOfflineCodes() {
      if (this.data.busy) return
      this.setData({ busy: true })
      try {
        await (this.data.offline === 'off' ? delegation.allow() : delegation.giveUp())
      } catch (refusal) {
        platform.toast(i18n.problem(refusal).title)
      }
      this.setData({ busy: false })
      this.showOfflineCodes()
    },

    go(tap) {
      platform.go(tap.currentTarget.dataset.url)
    },

    async chooseLanguage() {
      const index = await platform.choose(i18n.words('me').languages)
      if (index === null) return
      i18n.setLocale(LOCALES[index])
      platform.restart()
    },

    async unbind() {
      const { t, c } = this.data
      if (!(await platform.confirm(t.unbindTitle, t.unbindText, t.unbind, c.cancel))) return
      try {
        await api.call('DELETE', '/me/binding')
        codes.clearAll()
        holder.forget()
        await delegation.forget()
        await api.signIn()
        platform.restart()
      } catch (refusal) {
        platform.toast(i18n.problem(refusal).title)
        if (refusal.code === 'restore-first') platform.go('/pages/card/index')
      }
    },
  }),
)

/** Where the page leads: members of staff may answer for temporary people (申办人). */
function linksFor(category) {
  const t = i18n.words('me')
  return [
    { action: 'notices', url: '/pages/notices/index', icon: 'bell', text: t.notices },
    { action: 'limits', url: '/pages/limits/index', icon: 'limit', text: t.limits },
    { action: 'passages', url: '/pages/passages/index', icon: 'gate', text: t.passages },
    { action: 'top-ups', url: '/pages/topups/index', icon: 'wallet', text: t.topUps },
    { action: 'refund', url: '/pages/refund/index', icon: 'back', text: t.refund },
    ...(category === 'staff' ? [{ action: 'sponsored', url: '/pages/sponsored/index', icon: 'card', text: t.sponsored }] : []),
    { action: 'data', url: '/pages/data/index', icon: 'shield', text: t.data },
    { action: 'closing', url: '/pages/closing/index', icon: 'cross', text: t.closing },
  ]
}
