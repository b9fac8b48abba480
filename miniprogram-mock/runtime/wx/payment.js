// The cashier: what WeChat and Alipay show over a mini program when it asks for money. Marked 模拟; no money moves.

import { answer } from './index.js'
import { h } from '../dom.js'

const SKINS = {
  wechat: { name: '微信支付', className: 'cashier-wechat' },
  alipay: { name: '支付宝', className: 'cashier-alipay' },
}

/** wx.requestPayment and my.tradePay. The payer's choice is told to the sandbox; the phone learns no more than a real one. */
export function paymentCalls(world) {
  const pay = async (skin, reference) => {
    const order = await findOrder(world, reference)
    const outcome = await ask(world, SKINS[skin], order)
    await tell(order.out_trade_no, outcome)
    return outcome
  }
  return {
    requestPayment: (options) =>
      answer(options, async () => {
        const outcome = await pay('wechat', options.package)
        if (outcome === 'cancelled') throw { errMsg: 'requestPayment:fail cancel' }
        if (outcome === 'timeout') throw { errMsg: 'requestPayment:fail timeout' }
        return { errMsg: 'requestPayment:ok' }
      }),
    tradePay: (options) =>
      answer(options, async () => {
        const outcome = await pay('alipay', options.tradeNO)
        return { resultCode: { paid: '9000', cancelled: '6001', timeout: '6004' }[outcome] }
      }),
  }
}

/** What the sandbox knows of an order: its number was seen in our server's answer, the rest it tells itself. */
async function findOrder(world, reference) {
  const number = world.orders.get(reference)
  if (!number) throw { errMsg: 'requestPayment:fail no such order' }
  const response = await fetch(`/sandbox/control/orders/${number}`, { cache: 'no-store' })
  const { items } = response.ok ? await response.json() : { items: [] }
  return { out_trade_no: number, ...items[0] }
}

/** Plays the payer in the sandbox: paid, cancelled or timeout. */
export async function tell(outTradeNo, outcome) {
  await fetch('/sandbox/control/pay', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ out_trade_no: outTradeNo, outcome }),
  })
}

const yuan = (fen) => `¥${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, '0')}`

function ask(world, skin, order) {
  const fen = order.amount_fen ?? null
  return new Promise((resolve) => {
    const end = (outcome) => () => {
      uncover()
      resolve(outcome)
    }
    const choice = (outcome, text, className) => {
      const button = h('button', { class: className, onclick: end(outcome) }, text)
      button.dataset.pay = outcome
      return button
    }
    const uncover = world.phone.cover(
      h(
        'div', { class: 'mask mask-bottom', role: 'dialog', 'aria-modal': 'true', 'aria-label': `${skin.name}（模拟）` },
        h(
          'div', { class: `cashier ${skin.className}` },
          h('p', { class: 'cashier-brand' }, h('b', {}, skin.name), h('span', { class: 'cashier-mock' }, '模拟')),
          h('p', { class: 'cashier-payee' }, order.description ?? '校园卡充值'),
          fen === null ? null : h('p', { class: 'cashier-amount' }, yuan(fen)),
          choice('paid', '支付', 'cashier-pay'),
          h('div', { class: 'cashier-rest' }, choice('cancelled', '取消', 'cashier-plain'), choice('timeout', '超时', 'cashier-plain')),
          h('p', { class: 'cashier-note' }, '沙箱收银台，不会产生真实扣款'),
        ),
      ),
    )
  })
}
