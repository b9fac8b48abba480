// Where the school's server is. A hosting platform may override it through ext.json (wx.getExtConfigSync).
module.exports = {
  baseUrl: 'https://card.example.edu.cn',
  termsVersion: '2026-09',
}
