// 我的数据的文字，随页面一起加载。
module.exports = {
  data: {
    title: '我的数据',
    what: '个人信息副本',
    text: '系统保存的与你有关的全部记录。证件号码从不保存。文件里有消费和通行记录，请妥善保管。',
    download: '下载我的数据',
    copied: '已复制，粘贴到别处保存',
    kept: '保存了什么',
    rows: '{count} 条',
    looked: '谁看过我的信息',
    nobody: '没有工作人员查看过',
    revealed: '看到了完整姓名',
    masked: '只看到打码信息',
    reasons: { present: '本人在场', called: '本人来电', reconciliation: '对账', case: '处理差错' },
    groups: { person: '身份与名册', phone: '绑定与登录', cards: '卡与办理', money: '钱', gates: '通行', notices: '消息', log: '操作台账', other: '其他' },
    roles: {
      card_centre: '卡务中心',
      finance: '计划财务处',
      logistics: '后勤保卫处',
      academic: '教务处',
      student_affairs: '学生工作处',
      personnel: '人事处',
      auditor: '审计',
      system_administrator: '系统管理员',
      none: '工作人员',
    },
  },
}
