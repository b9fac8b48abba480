// 订阅消息: the sheet on which WeChat asks whether a mini program may write. What is allowed, the sandbox is told.

import { answer } from './index.js'
import { h } from '../dom.js'

const MOST = 5

/** wx.requestSubscribeMessage: resolves with accept or reject for each template. */
export function subscriptionCalls(world) {
  return {
    requestSubscribeMessage: (options) =>
      answer(options, async () => {
        if (options.tmplIds.length === 0 || options.tmplIds.length > MOST) {
          throw { errMsg: 'requestSubscribeMessage:fail templates count out of max bounds' }
        }
        const titles = await templateTitles()
        const accepted = await ask(world, options.tmplIds, titles)
        if (accepted.length > 0) await tell(world, accepted)
        return Object.fromEntries(options.tmplIds.map((id) => [id, accepted.includes(id) ? 'accept' : 'reject']))
      }),
  }
}

async function templateTitles() {
  const response = await fetch('/sandbox/control/templates', { cache: 'no-store' })
  if (!response.ok) throw { errMsg: 'requestSubscribeMessage:fail network' }
  const { items } = await response.json()
  return new Map(items.map(({ id, title }) => [id, title]))
}

/** The person's answer is between them and WeChat: it reaches the sandbox before the mini program. */
async function tell(world, templateIds) {
  await fetch('/sandbox/control/consents', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ login_code: world.person.login_code, template_ids: templateIds }),
  })
}

function ask(world, templateIds, titles) {
  return new Promise((resolve) => {
    const boxes = templateIds.map((id) => {
      const box = h('input', { type: 'checkbox', checked: '' })
      box.dataset.template = id
      return { id, box, line: h('label', { class: 'subscribe-line' }, h('span', {}, titles.get(id) ?? id), box) }
    })
    const end = (allowed) => () => {
      uncover()
      resolve(allowed ? boxes.filter(({ box }) => box.checked).map(({ id }) => id) : [])
    }
    const choice = (name, text, className, allowed) => {
      const button = h('button', { class: className, onclick: end(allowed) }, text)
      button.dataset.subscribe = name
      return button
    }
    const uncover = world.phone.cover(
      h(
        'div', { class: 'mask mask-bottom', role: 'dialog', 'aria-modal': 'true', 'aria-label': '订阅消息（模拟）' },
        h(
          'div', { class: 'cashier cashier-wechat' },
          h('p', { class: 'cashier-brand' }, h('b', {}, '校园卡'), h('span', { class: 'cashier-mock' }, '模拟')),
          h('p', { class: 'cashier-payee' }, '申请向你发送以下消息'),
          ...boxes.map(({ line }) => line),
          choice('accept', '允许', 'cashier-pay', true),
          h('div', { class: 'cashier-rest' }, choice('reject', '拒绝', 'cashier-plain', false)),
        ),
      ),
    )
  })
}
