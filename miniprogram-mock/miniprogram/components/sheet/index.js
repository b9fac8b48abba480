/** A half-screen dialog. Without `closeLabel` it cannot be dismissed: something is being decided. */
Component({
  properties: {
    open: Boolean,
    name: String,
    heading: String,
    closeLabel: String,
  },
  methods: {
    close() {
      if (this.data.closeLabel) this.triggerEvent('close')
    },
  },
})
