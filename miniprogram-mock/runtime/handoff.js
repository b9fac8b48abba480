// When the mini program shows a code for somebody else's phone to pay, there is no second phone on the desk:
// this pill plays it. The mini program marks its sheet with data-hand-off, the order's number.

import { h } from './dom.js'
import { tell } from './wx/payment.js'

/** Watches the pages and offers the pill while a hand-off code is on the screen. */
export function offerHandOff(phone, main) {
  let pill = null
  const watch = () => {
    const sheet = main.querySelector('[data-hand-off]:not([data-hand-off=""])')
    if (pill && pill.dataset.order !== sheet?.dataset.handOff) {
      pill.remove()
      pill = null
    }
    if (!sheet || pill) return
    const order = sheet.dataset.handOff
    pill = h('button', { class: 'hand-off', onclick: () => tell(order, 'paid') }, '对方已支付（模拟）')
    pill.dataset.order = order
    pill.dataset.pay = 'paid'
    phone.layers.append(pill)
  }
  new MutationObserver(watch).observe(main, {
    childList: true,
    subtree: true,
    attributes: true,
    attributeFilter: ['data-hand-off'],
  })
}
