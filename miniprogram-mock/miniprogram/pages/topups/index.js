const api = require('../../utils/api.js')
const clock = require('../../utils/clock.js')
const i18n = require('../../utils/i18n.js')
const money = require('../../utils/money.js')
const platform = require('../../utils/platform.js')
const { screen } = require('../../utils/screen.js')

/** 充值记录: every order with its state, as our server knows it. */
Page(
  screen('topups', {
    data: { rows: null, problem: null },

    async onShow() {
      try {
        const { items } = await api.call('GET', '/me/top-ups')
        const states = i18n.words('topup').states
        const channels = i18n.words('channels')
        this.setData({
          rows: items.map((order) => ({
            id: order.id,
            state: order.state,
            channel: channels[order.channel],
            amount: money.yuan(order.amount_fen),
            word: states[order.state],
            back: order.refunded_fen ? i18n.fill(this.data.t.refunded, { amount: money.yuan(order.refunded_fen) }) : '',
            at: clock.stamp(order.paid_at || order.expires_at),
          })),
        })
      } catch (refusal) {
        this.setData({ problem: i18n.problem(refusal) })
      }
    },

    refund() {
      platform.go('/pages/refund/index')
    },
  }),
)
