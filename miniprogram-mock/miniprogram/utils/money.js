// Money is whole fen. Only these functions turn it into yuan, and only for the eye.

const MINUS = '\u2212'

/** 1250 -> "¥12.50"; -350 -> "−¥3.50". */
function yuan(fen) {
  const size = Math.abs(fen)
  const text = `¥${Math.floor(size / 100)}.${String(size % 100).padStart(2, '0')}`
  return fen < 0 ? MINUS + text : text
}

/** 5000 -> "+¥50.00"; -1250 -> "−¥12.50". */
const signed = (fen) => (fen > 0 ? `+${yuan(fen)}` : yuan(fen))

/** 5000 -> "¥50"; 5050 -> "¥50.50". */
const brief = (fen) => (fen % 100 === 0 ? `¥${fen / 100}` : yuan(fen))

/** "12.5" -> 1250; null when it is no amount. Digits only: no floating point touches money. */
function parse(text) {
  const match = /^(\d{1,6})(?:\.(\d{1,2}))?$/.exec(text.trim())
  if (!match) return null
  return Number(match[1]) * 100 + Number((match[2] || '').padEnd(2, '0'))
}

module.exports = { yuan, signed, brief, parse }
