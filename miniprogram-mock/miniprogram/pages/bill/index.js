const bills = require('../../utils/bills.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

/** One item of the statement, as the list handed it over. */
Page(
  screen('bill', {
    data: { row: { icon: '' }, facts: [], reference: '' },

    onLoad() {
      const item = platform.load('bill')
      const t = i18n.words('bill')
      const parts = item.amount_parts
      const facts = [
        item.place && [t.place, item.place],
        item.channel && [t.channel, i18n.words('channels')[item.channel] || item.channel],
        [t.time, clock.stamp(item.at)],
        [t.businessDate, item.business_date],
        [t.purse, i18n.words('purses')[item.purse]],
        parts && parts.surcharge_fen && [t.price, money.yuan(parts.price_fen)],
        parts && parts.surcharge_fen && [t.surcharge, money.yuan(parts.surcharge_fen)],
      ].filter(Boolean)
      this.setData({ row: bills.row(item), facts, reference: item.reference || item.receipt_number })
    },

    async copy() {
      await platform.copy(this.data.reference)
      platform.toast(this.data.c.copied)
    },

    async question() {
      if (this.data.reference) await platform.copy(this.data.reference)
      await platform.confirm(this.data.t.question, this.data.t.questionText, this.data.c.confirm, this.data.c.cancel)
    },
  }),
)
