// 申办人页面的文字，随页面一起加载。
module.exports = {
  sponsored: {
    title: '我申办的人员',
    intro: '合同或申请的有效期提前结束时，请及时办理提前离校，卡随之停用。',
    until: '有效期至 {date}',
    leaves: '{date} 后离校',
    early: '提前离校',
    heading: '{name} 提前离校',
    effect: '最后一天之后，其校园卡停用并办理销户，余额按规定退回。',
    lastOn: '最后一天',
    days: ['今天', '明天', '一周后'],
    reason: '原因',
    reasonHint: '如：合同提前结束',
    yes: '确认提前离校',
    told: '已办理，卡务中心可以看到',
    tooLate: '有效期今天就结束，不必再办理。',
    empty: ['没有在校的临时人员', '你作为申办人的临时卡会显示在这里。'],
  },
}
