// The phone itself: frame, status bar, home indicator, brightness, and the layers that cover a page.

import { h, icon } from './dom.js'

const SIGNAL = 'M4 18v-3M9 18v-6M14 18V9M19 18V6'
const NO_SIGNAL = 'M4 18v-3M9 18v-6M14 18V9M19 18V6M3 4l18 17'

/** Draws the frame; pages, bars and layers are put into `screen`. */
export class Phone {
  constructor(clock) {
    this.time = h('span', { class: 'status-time' })
    this.signal = h('span', { class: 'status-signal' }, icon(SIGNAL))
    const status = h('div', { class: 'status-bar', 'aria-hidden': 'true' }, this.time, this.signal, h('span', { class: 'battery' }))
    this.layers = h('div', { class: 'layers' })
    this.screen = h('div', { class: 'screen' }, status)
    this.frame = h('div', { class: 'phone' }, this.screen)
    this.home = h('div', { class: 'home-bar', 'aria-hidden': 'true' })
    const tick = () => {
      const now = new clock()
      this.time.textContent = `${now.getHours()}:${String(now.getMinutes()).padStart(2, '0')}`
    }
    tick()
    setInterval(tick, 5000)
  }

  fill(router) {
    this.screen.append(router.nav, router.main, router.tabBar, this.home, this.layers)
  }

  setOnline(online) {
    this.signal.replaceChildren(icon(online ? SIGNAL : NO_SIGNAL))
  }

  setBrightness(value) {
    this.frame.dataset.brightness = String(value)
  }

  /** Puts a layer over the page and takes the page out of reach of keyboard and screen reader until it is closed. */
  cover(layer) {
    this.layers.append(layer)
    this.screen.querySelector('main').inert = true
    const first = layer.querySelector('button, input')
    first?.focus()
    return () => {
      layer.remove()
      if (!this.layers.querySelector('[role="dialog"]')) this.screen.querySelector('main').inert = false
    }
  }
}
