// wx storage on localStorage, apart for each person, so that four phones may live on one stage. What a phone encrypts
// lies here as it is, but apart: who forgets `encrypt` at one end does not find it, as in WeChat.

import { answer } from './index.js'

const LIMIT_CHARS = 10 * 1024 * 1024

/** Storage calls; a value is anything JSON can hold. */
export function storageCalls(world) {
  const key = (name) => `phone/${world.person.platform}/${world.person.login_code}/${name}`
  const secret = (name) => `encrypted/${name}`
  const get = (name) => {
    const text = localStorage.getItem(key(name))
    return text === null ? '' : JSON.parse(text)
  }
  const set = (name, value) => {
    const text = JSON.stringify(value)
    if (text.length > LIMIT_CHARS) throw new Error('setStorage: more than 10 MB')
    localStorage.setItem(key(name), text)
  }
  return {
    getStorageSync: get,
    setStorageSync: set,
    removeStorage: (options) =>
      answer(options, () => {
        for (const name of [options.key, secret(options.key)]) localStorage.removeItem(key(name))
      }),
    removeStorageSync: (name) => localStorage.removeItem(key(name)),
    clearStorageSync: () => {
      for (const name of Object.keys(localStorage)) if (name.startsWith(key(''))) localStorage.removeItem(name)
    },
    getStorage: (options) =>
      answer(options, () => {
        const data = get(options.encrypt ? secret(options.key) : options.key)
        if (data === '') throw { errMsg: 'getStorage:fail data not found' }
        return { data }
      }),
    setStorage: (options) => answer(options, () => set(options.encrypt ? secret(options.key) : options.key, options.data)),
  }
}
