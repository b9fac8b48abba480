// Makes miniprogram/lib/ed25519.js and miniprogram/lib/nacl.js from the packages named in package.json.
//
//   node runtime/vendor.mjs            writes miniprogram/lib/
//   node runtime/vendor.mjs --out DIR  writes DIR instead (the freshness test compares it with miniprogram/lib/)
//
// Both export getPublicKey(seed), sha512(message) and sign(message, seed). An engine without BigInt must be able to
// read the first file too, because WeChat joins all files into one: its literals become calls, made once.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as esbuild from 'esbuild'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const packages = join(root, 'node_modules')
const out = process.argv.includes('--out')
  ? resolve(process.argv[process.argv.indexOf('--out') + 1])
  : join(root, 'miniprogram/lib')

const LIBRARIES = {
  'ed25519.js': {
    packages: ['@noble/ed25519', '@noble/hashes'],
    entry: `
      import { getPublicKey, hashes, sign } from '@noble/ed25519'
      import { sha512 } from '@noble/hashes/sha2.js'
      hashes.sha512 = sha512
      export { getPublicKey, sha512, sign }`,
    // As TypeScript, so that fields are set and not defined: each point has four, and there are thousands.
    options: { loader: { '.js': 'ts' }, tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } } },
  },
  'nacl.js': {
    packages: ['tweetnacl'],
    entry: `
      import nacl from 'tweetnacl'
      const pairOf = (seed) => nacl.sign.keyPair.fromSeed(seed)
      export const getPublicKey = (seed) => pairOf(seed).publicKey
      export const sha512 = nacl.hash
      export const sign = (message, seed) => nacl.sign.detached(message, pairOf(seed).secretKey)`,
    // It would look for random numbers in a browser or in Node. Ed25519 needs none to sign.
    options: { define: { self: 'undefined', require: 'undefined' } },
  },
}

/** DevTools turns ** into Math.pow, which refuses a BigInt. */
const withoutPower = {
  name: 'without-power',
  setup(plugin) {
    plugin.onLoad({ filter: /@noble\/ed25519\/index\.js$/ }, ({ path }) => {
      const parts = readFileSync(path, 'utf8').split('2n ** 256n')
      if (parts.length !== 2) throw new Error(`${path} does not say 2n ** 256n exactly once`)
      return { contents: parts.join('1n << 256n'), loader: 'ts' }
    })
  },
}

/** Gives each small BigInt that esbuild wrote as a call a name, so that no loop makes it again. */
function hoistBigInts(code) {
  const values = new Set()
  const named = code.replace(/\/\* @__PURE__ \*\/ BigInt\("(\d+)"\)/g, (_, value) => {
    values.add(value)
    return `big_${value}`
  })
  return [...values].map((value) => `var big_${value} = BigInt("${value}");\n`).join('') + named
}

function licenceOf(name) {
  const { version, homepage } = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8'))
  const licence = readFileSync(join(packages, name, 'LICENSE'), 'utf8').trim()
  return `${name} ${version}, bundled for a mini program by runtime/vendor.mjs. See ${homepage}\n\n${licence}`
}

mkdirSync(out, { recursive: true })
for (const [file, library] of Object.entries(LIBRARIES)) {
  const { outputFiles } = await esbuild.build({
    stdin: { contents: library.entry, resolveDir: root },
    absWorkingDir: root,
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2019',
    legalComments: 'none',
    plugins: [withoutPower],
    ...library.options,
  })
  const code = outputFiles[0].text.replace(/export \{([^}]*)\};\s*$/, (_, names) => {
    const members = names.trim().split(/\s*,\s*/).map((name) => name.replace(/^(\w+) as (\w+)$/, '$2: $1'))
    return `module.exports = { ${members.join(', ')} };\n`
  })
  const licences = library.packages.map(licenceOf).join('\n\n')
  writeFileSync(join(out, file), `// @ts-nocheck\n/*\n${licences}\n*/\n${hoistBigInts(code)}`)
}
