// Ids of things that move money are made here, before the first send, so that a retry is the same request.

const platform = require('./platform.js')

/** A new UUIDv7. @returns {Promise<string>} */
async function newId() {
  const bytes = await platform.randomBytes(16)
  let left = Date.now()
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = left % 256
    left = Math.floor(left / 256)
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

module.exports = { newId }
