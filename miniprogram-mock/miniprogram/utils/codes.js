// The codes the server issued ahead of time, and which of them to show now.

const api = require('./api.js')
const clock = require('./clock.js')
const platform = require('./platform.js')

const EARLY_MS = 3000
const SPARE_MS = 60 * 1000

/** One scope's codes, signed or short, newest issue first. Kept in storage so that a restart offline still has them. */
class Deck {
  /** @param {'pay'|'gate'} scope @param {'signed'|'short'|undefined} kind undefined: the school's default */
  constructor(scope, kind) {
    this.scope = scope
    this.kind = kind
    this.key = `codes/${scope}/${kind || 'default'}`
    this.codes = platform.load(this.key) || []
    /** @type {Promise<void> | null} */
    this.refilling = null
  }

  /** Asks for fresh codes; what an earlier issue left stays usable until it expires. */
  async refill() {
    const body = this.kind ? { scope: this.scope, kind: this.kind } : { scope: this.scope }
    const reply = await api.call('POST', '/me/codes', body)
    const issue = clock.now()
    const fresh = reply.codes.map((code) => ({
      text: code.text,
      kind: code.kind,
      from: Date.parse(code.not_before),
      until: Date.parse(code.expires_at),
      issue,
    }))
    this.keep([...fresh, ...this.codes])
  }

  keep(codes) {
    const now = clock.now()
    this.codes = codes.filter((code) => code.until > now)
    platform.save(this.key, this.codes)
  }

  /** The code to show now and until when, or null. The newest issue wins; within it the latest window. */
  current() {
    const now = clock.now()
    const [code] = this.codes
      .filter((one) => one.from <= now && now < one.until)
      .sort((a, b) => b.issue - a.issue || b.from - a.from)
    if (!code) return null
    const next = this.codes.filter((one) => one.issue === code.issue && one.from > code.from).sort((a, b) => a.from - b.from)[0]
    return { ...code, showUntil: next ? next.from : Math.max(code.until - EARLY_MS, now + 1000) }
  }

  /** Milliseconds until the last code dies. */
  lastsMs() {
    return this.codes.reduce((last, code) => Math.max(last, code.until), 0) - clock.now()
  }

  /** Whether it is time to ask again. A short code is alone; signed ones come four at a time. */
  needsRefill() {
    const code = this.current()
    if (!code) return true
    return code.kind === 'short' ? code.showUntil - clock.now() < 1000 : this.lastsMs() < SPARE_MS
  }

  /** Forgets a code that was used: it and all with an earlier window are dead. */
  drop(text) {
    const used = this.codes.find((code) => code.text === text)
    this.keep(used ? this.codes.filter((code) => code.from > used.from && code.text !== text) : [])
  }
}

/** Forgets every code on this phone. */
function clearAll() {
  for (const scope of ['pay', 'gate']) for (const kind of ['default', 'signed', 'short']) platform.save(`codes/${scope}/${kind}`, [])
}

module.exports = { Deck, clearAll }
