// 订阅消息: asking the holder, at a moment that concerns them, whether we may also write to their WeChat.

const api = require('./api.js')
const ids = require('./ids.js')
const platform = require('./platform.js')

const UNTOLD = 'message-consent'
/** WeChat shows so many requests on one sheet. */
const AT_ONCE = 3
/** Who has let us send so many already is not asked for more. */
const ENOUGH = 3

/** The templates about these kinds of notice that are worth asking for. Known before the tap: WeChat asks in no other moment. */
async function toAsk(kinds) {
  await tell()
  const { items } = await api.call('GET', '/me/message-topics')
  return items
    .filter((topic) => topic.kinds.some((kind) => kinds.includes(kind)))
    .filter((topic) => topic.credits < (topic.long_term ? 1 : ENOUGH))
    .map((topic) => topic.template_id)
    .slice(0, AT_ONCE)
}

/** Asks, in a tap of the holder, and tells our server what they answered. @returns {Promise<boolean>} whether they agreed to any */
async function ask(templateIds) {
  const answer = await platform.askToWrite(templateIds)
  if (!answer) return false
  platform.save(UNTOLD, { id: await ids.newId(), answer })
  await tell().catch(() => {}) // told the next time: WeChat has the consent already
  return answer.accepted.length > 0
}

/** Tells our server of an answer that it does not know yet; under its id it counts once. */
async function tell() {
  const untold = platform.load(UNTOLD)
  if (!untold) return
  try {
    await api.call('PUT', `/me/message-consents/${untold.id}`, untold.answer)
  } catch (refusal) {
    if (!refusal.status || refusal.status >= 500) throw refusal
  }
  platform.save(UNTOLD, null)
}

module.exports = { ask, toAsk }
