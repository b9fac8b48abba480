// Screen, vibration, clipboard, files, random numbers and what the phone says about itself.

import { answer } from './index.js'

/** Device calls. Brightness and keep-on are shown on the frame, where tests can read them. */
export function deviceCalls(world) {
  const captures = new Set()
  const files = new Map()
  let brightness = 0.5
  world.capture = () => captures.forEach((listener) => listener({}))
  const windowInfo = () => {
    const main = document.getElementById('phone-main')
    return {
      pixelRatio: devicePixelRatio,
      windowWidth: main.clientWidth,
      windowHeight: main.clientHeight,
      screenWidth: main.clientWidth,
      screenHeight: world.phone.screen.clientHeight,
      statusBarHeight: 44,
    }
  }
  const appBase = () => ({
    language: world.language,
    fontSizeSetting: world.fontSize,
    theme: matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light',
    SDKVersion: '3.5.0',
    version: '8.0.50',
  })
  return {
    getWindowInfo: windowInfo,
    getAppBaseInfo: appBase,
    getDeviceInfo: () => ({ platform: 'devtools', system: 'Browser', brand: 'campus-card', model: 'runtime' }),
    getSystemInfoSync: () => ({ ...windowInfo(), ...appBase(), platform: 'devtools' }),
    getExtConfigSync: () => ({ baseUrl: location.origin }),
    getScreenBrightness: (options) => answer(options, () => ({ value: brightness })),
    setScreenBrightness: (options) =>
      answer(options, () => {
        brightness = options.value
        world.phone.setBrightness(options.value)
      }),
    setKeepScreenOn: (options) =>
      answer(options, () => {
        world.phone.frame.dataset.keepScreenOn = String(options.keepScreenOn)
      }),
    setVisualEffectOnCapture: (options) =>
      answer(options, () => {
        world.phone.frame.dataset.capture = options.visualEffect
      }),
    onUserCaptureScreen: (listener) => captures.add(listener),
    offUserCaptureScreen: () => captures.clear(),
    vibrateShort: (options) =>
      answer(options, () => {
        world.phone.frame.classList.add('vibrating')
        setTimeout(() => world.phone.frame.classList.remove('vibrating'), 200)
      }),
    setClipboardData: (options) =>
      answer(options, async () => {
        world.clipboard = options.data
        await navigator.clipboard?.writeText(options.data).catch(() => {}) // refused without focus: the phone keeps its own copy
      }),
    env: { USER_DATA_PATH: 'wxfile://usr' },
    getFileSystemManager: () => ({ writeFileSync: (path, text) => files.set(path, text) }),
    shareFileMessage: (options) => answer(options, () => save(options.fileName, files.get(options.filePath))),
    getRandomValues: (options) =>
      answer(options, () => ({ randomValues: crypto.getRandomValues(new Uint8Array(options.length)).buffer })),
    createSelectorQuery: () => selectorQuery(),
  }
}

/** In a browser, what WeChat would pass on to a chat is downloaded. */
function save(name, text) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** The one query the mini program makes: a canvas node and its size, inside a component. */
function selectorQuery() {
  let owner = null
  let selector = ''
  const query = {
    in: (component) => ((owner = component), query),
    select: (text) => ((selector = text), query),
    fields: () => query,
    exec: (done) => {
      const found = ({ context: node }) => done([node && { node, width: node.clientWidth, height: node.clientHeight }])
      owner.createSelectorQuery().select(selector).context((result) => found(result ?? {})).exec()
    },
  }
  return query
}
