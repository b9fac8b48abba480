// The published contract, /api/v1, as seen by a holder: session, errors, server time.

const clock = require('./clock.js')
const i18n = require('./i18n.js')
const platform = require('./platform.js')

const SESSION = 'session'

/** A refusal by the server, or `network-unavailable` when no answer came. */
class Refusal extends Error {
  /**
   * @param {string} code kebab-case, from the contract
   * @param {{status?: number, facts?: any, header?: any}} [about]
   */
  constructor(code, about = {}) {
    super(code)
    this.code = code
    this.status = about.status || 0
    this.facts = about.facts || {}
    this.reference = this.facts.reference || ''
    this.retryAfterSeconds = Number(headerOf(about.header || {}, 'retry-after')) || 0
  }
}

function headerOf(header, name) {
  const key = Object.keys(header).find((one) => one.toLowerCase() === name)
  return key ? header[key] : ''
}

async function exchange(method, path, body, token) {
  const header = { 'Accept-Language': i18n.locale() }
  if (token) header.Authorization = `Bearer ${token}`
  const sentAt = Date.now()
  let answer
  try {
    answer = await platform.request(method, `${platform.baseUrl()}/api/v1${path}`, header, body)
  } catch {
    throw new Refusal('network-unavailable')
  }
  clock.learn(headerOf(answer.header, 'date'), sentAt, Date.now())
  if (answer.statusCode >= 400) {
    const facts = typeof answer.data === 'object' && answer.data ? answer.data : {}
    throw new Refusal(facts.code || 'server-unavailable', { status: answer.statusCode, facts, header: answer.header })
  }
  return answer
}

let signingIn = null

/** Logs in without a word, with a fresh login code. Calls at the same time share one login. */
function signIn() {
  signingIn =
    signingIn ||
    (async () => {
      const code = await platform.loginCode()
      const { data } = await exchange('POST', '/sessions', { platform: platform.host, code })
      platform.save(SESSION, data)
      return data
    })().finally(() => {
      signingIn = null
    })
  return signingIn
}

/** The session we hold, or a new one. @returns {Promise<{token: string, binding: string}>} */
async function session() {
  return platform.load(SESSION) || signIn()
}

/** Remembers how far the binding has come without asking for a new session. */
function noteBinding(binding) {
  platform.save(SESSION, { ...platform.load(SESSION), binding })
}

/**
 * Calls the API as the holder. A session that has ended is renewed once, silently.
 * @returns {Promise<{data: any, header: any, statusCode: number}>}
 */
async function exchangeAsHolder(method, path, body) {
  const { token } = await session()
  try {
    return await exchange(method, path, body, token)
  } catch (refusal) {
    if (refusal.status !== 401) throw refusal
    const renewed = await signIn()
    return exchange(method, path, body, renewed.token)
  }
}

/** As exchangeAsHolder, the answer's body only. @returns {Promise<any>} */
async function call(method, path, body) {
  const { data } = await exchangeAsHolder(method, path, body)
  return data
}

/** Repeats a call that wants proof of a fresh login: the platform gives it without the holder noticing. */
async function callWithStepUp(method, path, body) {
  try {
    return await call(method, path, body)
  } catch (refusal) {
    if (refusal.code !== 'step-up-required') throw refusal
    await signIn()
    return call(method, path, body)
  }
}

/** What happened since `after`, and how long to wait before asking again. */
async function events(after) {
  const { data, header } = await exchangeAsHolder('GET', `/me/events${after ? `?after=${encodeURIComponent(after)}` : ''}`)
  return {
    items: (data && data.items) || [],
    next: (data && data.next) || after,
    nextPollMs: Number(headerOf(header, 'next-poll-ms')) || 2000,
  }
}

module.exports = { Refusal, call, callWithStepUp, events, noteBinding, session, signIn }
