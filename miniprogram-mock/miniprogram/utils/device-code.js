// Device codes (设备码, type D): what this phone signs by itself, with no network, under a delegation of the school.

const platform = require('./platform.js')

// Both make the same signatures. Phones without BigInt (iOS before 14) take some 70 ms for one instead of 1 ms.
const { getPublicKey, sha512, sign } =
  typeof BigInt === 'undefined' ? require('../lib/nacl.js') : require('../lib/ed25519.js')

const SEED_SIZE = 32
const CHALLENGE_SIZE = 32
const DELEGATION_SIZE = 108
const FINGERPRINT_SIZE = 16
const PREFIX = '962'
const DIGITS = 427
const LIMB_DIGITS = 7
const LIMB = 10 ** LIMB_DIGITS
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** The secret of this phone: 32 random bytes, drawn once. @returns {Promise<Uint8Array>} */
const makeSeed = () => platform.randomBytes(SEED_SIZE)

/** The 32 bytes by which the school knows the phone. @returns {Uint8Array} */
const publicKey = (seed) => getPublicKey(seed)

/**
 * The 64 bytes that show the school that this phone holds the seed, now and for this account.
 * @param {Uint8Array} seed
 * @param {Uint8Array} challenge the server's 32 bytes
 * @param {Uint8Array} accountHash
 * @returns {Uint8Array}
 */
function enrolmentProof(seed, challenge, accountHash) {
  // With a fixed length in the middle, no two pairs spell the same message.
  if (challenge.length !== CHALLENGE_SIZE) throw new RangeError('a challenge has 32 bytes')
  return sign(joined(ascii('ecenrol1'), challenge, accountHash), seed)
}

/**
 * The 430 digits of a code for this second. The same input always gives the same code: to show another within one
 * second, count `sequence` up.
 * @param {object} showing
 * @param {Uint8Array} showing.seed
 * @param {Uint8Array} showing.delegation the 108 bytes that the school signed for this phone
 * @param {number} showing.scope what it is for: 1 pay, 2 gate, 4 door, 8 service, or a sum of them
 * @param {number} showing.issuedAt whole seconds since 1970, by the server's clock
 * @param {number} showing.sequence 0 to 15
 */
function makeDeviceCode({ seed, delegation, scope, issuedAt, sequence }) {
  if (delegation.length !== DELEGATION_SIZE) throw new RangeError('a delegation has 108 bytes')
  checkRange(scope, 1, 15)
  checkRange(issuedAt, 0, 2 ** 32 - 1)
  checkRange(sequence, 0, 15)
  const fingerprint = sha512(delegation).subarray(0, FINGERPRINT_SIZE)
  // What is signed is a JSON Web Token; the order of its members is part of the format.
  const input = [
    { alg: 'EdDSA', typ: 'ecproof+jwt' },
    { aud: 'ecard:scan', cth: base64url(fingerprint), iat: issuedAt, seq: sequence, scp: scope },
  ].map((part) => base64url(ascii(JSON.stringify(part))))
  const second = [24, 16, 8, 0].map((shift) => (issuedAt >>> shift) & 255)
  const signature = sign(ascii(input.join('.')), seed)
  return PREFIX + decimal(joined(delegation, second, [(scope << 4) | sequence], signature)).padStart(DIGITS, '0')
}

function checkRange(number, least, most) {
  if (!Number.isInteger(number) || number < least || number > most) throw new RangeError(`not within ${least} and ${most}`)
}

const ascii = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0))

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Unpadded base64url. */
function base64url(bytes) {
  let text = ''
  for (let at = 0; at < bytes.length; at += 3) {
    const three = (bytes[at] << 16) | ((bytes[at + 1] || 0) << 8) | (bytes[at + 2] || 0)
    const letters = [18, 12, 6, 0].map((shift) => BASE64URL[(three >> shift) & 63])
    text += letters.slice(0, Math.min(3, bytes.length - at) + 1).join('')
  }
  return text
}

/** The bytes that an unpadded base64url text spells. @returns {Uint8Array} */
function fromBase64url(text) {
  const bytes = []
  let bits = 0
  Array.from(text, (letter) => BASE64URL.indexOf(letter)).forEach((value, at) => {
    bits = ((bits << 6) | value) & 0xffff
    if (at % 4) bytes.push((bits >> (6 - 2 * (at % 4))) & 255)
  })
  return Uint8Array.from(bytes)
}

/** The big-endian number that the bytes spell, in decimal and without a BigInt: seven digits to a limb. */
function decimal(bytes) {
  const limbs = [0] // least significant first
  for (const byte of bytes) {
    let carry = byte
    for (let index = 0; index < limbs.length; index += 1) {
      const value = limbs[index] * 256 + carry
      limbs[index] = value % LIMB
      carry = Math.floor(value / LIMB)
    }
    if (carry) limbs.push(carry)
  }
  const [first, ...rest] = limbs.reverse()
  return String(first) + rest.map((limb) => String(limb).padStart(LIMB_DIGITS, '0')).join('')
}

module.exports = { base64url, enrolmentProof, fromBase64url, makeDeviceCode, makeSeed, publicKey }
