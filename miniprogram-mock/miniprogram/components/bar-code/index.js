const code128 = require('../../lib/code128.js')
const platform = require('../../utils/platform.js')

const QUIET_MODULES = 10

/** A Code 128-C bar code, a whole number of pixels per module. */
Component({
  properties: {
    text: String,
    label: String,
    width: { type: Number, value: 300 },
    height: { type: Number, value: 72 },
  },
  data: { drawn: '', side: 0 },
  observers: {
    'text, width, height'() {
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
      const { text, width, height } = this.data
      if (!text) return
      const widths = code128.encode(text)
      const modules = widths.reduce((sum, one) => sum + one, 2 * QUIET_MODULES)
      const ratio = platform.pixelRatio()
      const pixel = Math.max(1, Math.floor((width * ratio) / modules))
      this.setData({ side: (pixel * modules) / ratio }, async () => {
        const canvas = await platform.canvas(this, '#canvas')
        if (!canvas || text !== this.data.text) return
        paint(canvas, widths, pixel, pixel * modules, Math.round(height * ratio))
        this.setData({ drawn: text })
      })
    },
  },
})

function paint(canvas, widths, pixel, across, down) {
  canvas.width = across
  canvas.height = down
  const context = canvas.getContext('2d')
  context.fillStyle = '#ffffff'
  context.fillRect(0, 0, across, down)
  context.fillStyle = '#000000'
  let left = QUIET_MODULES * pixel
  widths.forEach((one, index) => {
    if (index % 2 === 0) context.fillRect(left, 0, one * pixel, down)
    left += one * pixel
  })
}
