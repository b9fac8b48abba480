// Starts one phone: finds out who holds it, builds wx, loads the mini program, shows the first page.

import { drawStrip } from './strip.js'
import { offerHandOff } from './handoff.js'
import { Phone } from './phone.js'
import { Router } from './router.js'
import { appConfig, startProgram } from './program.js'
import { createPlatform } from './wx/index.js'
import { translateClicks } from './elements.js'

const ANONYMOUS = { login_code: 'visitor', platform: 'wechat', name: '访客', category: '', note: '' }

const search = new URLSearchParams(location.search)
const people = await readPeople()
const world = {
  person: findPerson(),
  online: true,
  language: navigator.language.startsWith('zh') ? 'zh_CN' : 'en',
  fontSize: 17,
  skewMs: 0,
  clipboard: '',
  orders: new Map(),
  onNetworkChange: () => {},
  onStripNetwork: () => {},
  capture: () => {},
  setOnline(online) {
    world.online = online
    world.phone.setOnline(online)
    world.onStripNetwork(online)
    world.onNetworkChange(online)
  },
  setSkew(seconds) {
    world.skewMs = seconds * 1000
    world.router.current.page.onShow?.()
  },
  setFontSize(px) {
    world.fontSize = px
    world.router.reLaunch(world.router.current.path)
  },
}

/** The phone's own clock, which the strip may set wrong. */
class PhoneDate extends Date {
  constructor(...parts) {
    if (parts.length === 0) super(Date.now() + world.skewMs)
    else super(...parts)
  }

  static now() {
    return Date.now() + world.skewMs
  }
}

world.phone = new Phone(PhoneDate)
const { wx, my } = createPlatform(world)
const program = (world.program = startProgram({ wx, my, Date: PhoneDate, pages: () => world.router.pages() }))
world.router = new Router(program)
world.phone.fill(world.router)
if (parent === window || search.has('strip')) document.body.append(drawStrip(world, people))
else document.body.classList.add('embedded')
document.body.append(world.phone.frame)
translateClicks(world.phone.screen)
offerHandOff(world.phone, world.router.main)
program.app.onShow?.({ path: appConfig.pages[0], query: {}, scene: 1001 })
program.app.onPhoneEvent = (message) => parent.postMessage(message, location.origin)
const first = search.get('page') ?? appConfig.pages[0]
await program.fetch(first)
world.router.reLaunch(first)
addEventListener('online', () => world.setOnline(true))
addEventListener('offline', () => world.setOnline(false))
document.addEventListener('visibilitychange', () => {
  const { page } = world.router.current
  if (document.hidden) page.onHide?.()
  else page.onShow?.()
})

async function readPeople() {
  const response = await fetch('/stage/demo.json', { cache: 'no-store' })
  return response.ok ? (await response.json()).holders : []
}

function findPerson() {
  const login = search.get('login')
  const platform = search.get('platform') ?? 'wechat'
  const known = people.find((one) => one.login_code === login && one.platform === platform)
  if (known) return known
  if (login) return { ...ANONYMOUS, login_code: login, platform, name: login }
  return people[0] ?? ANONYMOUS
}
