// wx.request over fetch, with a switch for "no network" and a clock that may be wrong.

import { answer } from './index.js'

const PARALLEL_LIMIT = 10
const TIMEOUT_MS = 60000

/** Network calls. `world.online` is the strip's switch; the mini program cannot tell it from a real outage. */
export function networkCalls(world) {
  let running = 0
  const listeners = new Set()
  world.onNetworkChange = (online) => {
    const change = { isConnected: online, networkType: online ? 'wifi' : 'none' }
    for (const listener of listeners) listener(change)
  }

  const request = (options) => {
    const abort = new AbortController()
    answer(options, async () => {
      if (!world.online) throw { errMsg: 'request:fail net::ERR_INTERNET_DISCONNECTED' }
      if (running >= PARALLEL_LIMIT) throw { errMsg: 'request:fail exceed max concurrent limit' }
      running += 1
      const timer = setTimeout(() => abort.abort(), options.timeout ?? TIMEOUT_MS)
      try {
        const response = await fetch(options.url, {
          method: options.method ?? 'GET',
          headers: { 'Content-Type': 'application/json', ...options.header },
          body: options.data === undefined || options.data === null ? undefined : JSON.stringify(options.data),
          signal: abort.signal,
          credentials: 'omit',
          cache: 'no-store',
        })
        const text = await response.text()
        const data = parse(text)
        noteOrder(world, data)
        return { statusCode: response.status, header: Object.fromEntries(response.headers), data }
      } catch (error) {
        throw { errMsg: `request:fail ${error.name === 'AbortError' ? 'timeout' : 'failed to connect'}` }
      } finally {
        clearTimeout(timer)
        running -= 1
      }
    })
    return { abort: () => abort.abort() }
  }

  return {
    request,
    getNetworkType: (options) => answer(options, () => ({ networkType: world.online ? 'wifi' : 'none' })),
    onNetworkStatusChange: (listener) => listeners.add(listener),
    offNetworkStatusChange: (listener) => (listener ? listeners.delete(listener) : listeners.clear()),
  }
}

/** A platform knows which order a prepayment belongs to; this one learns it from the answer that carries both. */
function noteOrder(world, data) {
  const params = data?.client_params
  const reference = params?.package ?? params?.tradeNO
  if (reference) world.orders.set(reference, data.out_trade_no)
}

function parse(text) {
  try {
    return text === '' ? '' : JSON.parse(text)
  } catch {
    return text
  }
}
