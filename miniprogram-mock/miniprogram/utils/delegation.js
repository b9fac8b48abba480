// The school's word that this phone may make codes without a network (脱机授权): got, renewed and given up in silence.

const api = require('./api.js')
const clock = require('./clock.js')
const { base64url, enrolmentProof, fromBase64url, makeSeed, publicKey } = require('./device-code.js')
const holder = require('./holder.js')
const ids = require('./ids.js')
const platform = require('./platform.js')

const KEY = 'delegation'
/** After a refusal, and after no answer: that bothered nobody. It doubles each time. */
const FIRST_WAIT_MS = 30 * 1000
const FIRST_WAIT_UNHEARD_MS = 2000
const LONGEST_WAIT_MS = 3600 * 1000
/** What the school says to a proof that was kept too long; with a new challenge it may say yes. */
const TOO_LATE = ['challenge-expired', 'proof-wrong', 'id-reused', 'not-found']
const NOTHING = { id: '', delegation: '', expiresAt: 0, renewAt: 0, capFen: 0, capCount: 0, heldSince: 0, pending: null }

/**
 * What this phone keeps, encrypted; null until it was read. `seed` and `delegation` are base64url, times milliseconds.
 * `pending` is a request without an answer: sent again as it is, it gets the answer that was lost.
 */
let kept = null
let reading = null
/** @type {Promise<void> | null} */
let running = null
let failures = 0
let retryAt = 0

/** Reads what is kept. The rest of the time it is in memory. */
function load() {
  reading =
    reading ||
    platform.loadSecret(KEY).then((found) => {
      kept = kept || found || { ...NOTHING }
    })
  return reading
}

/** What this phone may sign with now, or null. @returns {{id: string, seed: Uint8Array, delegation: Uint8Array, expiresAt: number, capFen: number, capCount: number} | null} */
function held() {
  if (!kept || !kept.delegation || clock.now() >= kept.expiresAt) return null
  const { id, expiresAt, capFen, capCount } = kept
  return { id, seed: fromBase64url(kept.seed), delegation: fromBase64url(kept.delegation), expiresAt, capFen, capCount }
}

/** Whether the holder wants no codes without a network on this phone. */
const isOff = () => Boolean(kept && kept.off)

/**
 * Sees to it that the phone holds a delegation, as far as the last GET /me allows. Says nothing and never fails: without
 * one the phone shows the school's codes alone, and a later call tries again.
 */
function ensure() {
  running =
    running ||
    pursue()
      .catch(postpone)
      .finally(() => {
        running = null
      })
  return running
}

async function pursue() {
  await load()
  const known = holder.lastKnown()
  if (!known) return
  const { me, at } = known
  if (me.binding !== 'active' || !me.holder || !me.virtual_card || me.virtual_card.state !== 'active') {
    // The school took it back together with the card, and does not give it back with the card.
    if (kept.holderNumber) await wipe()
    return
  }
  if (kept.holderNumber !== me.holder.holder_number) await begin(me.holder.holder_number)
  if (wasTaken(me, at)) await note(kept, { delegation: '' })
  const now = clock.now()
  if (kept.off || now < retryAt || (kept.delegation && now <= kept.renewAt)) return
  await enrol().catch((refusal) => (TOO_LATE.includes(refusal.code) ? enrol() : Promise.reject(refusal)))
  failures = 0
}

/** A new binding has a new secret. */
async function begin(holderNumber) {
  const seed = base64url(await makeSeed())
  kept = { ...NOTHING }
  await note(kept, { holderNumber, seed })
}

/** Whether another phone of the holder has the right now. What was heard before our own grant says nothing. */
function wasTaken(me, at) {
  const ours = [kept.id, kept.pending && kept.pending.id]
  return kept.delegation && at > kept.heldSince && !ours.includes(me.delegation_id)
}

async function enrol() {
  const record = kept
  if (!record.pending) await note(record, { pending: await ask(record) })
  const { id, public_key, proof } = record.pending
  try {
    const said = await api.call('PUT', `/me/delegations/${id}`, { public_key, proof })
    await note(record, {
      id,
      delegation: said.delegation,
      expiresAt: Date.parse(said.expires_at),
      renewAt: Date.parse(said.renew_at),
      capFen: said.cap_fen,
      capCount: said.cap_count,
      heldSince: clock.now(),
      pending: null,
    })
  } catch (refusal) {
    if (refusal.status >= 400 && refusal.status < 500) await note(record, { pending: null })
    throw refusal
  }
}

/** A request with the phone's answer to a new challenge, not sent yet. */
async function ask({ seed }) {
  const { challenge, account } = await api.call('POST', '/me/delegations/challenges')
  const secret = fromBase64url(seed)
  return {
    id: await ids.newId(),
    public_key: base64url(publicKey(secret)),
    proof: base64url(enrolmentProof(secret, fromBase64url(challenge), fromBase64url(account))),
  }
}

/** Whatever went wrong, a phone without BigInt, random numbers or storage included: try less and less often. */
function postpone(failure) {
  const first = failure.code === 'network-unavailable' ? FIRST_WAIT_UNHEARD_MS : FIRST_WAIT_MS
  const wait = Math.min(LONGEST_WAIT_MS, first * 2 ** failures)
  failures += 1
  retryAt = clock.now() + Math.max(wait, (failure.retryAfterSeconds || 0) * 1000)
}

/** Changes a record, in storage too unless it was forgotten meanwhile. */
async function note(record, changes) {
  Object.assign(record, changes)
  if (record === kept) await platform.saveSecret(KEY, record)
}

/** Forgets the secret and everything that was signed for it: the phone is lost, unbound or somebody else's. */
async function forget() {
  await wipe()
  if (!running) return
  await running // it may have begun anew with what it knew before
  await wipe()
}

async function wipe() {
  kept = { ...NOTHING }
  failures = 0
  retryAt = 0
  await platform.forgetSecret(KEY)
}

/** Takes the right back at the school and here, until the holder wants it again. Fails as an API call does. */
async function giveUp() {
  await running
  await load()
  const id = kept.id || (kept.pending && kept.pending.id)
  try {
    if (id) await api.call('DELETE', `/me/delegations/${id}`)
  } catch (refusal) {
    if (refusal.status !== 404) throw refusal
  }
  await note(kept, { ...NOTHING, off: true })
}

/** Wants it again. */
async function allow() {
  await load()
  await note(kept, { off: false })
  failures = 0
  retryAt = 0
  await ensure()
}

module.exports = { allow, ensure, forget, giveUp, held, isOff, load }
