// Signs callbacks as the platforms do, with implementations that nobody of this project wrote:
// npm's wechatpay-axios-plugin, wechatpay-node-v3 and alipay-sdk.
//
//   npm install --no-package-lock
//   node make.mjs fixtures > fixtures.json    new throw-away keys, a frozen time
//   node make.mjs sign < wanted.json          callbacks for these orders, keys and time
//
// `wanted` is an object {now, wechat, alipay}, as `invent` below returns it.  Its private keys go into
// no fixture.

import { execFileSync } from 'node:child_process';
import { createSign, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { Rsa, Aes, Formatter } = require('wechatpay-axios-plugin');
const WxPay = require('wechatpay-node-v3');
const { AlipaySdk } = require('alipay-sdk');

// Later than the certificates are made, or they would not be in date.
const FROZEN = Date.parse('2027-06-01T12:00:00+08:00') / 1000;
const digits = (prefix, length) =>
  prefix + Array.from(randomBytes(length - prefix.length), (byte) => byte % 10).join('');

function invent() {
  const pair = () =>
    generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
  const [byKey, byCertificate, alipay] = [pair(), pair(), pair()];
  const { certificate, serial } = certify(byCertificate.privateKey, 'WeChat Pay');
  const order = { out_trade_no: randomBytes(16).toString('hex'), amount_fen: 1990 };
  return {
    now: FROZEN,
    wechat: {
      app_id: `wx${randomBytes(8).toString('hex')}`,
      merchant_id: digits('19', 10),
      api_v3_key: randomBytes(16).toString('hex'),
      keys: [
        { serial: digits('PUB_KEY_ID_0', 45), private: byKey.privateKey, public: byKey.publicKey },
        { serial, private: byCertificate.privateKey, public: certificate },
      ],
      order,
    },
    alipay: {
      app_id: digits('2021', 16),
      seller_id: digits('2088', 16),
      private: alipay.privateKey,
      public: alipay.publicKey,
      cert_sn: null,
      order: { ...order, out_trade_no: randomBytes(16).toString('hex') },
    },
  };
}

function certify(privateKey, name) {
  const directory = mkdtempSync(join(tmpdir(), 'foreign-'));
  try {
    const [key, certificate] = ['key.pem', 'certificate.pem'].map((file) => join(directory, file));
    writeFileSync(key, privateKey, { mode: 0o600 });
    execFileSync('openssl', [
      ...['req', '-x509', '-new', '-key', key, '-sha256', '-days', '36500', '-out', certificate],
      ...['-subj', `/C=CN/O=Throw-away/OU=Certification Authority/CN=${name}`],
    ]);
    const told = execFileSync('openssl', ['x509', '-in', certificate, '-noout', '-serial']);
    return {
      certificate: readFileSync(certificate, 'utf8'),
      serial: told.toString().trim().replace('serial=', ''),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

// --- WeChat Pay ------------------------------------------------------------------------------------

const rfc3339 = (seconds) =>
  new Date((seconds + 8 * 3600) * 1000).toISOString().replace('.000Z', '+08:00');

function wechatContents({ app_id, merchant_id, order }, now) {
  const { out_trade_no, amount_fen } = order;
  const transaction_id = digits('42', 28);
  const refunded = Math.floor(amount_fen / 2) || 1;
  return {
    paid: [
      'TRANSACTION.SUCCESS',
      {
        mchid: merchant_id,
        appid: app_id,
        out_trade_no,
        transaction_id,
        trade_type: 'JSAPI',
        trade_state: 'SUCCESS',
        trade_state_desc: '支付成功',
        bank_type: 'OTHERS',
        attach: '',
        success_time: rfc3339(now),
        payer: { openid: `o${randomBytes(14).toString('hex').slice(1)}` },
        amount: { total: amount_fen, payer_total: amount_fen, currency: 'CNY', payer_currency: 'CNY' },
      },
    ],
    refunded: [
      'REFUND.SUCCESS',
      {
        mchid: merchant_id,
        out_trade_no,
        transaction_id,
        out_refund_no: randomBytes(16).toString('hex'),
        refund_id: digits('50', 28),
        refund_status: 'SUCCESS',
        success_time: rfc3339(now),
        user_received_account: '支付用户零钱',
        amount: { total: amount_fen, refund: refunded, payer_total: amount_fen, payer_refund: refunded },
      },
    ],
  };
}

function wechatBody(event_type, content, apiV3Key, now) {
  const kind = event_type.startsWith('REFUND') ? 'refund' : 'transaction';
  const nonce = Formatter.nonce(12);
  return JSON.stringify({
    id: randomBytes(16).toString('hex'),
    create_time: rfc3339(now),
    resource_type: 'encrypt-resource',
    event_type,
    summary: kind === 'refund' ? '退款成功' : '支付成功',
    resource: {
      original_type: kind,
      algorithm: 'AEAD_AES_256_GCM',
      ciphertext: Aes.AesGcm.encrypt(JSON.stringify(content), apiV3Key, nonce, kind),
      associated_data: kind,
      nonce,
    },
  });
}

const WECHAT_SIGNERS = {
  'wechatpay-axios-plugin': (message, key) => Rsa.sign(message, Rsa.from(key.private)),
  'wechatpay-node-v3': (message, key) =>
    new WxPay({
      appid: 'any',
      mchid: 'any',
      serial_no: 'any',
      publicKey: Buffer.from(key.public),
      privateKey: Buffer.from(key.private),
    }).sha256WithRsa(message),
};

function wechatNotices(wanted, now) {
  const notices = [];
  for (const [tool, sign] of Object.entries(WECHAT_SIGNERS)) {
    for (const key of wanted.keys) {
      for (const [tells, [event, content]] of Object.entries(wechatContents(wanted, now))) {
        const body = wechatBody(event, content, wanted.api_v3_key, now);
        const nonce = Formatter.nonce();
        notices.push({
          tool,
          tells,
          content,
          headers: {
            'Content-Type': 'application/json',
            'Wechatpay-Timestamp': String(now),
            'Wechatpay-Nonce': nonce,
            'Wechatpay-Serial': key.serial,
            'Wechatpay-Signature': sign(Formatter.response(String(now), nonce, body), key),
            'Wechatpay-Signature-Type': 'WECHATPAY2-SHA256-RSA2048',
          },
          body,
        });
      }
    }
  }
  return notices;
}

// --- Alipay ----------------------------------------------------------------------------------------

const yuan = (fen) => `${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, '0')}`;
const beijing = (seconds) => rfc3339(seconds).slice(0, 19).replace('T', ' ');

function alipayForms({ app_id, seller_id, cert_sn, order }, now) {
  const { out_trade_no, amount_fen } = order;
  const refund = { gmt_refund: `${beijing(now)}.123`, out_biz_no: randomBytes(16).toString('hex') };
  const paid = {
    app_id,
    auth_app_id: app_id,
    seller_id,
    seller_email: 'seller@example.com',
    buyer_open_id: randomBytes(16).toString('hex'),
    out_trade_no,
    trade_no: digits('2026', 28),
    trade_status: 'TRADE_SUCCESS',
    total_amount: yuan(amount_fen),
    receipt_amount: yuan(amount_fen),
    buyer_pay_amount: yuan(amount_fen),
    point_amount: '0.00',
    subject: '校园卡充值 }{"&=%+?#',
    fund_bill_list: `[{"amount":"${yuan(amount_fen)}","fundChannel":"ALIPAYACCOUNT"}]`,
    body: '', // an empty parameter is signed, too
    gmt_create: beijing(now),
    gmt_payment: beijing(now),
    notify_time: beijing(now),
    notify_type: 'trade_status_sync',
    charset: 'utf-8',
    version: '1.0',
    ...(cert_sn ? { alipay_cert_sn: cert_sn } : {}),
  };
  return {
    paid,
    refunded: { ...paid, ...refund, refund_fee: yuan(Math.floor(amount_fen / 2) || 1) },
    'refunded whole': {
      ...paid,
      ...refund,
      refund_fee: yuan(amount_fen),
      trade_status: 'TRADE_CLOSED',
    },
  };
}

function alipayNotices(wanted, now) {
  const sdk = new AlipaySdk({
    appId: wanted.app_id,
    privateKey: wanted.private,
    keyType: 'PKCS8',
    alipayPublicKey: wanted.public,
  });
  return Object.entries(alipayForms(wanted, now)).map(([tells, form]) => {
    const content = { ...form, notify_id: randomBytes(17).toString('hex') };
    const names = Object.keys(content).sort();
    const message = names.map((name) => `${name}=${content[name]}`).join('&');
    const sign = createSign('RSA-SHA256').update(message, 'utf8').sign(wanted.private, 'base64');
    const signed = { ...content, sign_type: 'RSA2', sign };
    if (!sdk.checkNotifySignV2({ ...signed })) throw new Error('alipay-sdk refuses its own kind');
    return { tool: 'alipay-sdk', tells, content, headers: {}, body: new URLSearchParams(signed).toString() };
  });
}

// ---------------------------------------------------------------------------------------------------

function serialNumbers() {
  const made = (type, options, name) => {
    const { privateKey } = generateKeyPairSync(type, {
      ...options,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    return { privateKey, ...certify(privateKey, name) };
  };
  const rsa = ['R1', 'R2'].map((name) => made('rsa', { modulusLength: 2048 }, `Throw-away Root ${name}`));
  const curve = made('ec', { namedCurve: 'P-256' }, 'Throw-away Root E1');
  const chain = [rsa[0], curve, rsa[1]].map((root) => root.certificate).join('\n');
  const { config } = new AlipaySdk({
    appId: 'any',
    privateKey: rsa[0].privateKey,
    keyType: 'PKCS8',
    appCertContent: rsa[0].certificate,
    alipayPublicCertContent: rsa[1].certificate,
    alipayRootCertContent: chain,
  });
  return {
    certificate: rsa[0].certificate,
    cert_sn: config.appCertSn,
    chain,
    root_cert_sn: config.alipayRootCertSn,
  };
}

function sign({ now, wechat, alipay }) {
  return { wechat: wechatNotices(wechat, now), alipay: alipayNotices(alipay, now) };
}

const command = process.argv[2];
let told;
if (command === 'fixtures') {
  const wanted = invent();
  const notices = sign(wanted);
  for (const key of wanted.wechat.keys) delete key.private;
  delete wanted.alipay.private;
  told = { ...wanted, notices, serial_numbers: serialNumbers() };
} else if (command === 'sign') {
  told = sign(JSON.parse(readFileSync(0, 'utf8')));
} else {
  throw new Error('node make.mjs fixtures | sign');
}
process.stdout.write(`${JSON.stringify(told, null, 1)}\n`);
