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
  for (const [path, config] of Object.entries(configs)) {
    const isComponent = Boolean(config.component)
    space.addComponentStaticConfig(path, isComponent ? { styleIsolation: 'apply-shared', ...config } : config)
    space.addCompiledTemplate(path, { groupList: templates, content: templates[path] })
    if (isComponent) space.addStyleSheet(path, undefined, path.split('/')[1])
  }

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
  for (const path of Object.keys(configs)) space.componentEnv(path, (definers) => load(`${path}.js`, definers))
  load('app.js')
  app.onLaunch?.({ path: appConfig.pages[0], query: {}, scene: 1001 })

  return {
    app,
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
