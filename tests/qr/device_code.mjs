// Runs the phone's device-code.js as a mini program does: `node device_code.mjs bigint|none <order.json`.
// The order is {seed, challenge, account, showings: [{delegation, scope, issuedAt, sequence}]}, bytes in hex.

import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import vm from 'node:vm'

const program = new URL('../../miniprogram-mock/miniprogram/', import.meta.url)
const order = JSON.parse(readFileSync(0, 'utf8'))
const context = vm.createContext({ order, console })
// WeChat has neither Node's nor a browser's globals, and an old phone has no BigInt.
if (process.argv[2] === 'none') vm.runInContext('delete globalThis.BigInt', context)
const wx = vm.runInContext(
  `({ getRandomValues: ({ length, success }) => success({ randomValues: new Uint8Array(length).fill(7).buffer }) })`,
  context,
)

const loaded = {}
function load(path) {
  if (!loaded[path]) {
    loaded[path] = { exports: {} }
    const code = readFileSync(new URL(path, program), 'utf8')
    const define = vm.compileFunction(code, ['require', 'module', 'exports', 'wx'], { parsingContext: context, filename: path })
    define((name) => load(posix.join(posix.dirname(path), name)), loaded[path], loaded[path].exports, wx)
  }
  return loaded[path].exports
}

context.phone = load('utils/device-code.js')
const answer = await vm.runInContext(
  `(async () => {
    const bytes = (hex) => Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16))
    const hex = (all) => Array.from(all, (byte) => byte.toString(16).padStart(2, '0')).join('')
    const seed = bytes(order.seed)
    const make = (showing) => {
      try {
        return phone.makeDeviceCode({ ...showing, seed, delegation: bytes(showing.delegation) })
      } catch (error) {
        return error.name
      }
    }
    return {
      bigint: typeof BigInt,
      fresh: hex(await phone.makeSeed()),
      publicKey: hex(phone.publicKey(seed)),
      enrolmentProof: hex(phone.enrolmentProof(seed, bytes(order.challenge), bytes(order.account))),
      codes: order.showings.map(make),
    }
  })()`,
  context,
)
console.log(JSON.stringify({ ...answer, loaded: Object.keys(loaded) }))
