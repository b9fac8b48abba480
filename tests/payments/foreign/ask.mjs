// Lets npm's clients of both platforms speak with our sandbox, and judge what it signs.
//
//   node ask.mjs trade < wanted.json     order, ask, refund; prints what the clients were told
//   node ask.mjs judge < notices.json    verify and read notices; prints what they tell

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { Wechatpay, Rsa, Aes, Formatter } = require('wechatpay-axios-plugin');
const WxPay = require('wechatpay-node-v3');
const { AlipaySdk } = require('alipay-sdk');

process.env.TZ = 'Asia/Shanghai'; // alipay-sdk dates requests in the zone of its process
// Nothing here leaves this machine.
for (const name of ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY']) delete process.env[name];

const alipaySdk = (config) => new AlipaySdk({ keyType: 'PKCS8', camelcase: false, ...config });

async function trade({ wechat, alipay }) {
  const pay = new Wechatpay({
    mchid: wechat.merchant_id,
    serial: wechat.merchant_serial,
    privateKey: wechat.private,
    certs: wechat.platform,
    baseURL: wechat.base_url,
    headers: { 'Wechatpay-Serial': Object.keys(wechat.platform)[0] },
  });
  const told = {};
  const transactions = pay.v3.pay.transactions;
  if (wechat.does === 'order') {
    const order = await transactions.native.post({
      mchid: wechat.merchant_id,
      appid: wechat.app_id,
      description: '校园卡充值',
      out_trade_no: wechat.out_trade_no,
      notify_url: wechat.notify_url,
      time_expire: wechat.expires_at,
      amount: { total: 1990, currency: 'CNY' },
    });
    told.wechat = order.data;
  } else {
    const asked = await transactions.outTradeNo._out_trade_no_.get({
      out_trade_no: wechat.out_trade_no,
      params: { mchid: wechat.merchant_id },
    });
    const refund = await pay.v3.refund.domestic.refunds.post({
      transaction_id: asked.data.transaction_id,
      out_refund_no: wechat.out_refund_no,
      reason: '退款',
      amount: { refund: 990, total: 1990, currency: 'CNY' },
    });
    told.wechat = { trade: asked.data, refund: refund.data };
  }
  const sdk = alipaySdk(alipay.sdk);
  const ask = (method, bizContent, more = {}) =>
    sdk.exec(method, { bizContent, ...more }, { validateSign: true });
  if (alipay.does === 'order') {
    told.alipay = await ask(
      'alipay.trade.create',
      {
        out_trade_no: alipay.out_trade_no,
        total_amount: '19.90',
        subject: '校园卡充值',
        product_code: 'JSAPI_PAY',
        op_app_id: alipay.sdk.appId,
        buyer_open_id: alipay.buyer,
        time_expire: alipay.expires_at,
      },
      { notifyUrl: alipay.notify_url },
    );
  } else {
    const trade = await ask('alipay.trade.query', { out_trade_no: alipay.out_trade_no });
    const refund = await ask('alipay.trade.refund', {
      trade_no: trade.trade_no,
      refund_amount: '9.90',
      out_request_no: alipay.out_refund_no,
    });
    told.alipay = { trade, refund };
  }
  return told;
}

async function judge({ wechat, alipay }) {
  const reader = new WxPay({
    appid: 'any',
    mchid: 'any',
    serial_no: 'any',
    publicKey: Buffer.from('any'),
    privateKey: Buffer.from('any'),
    key: wechat.api_v3_key,
  });
  WxPay.certificates = wechat.platform;
  const told = { wechat: [], alipay: [] };
  for (const { headers, body } of wechat.notices) {
    const given = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
    );
    const [timestamp, nonce, signature, serial] = ['timestamp', 'nonce', 'signature', 'serial'].map(
      (name) => given[`wechatpay-${name}`],
    );
    const { resource, event_type } = JSON.parse(body);
    const { ciphertext, associated_data, nonce: iv } = resource;
    const plugin =
      Rsa.verify(Formatter.response(timestamp, nonce, body), signature, Rsa.from(wechat.platform[serial], Rsa.KEY_TYPE_PUBLIC)) &&
      JSON.parse(Aes.AesGcm.decrypt(ciphertext, wechat.api_v3_key, iv, associated_data));
    const verified = await reader.verifySign({ timestamp, nonce, body, serial, signature });
    const v3 = verified && reader.decipher_gcm(ciphertext, associated_data, iv);
    told.wechat.push({ event_type, plugin, v3 });
  }
  const sdk = alipaySdk(alipay.sdk);
  for (const { body } of alipay.notices) {
    const form = Object.fromEntries(new URLSearchParams(body));
    told.alipay.push({ genuine: sdk.checkNotifySignV2({ ...form }), form });
  }
  return told;
}

const commands = { trade, judge };
const told = await commands[process.argv[2]](JSON.parse(readFileSync(0, 'utf8')));
process.stdout.write(`${JSON.stringify(told)}\n`);
