// Time comes from the server: the phone's clock may be wrong, a code's window is 60 seconds.

const platform = require('./platform.js')

const OFFSET = 'clock-offset'
const WRONG_BY_MS = 90 * 1000
const CAMPUS_OFFSET_MS = 8 * 3600 * 1000

// Kept, because a phone that starts without a network cannot ask.
let offsetMs = platform.load(OFFSET) || 0

/** Learns the server's time from an answer's Date header; half the way there is taken for the way back. */
function learn(dateHeader, sentAtMs, receivedAtMs) {
  const serverMs = Date.parse(dateHeader)
  if (Number.isNaN(serverMs)) return
  const measured = serverMs + 500 - (sentAtMs + receivedAtMs) / 2
  // Date counts whole seconds: a difference below one second is noise
  if (Math.abs(measured - offsetMs) <= 1000) return
  offsetMs = measured
  platform.save(OFFSET, offsetMs)
}

/** Now by the server's clock, in milliseconds. */
const now = () => Date.now() + offsetMs

/** Whether the phone's own clock is too wrong to be trusted once the network is gone. */
const isWrong = () => Math.abs(offsetMs) > WRONG_BY_MS

const two = (number) => String(number).padStart(2, '0')

/** The parts of an instant as the campus reads them (UTC+8). */
function parts(instant) {
  const local = new Date(new Date(instant).getTime() + CAMPUS_OFFSET_MS)
  return {
    year: local.getUTCFullYear(),
    month: local.getUTCMonth() + 1,
    day: local.getUTCDate(),
    hour: local.getUTCHours(),
    minute: local.getUTCMinutes(),
    second: local.getUTCSeconds(),
  }
}

/** 2026-11 */
const month = (instant) => `${parts(instant).year}-${two(parts(instant).month)}`

/** 2026-11-23 */
const day = (instant) => `${month(instant)}-${two(parts(instant).day)}`

/** 12:05 */
const time = (instant) => `${two(parts(instant).hour)}:${two(parts(instant).minute)}`

/** 2026-11-23 12:05:09 */
const stamp = (instant) => `${day(instant)} ${time(instant)}:${two(parts(instant).second)}`

/** 11-23 12:05 */
const dayAndTime = (instant) => stamp(instant).slice(5, 16)

module.exports = { dayAndTime, learn, now, isWrong, month, day, time, stamp, two }
