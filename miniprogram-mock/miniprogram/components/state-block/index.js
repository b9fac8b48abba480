/** One state told plainly: what it is, what it means, what to do. `words` is [title, text, button]. */
Component({
  properties: {
    state: String,
    words: { type: Array, value: [] },
    icon: String,
    tone: { type: String, value: 'plain' },
    reference: String,
  },
  methods: {
    act() {
      this.triggerEvent('act', { state: this.data.state })
    },
  },
})
