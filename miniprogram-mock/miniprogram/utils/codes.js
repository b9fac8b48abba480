// The codes to show: what the server issued ahead of time, and what the phone signs itself without a network.

const api = require('./api.js')
const clock = require('./clock.js')
const delegation = require('./delegation.js')
const { makeDeviceCode } = require('./device-code.js')
const platform = require('./platform.js')

const NEWEST = 'codes/newest'
const SCOPE_BITS = { pay: 1, gate: 2 }
const OWN_CODE_MS = 30 * 1000
const LAST_SEQUENCE = 15
/** A scanner takes a code from up to 15 seconds ahead; some of that is for its own clock. */
const AHEAD_SECONDS = 10
const EARLY_MS = 3000
const SPARE_MS = 60 * 1000

/**
 * The newest moment that a code on this screen stood for. A code is dead once a newer one of the card was used, so this
 * never goes back, not even over a restart. The server's codes count as sequence 0 of their second.
 */
let newest = platform.load(NEWEST) || { issuedAt: 0, sequence: 0 }

/** Moves it on. Kept before the code can be seen. */
function moveOn(issuedAt, sequence) {
  newest = { issuedAt, sequence }
  platform.save(NEWEST, newest)
}

/** Notes that a code of the server's is on the screen. @param {{from: number}} code */
function shown(code) {
  const second = Math.floor(code.from / 1000)
  if (second > newest.issuedAt) moveOn(second, 0)
}

/** Whether a code was fetched before one of our own was shown, and begins no later: to the server it is the older one. */
const isOutdated = (code) =>
  newest.sequence > 0 && code.issue < newest.issuedAt * 1000 && Math.floor(code.from / 1000) <= newest.issuedAt

/** Whether the clock now says a time so long before the newest code that no other can be made. */
const clockWentBack = () => newest.issuedAt > clock.now() / 1000 + AHEAD_SECONDS

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
    if (clockWentBack()) moveOn(Math.floor(issue / 1000), 0) // now we have the time from the server
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
      .filter((one) => one.from <= now && now < one.until && !isOutdated(one))
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

/** What the phone shows when it has nothing of the server's: a code of its own, another one every half minute. */
class OwnDeck {
  constructor() {
    this.code = null
  }

  /** As Deck.current, for a scope. Another scope gets another code, and what another code has overtaken is not shown again. */
  current(scope) {
    const right = delegation.held()
    if (!right) return null
    const now = clock.now()
    const { code } = this
    const isGood = code && code.scope === scope && code.moment === newest && code.right === right.id
    if (!isGood || now >= code.showUntil || clockWentBack()) this.code = this.make(scope, right, now)
    return this.code
  }

  make(scope, right, now) {
    if (clockWentBack()) return null
    const second = Math.floor(now / 1000)
    if (second > newest.issuedAt) moveOn(second, 1)
    else if (newest.sequence < LAST_SEQUENCE) moveOn(newest.issuedAt, newest.sequence + 1)
    else moveOn(newest.issuedAt + 1, 1)
    const text = makeDeviceCode({ ...right, scope: SCOPE_BITS[scope], ...newest })
    const { id, expiresAt, capFen, capCount } = right
    const showUntil = Math.min(now + OWN_CODE_MS, expiresAt)
    return { text, kind: 'device', scope, moment: newest, right: id, showUntil, expiresAt, capFen, capCount }
  }

  /** The next one will be another. */
  drop() {
    this.code = null
  }
}

/** Forgets every code on this phone. */
function clearAll() {
  for (const scope of ['pay', 'gate']) for (const kind of ['default', 'signed', 'short']) platform.save(`codes/${scope}/${kind}`, [])
}

module.exports = { Deck, OwnDeck, clearAll, clockWentBack, shown }
