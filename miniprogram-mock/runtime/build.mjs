// Builds the phone: miniprogram/ (WXML, WXSS, JS, JSON) and runtime/ become three static files in phone/, and one
// for each package that is loaded with its first page (subPackages in app.json; its styles are in phone.css).
//
//   node runtime/build.mjs            writes phone/
//   node runtime/build.mjs --out DIR  writes DIR instead (the freshness test compares it with phone/)
//   node runtime/build.mjs --check    compiles the templates only and reports their faults
//
// The bundle's first line carries the SHA-256 of every source file, so that its freshness can be judged without Node.

import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as esbuild from 'esbuild'
import { TmplGroup } from 'glass-easel-template-compiler'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const source = join(root, 'miniprogram')
const out = process.argv.includes('--out')
  ? resolve(process.argv[process.argv.indexOf('--out') + 1])
  : join(root, 'phone')

// A browser that can run the bundle has BigInt and never asks for these.
const NOT_FOR_BROWSERS = ['lib/nacl.js']

/** Every file below a folder, as sorted paths with forward slashes relative to miniprogram-mock/. */
function filesBelow(folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort()
}

function sourceHash() {
  const hash = createHash('sha256')
  for (const path of ['package.json', ...filesBelow('miniprogram'), ...filesBelow('runtime')].sort()) {
    const bytes = readFileSync(join(root, path))
    hash.update(`${path}\0${bytes.length}\0`).update(bytes)
  }
  return hash.digest('hex')
}

/** The scope name of a component's styles: components/card-face/index -> card-face. */
const scopeOf = (path) => path.split('/')[1]

/** A component sees only its own classes, so each is prefixed exactly as the runtime prefixes it in the DOM. */
function scopeComponentStyle(wxss, path) {
  return wxss.replace(/([^{}]+)\{/g, (rule, selector) =>
    selector.trim().startsWith('@')
      ? rule
      : `${selector.replace(/\.([a-zA-Z_][\w-]*)/g, `.${scopeOf(path)}--$1`).replace(/:host/g, `[wx-host="${scopeOf(path)}"]`)}{`,
  )
}

/** A page's styles hold on that page alone. */
function scopePageStyle(wxss, path) {
  return wxss.replace(/([^{}]+)\{/g, (rule, selector) => {
    const text = selector.trim()
    if (text.startsWith('@') || /^(from|to|[\d.]+%)/.test(text)) return rule
    const scoped = text
      .split(',')
      .map((one) => `.wx-page[data-page="${path}"] ${one.trim()}`.replace(/ page\b/, ''))
    return `\n${scoped.join(',')} {`
  })
}

const stripComments = (css) => css.replace(/\/\*[\s\S]*?\*\//g, '')

function readApp() {
  const files = filesBelow('miniprogram').map((path) => path.slice('miniprogram/'.length))
  const text = (path) => readFileSync(join(source, path), 'utf8')
  const appConfig = JSON.parse(text('app.json'))
  const roots = (appConfig.subPackages ?? []).map(({ root }) => root)
  const rootOf = (path) => roots.find((root) => path.startsWith(`${root}/`)) ?? ''
  const views = files.filter((path) => path.endsWith('.wxml')).map((path) => path.slice(0, -5))
  const pages = [...appConfig.pages, ...(appConfig.subPackages ?? []).flatMap((one) => one.pages.map((page) => `${one.root}/${page}`))]
  const faults = pages.filter((page) => !views.includes(page)).map((page) => `app.json names ${page}, which has no template`)
  const packages = ['', ...roots].map((root) => {
    const group = new TmplGroup()
    const own = views.filter((path) => rootOf(path) === root)
    for (const path of own) {
      for (const fault of group.addTmpl(path, text(`${path}.wxml`)) ?? []) {
        faults.push(`${path}.wxml: ${fault.message ?? JSON.stringify(fault)}`)
      }
    }
    return {
      root,
      configs: Object.fromEntries(own.map((path) => [path, JSON.parse(text(`${path}.json`))])),
      modules: files
        .filter((path) => path.endsWith('.js') && rootOf(path) === root && !NOT_FOR_BROWSERS.includes(path))
        .map((path) => [path, text(path)]),
      templates: group.getTmplGenObjectGroups(),
    }
  })
  if (faults.length) throw new Error(faults.join('\n'))
  const style = (path) => (files.includes(`${path}.wxss`) ? stripComments(text(`${path}.wxss`)) : '')
  const css = [
    style('app').replace(/(^|[\s,}])page(?=[\s,{.])/g, '$1.wx-page'),
    ...views.map((path) =>
      path.startsWith('pages/') ? scopePageStyle(style(path), path) : scopeComponentStyle(style(path), path),
    ),
  ].join('\n')
  return { appConfig: { ...appConfig, pages }, packages, css }
}

// What a mini program's module may see. The browser's own globals are shadowed: WeChat has none of them.
const MODULE_SCOPE = [
  'require', 'module', 'exports', 'wx', 'my', 'App', 'Page', 'Component', 'Behavior', 'getApp', 'getCurrentPages', 'Date',
  'window', 'document', 'self', 'globalThis', 'fetch', 'XMLHttpRequest', 'localStorage', 'sessionStorage', 'navigator', 'location',
]

/** One package of the mini program as a module: the main one, or one that is loaded with its first page (分包). */
function packageModule({ configs, modules, templates }) {
  const factories = modules.map(
    ([path, code]) => `${JSON.stringify(path)}: function (${MODULE_SCOPE.join(', ')}) {\n${code}\n}`,
  )
  return `
export const configs = ${JSON.stringify(configs)}
export const templates = ${templates}
export const modules = {${factories.join(',\n')}}`
}

/** The file of a package that is loaded later: pages/refund -> pages-refund.js. */
const fileOf = (root) => `${root.replaceAll('/', '-')}.js`

async function build() {
  const app = readApp()
  const stamp = sourceHash()
  rmSync(out, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  const [main, ...later] = app.packages
  const shared = { minify: true, format: 'esm', target: 'es2022', charset: 'utf8', legalComments: 'none' }
  const contents = `export const appConfig = ${JSON.stringify(app.appConfig)}${packageModule(main)}`
  const result = await esbuild.build({
    ...shared,
    entryPoints: [join(root, 'runtime/main.js')],
    bundle: true,
    write: false,
    plugins: [
      {
        name: 'mini-program',
        setup(plugin) {
          plugin.onResolve({ filter: /^mini-program$/ }, () => ({ path: 'mini-program', namespace: 'app' }))
          plugin.onLoad({ filter: /.*/, namespace: 'app' }, () => ({ contents, loader: 'js' }))
        },
      },
    ],
  })
  for (const one of later) {
    const { code } = await esbuild.transform(packageModule(one), { ...shared, loader: 'js' })
    forbidEvaluation(code)
    writeFileSync(join(out, fileOf(one.root)), code)
  }
  const css = await esbuild.transform(
    `${readFileSync(join(root, 'runtime/chrome.css'), 'utf8')}\n${app.css}`,
    { loader: 'css', minify: true, charset: 'utf8' },
  )
  const licences = readFileSync(join(root, 'runtime/LICENCES.txt'), 'utf8').trim()
  const text = result.outputFiles[0].text
  forbidEvaluation(text)
  writeFileSync(join(out, 'bundle.js'), `/* sources sha256:${stamp} */\n/*\n${licences}\n*/\n${text}`)
  writeFileSync(join(out, 'phone.css'), css.code)
  writeFileSync(join(out, 'index.html'), readFileSync(join(root, 'runtime/index.html')))
  cpSync(join(source, 'images'), join(out, 'images'), { recursive: true })
}

function forbidEvaluation(code) {
  if (/\bnew Function\s*\(|\beval\s*\(/.test(code)) throw new Error('the bundle would need unsafe-eval')
}

if (process.argv.includes('--check')) {
  readApp()
} else {
  await build()
}
