// Every call to WeChat or Alipay. Pages and the other files know neither: a port to another platform is this file.

const config = require('../config.js')

/** The platform that runs us: its login codes and payment sheets differ. */
const host = typeof my === 'undefined' ? 'wechat' : 'alipay'

/**
 * Turns a callback call into a promise.
 * @param {(options: any) => void} method
 * @param {object} [options]
 * @returns {Promise<any>}
 */
function promised(method, options) {
  return new Promise((resolve, reject) => method({ ...options, success: resolve, fail: reject }))
}

/** A fresh login code, good once. @returns {Promise<string>} */
async function loginCode() {
  if (host === 'alipay') {
    const { authCode } = await promised((options) => my.getAuthCode(options), { scopes: 'auth_base' })
    return authCode
  }
  const { code } = await promised(wx.login)
  return code
}

/** The server's address without a slash at the end. */
function baseUrl() {
  return wx.getExtConfigSync().baseUrl || config.baseUrl
}

/**
 * One HTTP exchange; rejects only when no answer came.
 * @returns {Promise<{statusCode: number, header: Record<string, string>, data: any}>}
 */
function request(method, url, header, data) {
  return promised((options) => wx.request(/** @type {any} */ (options)), { method, url, header, data, timeout: 15000 })
}

/**
 * Opens the platform's own payment sheet.
 * @returns {Promise<'done'|'cancelled'|'unknown'>} what the payer seems to have done; only our server knows the truth
 */
async function pay(params) {
  try {
    if (params.kind === 'alipay-trade') {
      const { resultCode } = await promised((options) => my.tradePay(options), { tradeNO: params.tradeNO })
      return resultCode === '9000' ? 'done' : resultCode === '6001' ? 'cancelled' : 'unknown'
    }
    const { timeStamp, nonceStr, package: prepay, signType, paySign } = params
    await promised(wx.requestPayment, { timeStamp, nonceStr, package: prepay, signType, paySign })
    return 'done'
  } catch (error) {
    return /cancel/.test(error.errMsg) ? 'cancelled' : 'unknown'
  }
}

/**
 * Asks whether we may write to the person. WeChat shows it only in a tap, so nothing may be waited for before.
 * @param {string[]} templateIds
 * @returns {Promise<{accepted: string[], rejected: string[]} | null>} null when they were not asked
 */
async function askToWrite(templateIds) {
  if (host === 'alipay') return null
  try {
    const answer = await promised(wx.requestSubscribeMessage, { tmplIds: templateIds })
    const accepted = templateIds.filter((id) => answer[id] === 'accept')
    return { accepted, rejected: templateIds.filter((id) => !accepted.includes(id)) }
  } catch {
    return null // switched off in the phone's settings, or no network
  }
}

let brightnessBefore = null

/** Makes the screen as bright as it can be, so that scanners read it. */
async function raiseBrightness() {
  if (brightnessBefore !== null) return
  const { value } = await promised(wx.getScreenBrightness)
  brightnessBefore = value
  await promised(wx.setScreenBrightness, { value: 1 })
}

/** Gives the screen back as it was; Android answers a negative number when it follows the system. */
async function restoreBrightness() {
  if (brightnessBefore === null) return
  const value = brightnessBefore
  brightnessBefore = null
  await promised(wx.setScreenBrightness, { value })
}

/** Keeps the screen on and, on Android, out of screenshots, while a code is shown. */
function guardScreen(on) {
  wx.setKeepScreenOn({ keepScreenOn: on })
  wx.setVisualEffectOnCapture({ visualEffect: on ? 'hidden' : 'none' })
}

/** Keeps a value encrypted on the phone, where the platform can: nothing else there may be secret. */
const saveSecret = (key, data) => promised(wx.setStorage, { key, data, encrypt: true })

/** What saveSecret kept, or null. @returns {Promise<any>} */
async function loadSecret(key) {
  try {
    const { data } = await promised(wx.getStorage, { key, encrypt: true })
    return data
  } catch {
    return null // the platform says "not found" as a failure
  }
}

/** Random bytes from the platform. @returns {Promise<Uint8Array>} */
async function randomBytes(length) {
  const { randomValues } = await promised(wx.getRandomValues, { length })
  return new Uint8Array(randomValues)
}

/**
 * Hands a text to the person as a file: WeChat passes it on to a chat, such as one's own 文件传输助手. Alipay cannot, there it is copied.
 * Only in a tap, with nothing waited for before. @param {string} name @param {string} text
 */
function handOver(name, text) {
  if (host === 'alipay') return promised(wx.setClipboardData, { data: text })
  const filePath = `${wx.env.USER_DATA_PATH}/${name}`
  wx.getFileSystemManager().writeFileSync(filePath, text)
  return promised(wx.shareFileMessage, { filePath, fileName: name })
}

/** Asks a yes or no. @returns {Promise<boolean>} */
async function confirm(title, content, confirmText, cancelText) {
  const { confirm: yes } = await promised(wx.showModal, { title, content, confirmText, cancelText })
  return yes
}

/** Offers a list. @returns {Promise<number|null>} the index, or null when dismissed */
async function choose(itemList) {
  try {
    const { tapIndex } = await promised(wx.showActionSheet, { itemList })
    return tapIndex
  } catch {
    return null
  }
}

/** Whether the phone believes it has a network. @returns {Promise<boolean>} */
async function isOnline() {
  const { networkType } = await promised(wx.getNetworkType)
  return networkType !== 'none'
}

/** 1 for the standard type size; WeChat's 关怀模式 gives about 1.4. */
function typeScale() {
  const size = wx.getAppBaseInfo().fontSizeSetting || 17
  return Math.min(1.5, Math.max(1, size / 17))
}

/** A component's 2D canvas once it is laid out, or null when the component is gone. @returns {Promise<any>} */
function canvas(component, selector) {
  return new Promise((resolve) => {
    const query = wx.createSelectorQuery().in(component).select(selector).fields({ node: true, size: true })
    query.exec(([found]) => resolve(found && found.node))
  })
}

module.exports = {
  askToWrite,
  host,
  baseUrl,
  canvas,
  choose,
  confirm,
  copy: (data) => promised(wx.setClipboardData, { data }),
  go: (url) => promised(wx.navigateTo, { url }),
  forgetSecret: (key) => promised(wx.removeStorage, { key }),
  handOver,
  goTab: (url) => promised(wx.switchTab, { url }),
  guardScreen,
  isOnline,
  language: () => wx.getAppBaseInfo().language,
  load: (key) => wx.getStorageSync(key) || null,
  loadSecret,
  loginCode,
  onCapture: (listener) => wx.onUserCaptureScreen(listener),
  offCapture: () => wx.offUserCaptureScreen(),
  onNetworkChange: (listener) => wx.onNetworkStatusChange(listener),
  offNetworkChange: (listener) => wx.offNetworkStatusChange(listener),
  pay,
  pixelRatio: () => wx.getWindowInfo().pixelRatio,
  raiseBrightness,
  randomBytes,
  request,
  restart: () => wx.reLaunch({ url: '/pages/code/index' }),
  restoreBrightness,
  save: (key, value) => wx.setStorageSync(key, value),
  saveSecret,
  setTabText: (index, text) => promised(wx.setTabBarItem, { index, text }).catch(() => {}), // refused while no tab page is open
  setTitle: (title) => wx.setNavigationBarTitle({ title }),
  stopPullDown: () => wx.stopPullDownRefresh({}),
  toast: (title) => wx.showToast({ title, icon: 'none' }),
  typeScale,
  vibrate: () => wx.vibrateShort({ type: 'heavy' }),
  windowWidth: () => wx.getWindowInfo().windowWidth,
}
