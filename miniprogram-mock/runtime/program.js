// Loads the mini program's modules into glass-easel: App(), Page(), Component(), require().

import * as glassEasel from 'glass-easel'
import { MiniProgramEnv } from 'glass-easel-miniprogram-adapter'
import { appConfig, configs, modules, templates } from 'mini-program'
import { PhoneBackend, reflectDatasets } from './elements.js'

export { appConfig, configs }

/** Starts the program for one person; `scope` holds wx, my, Date and the page stack. Returns how to open a page. */
export function startProgram(scope) {
  reflectDatasets()
  glassEasel.globalOptions.throwGlobalError = true
  const env = new MiniProgramEnv()
  const backend = env.associateBackend(new PhoneBackend())
  const space = env.createCodeSpace('', true)
  const loaded = {}
  let app = null
  const startApp = (definition) => {
    app = definition
  }
  const load = (path, definers = {}) => {
    if (loaded[path]) return loaded[path].exports
    const factory = modules[path]
    if (!factory) throw new Error(`no module ${path}`)
    const module = { exports: {} }
    loaded[path] = module
    factory(
      (name) => load(resolve(path, name)), module, module.exports,
      scope.wx, scope.my, startApp, definers.Page, definers.Component, definers.Behavior,
      () => app, scope.pages, scope.Date,
    )
    return module.exports
  }
  const install = (own, compiled) => {
    for (const [path, config] of Object.entries(own)) {
      const isComponent = Boolean(config.component)
      space.addComponentStaticConfig(path, isComponent ? { styleIsolation: 'apply-shared', ...config } : config)
      space.addCompiledTemplate(path, { groupList: compiled, content: compiled[path] })
      if (isComponent) space.addStyleSheet(path, undefined, path.split('/')[1])
    }
    for (const path of Object.keys(own)) space.componentEnv(path, (definers) => load(`${path}.js`, definers))
  }
  install(configs, templates)
  load('app.js')
  app.onLaunch?.({ path: appConfig.pages[0], query: {}, scene: 1001 })

  return {
    app,
    /** Loads the package of a page that is not there yet. */
    async fetch(url) {
      const path = url.replace(/^\//, '').split('?')[0]
      const { root } = appConfig.subPackages.find((one) => path.startsWith(`${one.root}/`)) ?? {}
      if (!root || configs[path]) return
      const file = `./${root.replaceAll('/', '-')}.js` // not written in import(): the bundler would look for it
      const more = await import(file)
      if (configs[path]) return // asked for twice at once
      Object.assign(configs, more.configs)
      Object.assign(modules, more.modules)
      install(more.configs, more.templates)
    },
    open(path, query, parent) {
      const root = backend.createRoot('view', space, path)
      const place = document.createElement('div')
      parent.append(place)
      root.attach(parent, place)
      const page = root.get()
      page.route = path
      page.options = query
      page.onLoad?.(query)
      return { path, page, close: () => { page.onUnload?.(); root.release() } }
    },
  }
}

function resolve(from, name) {
  const parts = name.startsWith('/') ? [] : from.split('/').slice(0, -1)
  for (const part of name.split('/')) {
    if (part === '..') parts.pop()
    else if (part && part !== '.') parts.push(part)
  }
  const path = parts.join('/')
  return path.endsWith('.js') ? path : `${path}.js`
}
