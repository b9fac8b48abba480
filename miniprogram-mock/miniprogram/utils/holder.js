// The holder's own state, fetched when there is a network and remembered for when there is none.

const api = require('./api.js')
const clock = require('./clock.js')
const i18n = require('./i18n.js')
const money = require('./money.js')
const platform = require('./platform.js')

const ME = 'me'

/** GET /me, remembered with the time it was true. */
async function fetchMe() {
  const me = await api.call('GET', '/me')
  platform.save(ME, { me, at: clock.now() })
  return { me, at: clock.now() }
}

/** What we last knew, or null. @returns {{me: any, at: number} | null} */
const lastKnown = () => platform.load(ME)

/** How the account stood when we last knew: `closing` (销户中), `closed` (已销户), or empty. */
function ending() {
  const { me } = lastKnown() || { me: {} }
  const cards = [me.virtual_card, me.physical_card].filter(Boolean).map((card) => card.state)
  return ['closing', 'closed'].find((state) => cards.includes(state)) || ''
}

const forget = () => platform.save(ME, null)

/** What a page shows about the holder. */
function face(me) {
  const { holder, purses } = me
  const spendable = purses.reduce((sum, purse) => sum + purse.balance_fen, 0)
  const purseWords = i18n.words('purses')
  return {
    name: holder.name_masked,
    initial: holder.name_masked.slice(0, 1),
    line: [i18n.words('categories')[holder.category], holder.holder_number].filter(Boolean).join(' · '),
    balance: money.yuan(spendable),
    spentToday: me.spent_today_fen === undefined ? '' : money.yuan(me.spent_today_fen),
    purses: purses.map((purse) => ({ kind: purse.kind, name: purseWords[purse.kind], balance: money.yuan(purse.balance_fen) })),
  }
}

module.exports = { ending, face, fetchMe, forget, lastKnown }
