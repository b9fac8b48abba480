// The `wx` object. Every call the mini program makes is here or it is a loud fault: nothing is silently ignored.

import { deviceCalls } from './device.js'
import { networkCalls } from './network.js'
import { pageCalls } from './pages.js'
import { paymentCalls } from './payment.js'
import { storageCalls } from './storage.js'
import { subscriptionCalls } from './subscriptions.js'

/** Builds wx (and my, on Alipay) for one person on one phone. */
export function createPlatform(world) {
  const payment = paymentCalls(world)
  const calls = {
    ...deviceCalls(world),
    ...networkCalls(world),
    ...pageCalls(world),
    ...storageCalls(world),
    ...subscriptionCalls(world),
    requestPayment: payment.requestPayment,
    login: (options) => answer(options, () => ({ code: world.person.login_code })),
  }
  const my =
    world.person.platform === 'alipay'
      ? {
          getAuthCode: (options) => answer(options, () => ({ authCode: world.person.login_code })),
          tradePay: payment.tradePay,
        }
      : undefined
  const wx = new Proxy(calls, {
    get(target, name) {
      if (name in target) return target[name]
      throw new Error(`wx.${String(name)} is not emulated: see runtime/wx/`)
    },
    has: (target, name) => name in target,
  })
  return { wx, my }
}

/** Answers a call the way the platform does: later, through success or fail, then complete. */
export function answer(options = {}, work) {
  Promise.resolve()
    .then(work)
    .then(
      (result) => {
        const reply = { errMsg: 'ok', ...result }
        options.success?.(reply)
        options.complete?.(reply)
      },
      (error) => {
        const reply = { errMsg: error?.errMsg ?? String(error?.message ?? error) }
        options.fail?.(reply)
        options.complete?.(reply)
      },
    )
}
