// The words people read, by dictionary. The server sends codes; the client owns the words.

const money = require('./money.js')
const platform = require('./platform.js')

const DICTIONARIES = { 'zh-CN': require('../i18n/zh-CN.js'), en: require('../i18n/en.js') }
const LOCALE = 'locale'

/** The holder's choice, else the platform's language. @returns {'zh-CN'|'en'} */
function locale() {
  return platform.load(LOCALE) || (platform.language().startsWith('zh') ? 'zh-CN' : 'en')
}

const setLocale = (name) => platform.save(LOCALE, name)

/** One section of the dictionary. @returns {any} */
const words = (section) => DICTIONARIES[locale()][section]

/** Takes in the words of a page that was loaded later (分包). @param {{'zh-CN': object, en: object}} more */
const learn = (more) => Object.keys(DICTIONARIES).forEach((name) => Object.assign(DICTIONARIES[name], more[name]))

/** "还差 {short}" with {short: "¥3.50"} -> "还差 ¥3.50". */
const fill = (text, facts) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in facts ? String(facts[name]) : whole))

/** What a refusal means, for people: its title, and what they can do next. */
function problem(refusal) {
  return reason(refusal.code, refusal.facts, refusal.reference)
}

/** The same for a reason code that came inside an event or a list. */
function reason(code, facts = {}, reference = '') {
  const table = words('problems')
  const [title, next] = table[code] || table.unknown
  const shown = {}
  for (const name of Object.keys(facts)) {
    if (name.endsWith('_fen')) shown[name.slice(0, -4)] = money.yuan(facts[name])
    else shown[name] = facts[name]
  }
  return { code, title: fill(title, shown), next: fill(next, shown), reference }
}

module.exports = { fill, learn, locale, problem, reason, setLocale, words }
