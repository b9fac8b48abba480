// Navigation, toasts, modals, action sheets and loading marks.

import { answer } from './index.js'
import { h } from '../dom.js'

const TOAST_MS = 1500

/** Calls that move between pages or cover them for a moment. */
export function pageCalls(world) {
  const move = (name) => (options) =>
    answer(options, async () => {
      await world.program.fetch(options.url)
      return world.router[name](options.url)
    })
  let toast = null
  const hideToast = () => {
    toast?.remove()
    toast = null
  }
  const showToast = (options, loading = false) => {
    hideToast()
    toast = h(
      'div', { class: 'toast', role: 'status' },
      loading ? h('i', { class: 'toast-spinner', 'aria-hidden': 'true' }) : null,
      options.title,
    )
    world.phone.layers.append(toast)
    if (!loading) setTimeout(hideToast, options.duration ?? TOAST_MS)
    answer(options, () => ({}))
  }

  return {
    navigateTo: move('navigateTo'),
    redirectTo: move('redirectTo'),
    switchTab: move('switchTab'),
    reLaunch: move('reLaunch'),
    navigateBack: (options = {}) => answer(options, () => world.router.navigateBack(options.delta)),
    setNavigationBarTitle: (options) => answer(options, () => world.router.setTitle(options.title)),
    setTabBarItem: (options) => answer(options, () => world.router.setTabText(options.index, options.text)),
    stopPullDownRefresh: (options) => answer(options, () => ({})),
    pageScrollTo: (options) => answer(options, () => world.router.current.holder.scrollTo({ top: options.scrollTop })),
    showToast: (options) => showToast(options),
    hideToast: (options) => answer(options, hideToast),
    showLoading: (options) => showToast(options, true),
    hideLoading: (options) => answer(options, hideToast),
    showModal: (options) => answer(options, () => showModal(world, options)),
    showActionSheet: (options) => answer(options, () => showActionSheet(world, options)),
  }
}

function showModal(world, options) {
  return new Promise((resolve) => {
    const end = (confirm) => () => {
      uncover()
      resolve({ confirm, cancel: !confirm })
    }
    const cancel =
      options.showCancel === false
        ? null
        : h('button', { class: 'modal-cancel', onclick: end(false) }, options.cancelText ?? '取消')
    const uncover = world.phone.cover(
      h(
        'div', { class: 'mask', role: 'dialog', 'aria-modal': 'true', 'aria-label': options.title ?? options.content },
        h(
          'div', { class: 'modal' },
          options.title ? h('h2', {}, options.title) : null,
          h('p', {}, options.content ?? ''),
          h(
            'div', { class: 'modal-buttons' }, cancel,
            h('button', { class: 'modal-confirm', onclick: end(true) }, options.confirmText ?? '确定'),
          ),
        ),
      ),
    )
  })
}

function showActionSheet(world, options) {
  return new Promise((resolve, reject) => {
    const end = (act) => () => {
      uncover()
      act()
    }
    const uncover = world.phone.cover(
      h(
        'div', { class: 'mask mask-bottom', role: 'dialog', 'aria-modal': 'true', 'aria-label': options.alertText ?? '请选择' },
        h(
          'div', { class: 'action-sheet' },
          options.alertText ? h('p', {}, options.alertText) : null,
          ...options.itemList.map((text, tapIndex) => h('button', { onclick: end(() => resolve({ tapIndex })) }, text)),
          h('button', { class: 'action-cancel', onclick: end(() => reject({ errMsg: 'showActionSheet:fail cancel' })) }, '取消'),
        ),
      ),
    )
  })
}
