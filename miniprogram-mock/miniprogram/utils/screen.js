// What every page shares: its words, its title, the type size.

const holder = require('./holder.js')
const i18n = require('./i18n.js')
const platform = require('./platform.js')

const CARE_SCALE = 1.29

/**
 * Completes a page's definition. `name` is its section in the dictionaries; the page reads it as {{t.…}}.
 * @param {string} name
 * @param {any} definition
 */
function screen(name, definition) {
  const { onLoad, onShow } = definition
  return {
    ...definition,
    data: { ...definition.data, ...shared(name) },
    onLoad(query) {
      this.setData(shared(name)) // the language may have changed since this file was read
      if (onLoad) onLoad.call(this, query)
    },
    onShow() {
      const ending = holder.ending()
      platform.setTitle(i18n.words(name).title + (ending && ` · ${i18n.words('cards')[ending]}`)) // 销户中, on every page
      i18n.words('tabs').forEach((text, index) => platform.setTabText(index, text))
      if (onShow) onShow.call(this)
    },
  }
}

function shared(name) {
  const scale = platform.typeScale()
  return { t: i18n.words(name), c: i18n.words('common'), scale, care: scale >= CARE_SCALE ? 'care' : '' }
}

module.exports = { screen }
