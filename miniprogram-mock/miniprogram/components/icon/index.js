Component({
  properties: {
    name: String,
    size: { type: Number, value: 24 },
  },
})
