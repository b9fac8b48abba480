// Page stack, navigation bar, tab bar: what WeChat itself draws around a mini program.

import { appConfig, configs } from './program.js'
import { h, icon } from './dom.js'

const BACK = 'M15 5l-7 7 7 7'
const DOTS = 'M5 12h.01M12 12h.01M19 12h.01'
const REACH_BOTTOM_PX = 50
const STACK_LIMIT = 10

/** One phone screen with its stack of pages. Tab pages live on while another tab is shown, as in WeChat. */
export class Router {
  constructor(program) {
    this.program = program
    this.stack = []
    this.tabs = new Map()
    this.back = h('button', { class: 'nav-back', 'aria-label': '返回', onclick: () => this.navigateBack() }, icon(BACK))
    this.title = h('h1', { class: 'nav-title' })
    this.nav = h(
      'header', { class: 'nav' }, this.back, this.title,
      h('div', { class: 'capsule', 'aria-hidden': 'true' }, icon(DOTS), h('i'), h('b')),
    )
    this.main = h('main', { class: 'pages', id: 'phone-main' })
    this.tabBar = h('nav', { class: 'tab-bar', 'aria-label': '主导航' })
    this.tabItems = appConfig.tabBar.list.map((tab, index) => this.drawTab(tab, index))
    this.tabBar.append(...this.tabItems.map((item) => item.button))
  }

  drawTab(tab, index) {
    const image = h('img', { src: tab.iconPath, alt: '' })
    const text = h('span', {}, tab.text)
    const button = h('button', { class: 'tab', onclick: () => this.switchTab(tab.pagePath) }, image, text)
    button.dataset.tab = String(index)
    return { tab, button, image, text }
  }

  get current() {
    return this.stack[this.stack.length - 1]
  }

  pages() {
    return this.stack.map((entry) => entry.page)
  }

  open(url) {
    const [path, search = ''] = url.replace(/^\//, '').split('?')
    if (!appConfig.pages.includes(path)) throw new Error(`app.json names no page ${path}`)
    const query = Object.fromEntries(new URLSearchParams(search))
    const holder = h('div', { class: 'wx-page', tabindex: '-1' })
    holder.dataset.page = path
    holder.addEventListener('scroll', () => this.watchBottom(holder), { passive: true })
    this.main.append(holder)
    const entry = { holder, title: null, ...this.program.open(path, query, holder) }
    entry.page.onReady?.()
    return entry
  }

  watchBottom(holder) {
    const left = holder.scrollHeight - holder.scrollTop - holder.clientHeight
    const near = left < REACH_BOTTOM_PX
    if (near && !holder.wasNear) this.current.page.onReachBottom?.()
    holder.wasNear = near
  }

  show() {
    const { current } = this
    for (const holder of this.main.children) holder.hidden = holder !== current.holder
    const isTab = this.tabs.has(current.path)
    this.tabBar.hidden = !isTab
    for (const item of this.tabItems) {
      const selected = item.tab.pagePath === current.path
      item.image.src = selected ? item.tab.selectedIconPath : item.tab.iconPath
      if (selected) item.button.setAttribute('aria-current', 'page')
      else item.button.removeAttribute('aria-current')
    }
    this.back.hidden = this.stack.length < 2
    const bar = { ...appConfig.window, ...configs[current.path] }
    this.title.textContent = current.title ?? bar.navigationBarTitleText
    const frame = this.nav.parentElement
    frame?.classList.toggle('nav-light-text', bar.navigationBarTextStyle === 'white')
    frame?.style.setProperty('--nav-background', bar.navigationBarBackgroundColor)
    current.page.onShow?.()
    queueMicrotask(() => this.watchBottom(current.holder))
  }

  leave() {
    this.current?.page.onHide?.()
  }

  close(entry) {
    entry.close()
    entry.holder.remove()
    for (const [path, tab] of this.tabs) if (tab === entry) this.tabs.delete(path)
  }

  navigateTo(url) {
    if (this.stack.length >= STACK_LIMIT) throw new Error(`more than ${STACK_LIMIT} pages are open`)
    if (this.isTab(url)) throw new Error('navigateTo cannot open a tab page')
    this.leave()
    this.stack.push(this.open(url))
    this.show()
  }

  redirectTo(url) {
    if (this.isTab(url)) throw new Error('redirectTo cannot open a tab page')
    this.close(this.stack.pop())
    this.stack.push(this.open(url))
    this.show()
  }

  navigateBack(delta = 1) {
    for (let step = 0; step < delta && this.stack.length > 1; step += 1) this.close(this.stack.pop())
    this.show()
  }

  switchTab(url) {
    const path = url.replace(/^\//, '').split('?')[0]
    if (!this.isTab(path)) throw new Error(`${path} is not a tab page`)
    if (this.current?.path === path) return
    const shown = this.current
    if (shown && this.tabs.has(shown.path)) this.leave()
    for (const entry of this.stack.splice(0)) if (!this.tabs.has(entry.path)) this.close(entry)
    if (!this.tabs.has(path)) this.tabs.set(path, this.open(path))
    this.stack.push(this.tabs.get(path))
    this.show()
  }

  reLaunch(url) {
    for (const entry of this.stack.splice(0)) this.close(entry)
    for (const entry of [...this.tabs.values()]) this.close(entry)
    if (this.isTab(url)) this.switchTab(url)
    else {
      this.stack.push(this.open(url))
      this.show()
    }
  }

  isTab(url) {
    const path = url.replace(/^\//, '').split('?')[0]
    return appConfig.tabBar.list.some((tab) => tab.pagePath === path)
  }

  setTitle(title) {
    if (this.current) this.current.title = title
    this.title.textContent = title
  }

  setTabText(index, text) {
    this.tabItems[index].text.textContent = text
  }
}
