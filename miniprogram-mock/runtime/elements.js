// What WXML's own tags become in the DOM: <view> a <div>, <text> a <span>, and so on.
// glass-easel draws through this "document"; a tag outside the table is a fault, never a silent guess.

import * as glassEasel from 'glass-easel'
import { configs } from 'mini-program'

const TAGS = {
  view: 'div',
  text: 'span',
  image: 'img',
  button: 'button',
  input: 'input',
  canvas: 'canvas',
  'scroll-view': 'div',
}

const COMPONENTS = new Set(Object.values(configs).flatMap((config) => Object.keys(config.usingComponents ?? {})))
const TAPPABLE_ROLES = ['button', 'tab', 'link', 'switch', 'radio', 'checkbox', 'menuitem', 'option']
const INPUT_TYPES = { digit: 'decimal', number: 'numeric', idcard: 'text', text: 'text' }

/** The backend glass-easel draws on: the DOM, minus everything a strict content security policy forbids. */
export class PhoneBackend extends glassEasel.CurrentWindowBackendContext {
  constructor() {
    super()
    this.document = {
      createElement: (tag) => createElement(tag),
      createTextNode: (content) => document.createTextNode(content),
      createDocumentFragment: () => document.createDocumentFragment(),
    }
  }
}

function createElement(tag) {
  const name = TAGS[tag] ?? (COMPONENTS.has(tag) ? 'div' : null)
  if (!name) throw new Error(`<${tag}> is not emulated: see runtime/elements.js`)
  const element = document.createElement(name)
  if (tag in TAGS) element.classList.add(`wx-${tag}`)
  const plain = element.setAttribute.bind(element)
  element.setAttribute = (attribute, value) => setAttribute(element, tag, attribute, value, plain)
  if (tag === 'button') element.type = 'button'
  if (tag === 'image') element.alt = ''
  if (tag === 'input') listenToInput(element)
  return element
}

function setAttribute(element, tag, attribute, value, plain) {
  if (attribute === 'style') {
    element.style.cssText = value // the attribute itself would need 'unsafe-inline'
  } else if (attribute === 'aria-role') {
    plain('role', value)
    if (TAPPABLE_ROLES.includes(value)) element.tabIndex = 0
  } else if (tag === 'image' && attribute === 'src') {
    plain('src', value.replace(/^\//, ''))
  } else if (tag === 'image' && attribute === 'aria-label') {
    element.alt = value
  } else if (tag === 'input' && attribute === 'value') {
    if (element.value !== value) element.value = value
  } else if (tag === 'input' && attribute === 'type') {
    if (!(value in INPUT_TYPES)) throw new Error(`<input type="${value}"> is not emulated`)
    element.inputMode = INPUT_TYPES[value]
  } else if (tag === 'input' && attribute === 'password') {
    element.type = 'password'
  } else if (tag === 'canvas' && attribute === 'type') {
    if (value !== '2d') throw new Error(`<canvas type="${value}"> is not emulated`)
  } else {
    plain(attribute, value)
  }
}

/** A mini program's input tells its value in event.detail, the DOM's does not. */
function listenToInput(element) {
  const tell = (name) =>
    element.__wxElement.triggerEvent(name, { value: element.value, cursor: element.selectionStart })
  for (const [native, name] of [['input', 'input'], ['focus', 'focus'], ['blur', 'blur']]) {
    element.addEventListener(native, (event) => {
      event.stopImmediatePropagation()
      tell(name)
    })
  }
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') tell('confirm')
  })
}

/** Shows data-* in the DOM too, where tests and assistive tools can read them. */
export function reflectDatasets() {
  const keep = glassEasel.Element.prototype.setDataset
  glassEasel.Element.prototype.setDataset = function (name, value) {
    keep.call(this, name, value)
    const element = this.getBackendElement()
    if (element?.dataset && ['string', 'number', 'boolean'].includes(typeof value)) {
      element.dataset[name] = value
    }
  }
}

/** Fingers, mice, keyboards and screen readers all "click" in a browser; a mini program only knows "tap". */
export function translateClicks(root) {
  root.addEventListener('keydown', (event) => {
    const target = event.target
    if (!['Enter', ' '].includes(event.key) || !target.getAttribute('role') || target.tagName === 'BUTTON') return
    event.preventDefault()
    target.click()
  })
  root.addEventListener('click', (event) => {
    let node = event.target
    while (node && !node.__wxElement) node = node.parentNode
    node?.__wxElement.triggerEvent('tap', { x: event.clientX, y: event.clientY }, { bubbles: true, composed: true })
  })
  root.addEventListener('pointerdown', (event) => {
    const target = event.target.closest?.('[hover-class]')
    if (!target) return
    const pressed = target.getAttribute('hover-class')
    target.classList.add(pressed)
    const release = () => target.classList.remove(pressed)
    addEventListener('pointerup', release, { once: true })
    addEventListener('pointercancel', release, { once: true })
  })
}
