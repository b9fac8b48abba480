// The words of this page, loaded with it.
module.exports = {
  refund: {
    title: 'Send balance back',
    most: 'Can go back',
    rule: 'It goes back to the WeChat or Alipay account that paid, newest top-up first. From then on it cannot be spent.',
    amount: 'Amount',
    paidAt: 'topped up {time}',
    give: 'Send {amount} back',
    choose: 'Enter an amount',
    range: 'Enter {least} to {most}',
    sure: 'Send it back?',
    sureText: '{amount} will go to the account that paid. What cannot be sent returns to your balance.',
    yes: 'Send back',
    taken: 'Asked for',
    stays: 'What stays',
    rests: {
      subsidy: 'Subsidies were not paid in and do not go back',
      'too-old': 'Topped up too long ago for its channel: ask the card centre',
      'payment-not-refundable': 'Its channel is off, or was asked too often: ask the card centre',
      cash: 'Paid in cash: ask the card centre',
      'spent-or-other': 'Not from a top-up on the phone: ask the card centre',
    },
    list: 'Sent back before',
    empty: 'Nothing was sent back yet',
    states: { processing: 'In progress', succeeded: 'Sent back', returned: 'Failed, back in your balance', abnormal: 'Channel cannot send it, finance will', paid_out: 'Paid by hand' },
  },
}
