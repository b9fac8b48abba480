const { encode } = require('../../lib/uqr.js')
const platform = require('../../utils/platform.js')

const QUIET_MODULES = 4
const MASK = 3
const DEVICE_CODE_DIGITS = 430

/** A device code is so dense that Q would make its modules too small to read across a counter. */
const correctionFor = (text) => (text.length === DEVICE_CODE_DIGITS ? 'M' : 'Q')

/** A QR code in numeric mode where the text is digits, with a whole number of pixels per module. */
Component({
  properties: {
    text: String,
    label: String,
    width: { type: Number, value: 280 },
  },
  data: { drawn: '', side: 0 },
  observers: {
    'text, width'() {
      this.draw()
    },
  },
  lifetimes: {
    attached() {
      this.draw()
    },
  },
  methods: {
    draw() {
      const { text, width } = this.data
      if (!text) return
      const { data: rows } = encode(text, { ecc: correctionFor(text), maskPattern: MASK, border: QUIET_MODULES })
      const ratio = platform.pixelRatio()
      const pixel = Math.max(1, Math.floor((width * ratio) / rows.length))
      const pixels = pixel * rows.length
      this.setData({ side: pixels / ratio }, async () => {
        const canvas = await platform.canvas(this, '#canvas')
        if (!canvas || text !== this.data.text || width !== this.data.width) return
        paint(canvas, rows, pixel, pixels)
        this.setData({ drawn: text })
        this.triggerEvent('drawn', { text })
      })
    },
  },
})

function paint(canvas, rows, pixel, pixels) {
  canvas.width = pixels
  canvas.height = pixels
  const context = canvas.getContext('2d')
  context.fillStyle = '#ffffff'
  context.fillRect(0, 0, pixels, pixels)
  context.fillStyle = '#000000'
  rows.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (dark) context.fillRect(x * pixel, y * pixel, pixel, pixel)
    }),
  )
}
