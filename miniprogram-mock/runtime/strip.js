// The strip outside the phone: who am I, network, clock, type size. It belongs to the demo, not to the mini program.

import { h } from './dom.js'

const SKEWS = [['0', '时钟准确'], ['180', '快 3 分钟'], ['-180', '慢 3 分钟'], ['3600', '快 1 小时']]
const NOTES = { '': '正常', expired: '已过期', lost: '已挂失', 'short of money': '余额少', unbound: '未绑定' }
const SIZES = [['17', '标准字号'], ['20', '大字'], ['24', '特大字']]

/** Draws the strip. Choosing another person starts the page anew as that person. */
export function drawStrip(world, people) {
  const choose = (options, value, label, act) =>
    h(
      'select', { 'aria-label': label, onchange: (event) => act(event.target.value) },
      ...options.map(([key, text]) => h('option', { value: key, selected: key === value }, text)),
    )
  const person = people.length
    ? choose(
        people.map((one, index) => [String(index), `${one.name} · ${NOTES[one.note] ?? one.note}`]),
        String(people.findIndex((one) => one.login_code === world.person.login_code && one.platform === world.person.platform)),
        '我是谁',
        (index) => becomes(people[index]),
      )
    : h('b', {}, world.person.login_code)
  const network = h('button', { class: 'strip-network', 'aria-pressed': 'false', onclick: () => world.setOnline(!world.online) }, '断网')
  world.onStripNetwork = (online) => network.setAttribute('aria-pressed', String(!online))
  const clock = choose(SKEWS, '0', '手机时钟', (seconds) => world.setSkew(Number(seconds)))
  const size = choose(SIZES, '17', '系统字号', (px) => world.setFontSize(Number(px)))
  const capture = h('button', { onclick: () => world.capture() }, '截屏')
  return h('aside', { class: 'strip', 'aria-label': '演示控制' }, h('span', {}, '演示'), person, network, clock, size, capture)
}

function becomes(person) {
  location.search = new URLSearchParams({ login: person.login_code, platform: person.platform })
}
