// wx storage on localStorage, apart for each person, so that four phones may live on one stage.

import { answer } from './index.js'

const LIMIT_CHARS = 10 * 1024 * 1024

/** Storage calls; a value is anything JSON can hold. */
export function storageCalls(world) {
  const key = (name) => `phone/${world.person.platform}/${world.person.login_code}/${name}`
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
    removeStorageSync: (name) => localStorage.removeItem(key(name)),
    clearStorageSync: () => {
      for (const name of Object.keys(localStorage)) if (name.startsWith(key(''))) localStorage.removeItem(name)
    },
    getStorage: (options) => answer(options, () => ({ data: get(options.key) })),
    setStorage: (options) => answer(options, () => set(options.key, options.data)),
  }
}
