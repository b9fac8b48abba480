// 余额退回的文字，随页面一起加载。
module.exports = {
  refund: {
    title: '余额退回',
    most: '可原路退回',
    rule: '退回付款时的微信或支付宝，先退最近的充值。申请后这笔钱不能再消费。',
    amount: '退回金额',
    paidAt: '充值于 {time}',
    give: '退回 {amount}',
    choose: '请填写金额',
    range: '请输入 {least} 至 {most}',
    sure: '确认退回？',
    sureText: '{amount} 将退回付款账户，退不了的会回到余额。',
    yes: '退回',
    taken: '已申请退回',
    stays: '不能退回的部分',
    rests: {
      subsidy: '补贴不是充值，不能退回',
      'too-old': '充值已超过支付渠道的退款期限，请到卡务中心',
      'payment-not-refundable': '支付渠道已停用，或退款次数已满，请到卡务中心',
      cash: '现金充值，请到卡务中心办理',
      'spent-or-other': '不是在线充值的余额，请到卡务中心咨询',
    },
    list: '退回记录',
    empty: '还没有退回记录',
    states: { processing: '处理中', succeeded: '已退回', returned: '退回失败，已回到余额', abnormal: '渠道退不了，财务处理中', paid_out: '已线下退款' },
  },
}
