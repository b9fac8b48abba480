/** What people read where a till or a gate decides without a server, in the shape of `words.js`. */

import { addWords, spoken } from "./words.js";

const REFUSALS = {
  "clock-behind": [
    ["这台设备的时钟不对，暂时不能脱机工作", "请把设备时间设为自动，联网后恢复"],
    ["This device's clock is wrong, so it cannot work offline", "Set its time to automatic; it recovers once online"],
  ],
  "bundle-missing": [
    ["这台设备还没有脱机数据，不能脱机工作", "请等网络恢复"],
    ["This device has no offline data yet", "Wait for the network"],
  ],
  "bundle-expired": [
    ["脱机数据已过期，不能再脱机工作", "请联网更新后再用"],
    ["The offline data has expired", "Go online to renew it"],
  ],
  "bundle-stale": [
    ["脱机数据太旧，不能确认这张卡", "请等网络恢复，或找值班人员"],
    ["The offline data is too old for this card", "Wait for the network, or call the attendant"],
  ],
  "offline-closed": [
    ["脱机时这里不放行", "请等网络恢复，或找值班人员"],
    ["Nobody passes here while offline", "Wait for the network, or call the attendant"],
  ],
  "offline-not-allowed": [
    ["学校没有开放脱机收款", "请等网络恢复后再收"],
    ["Taking money offline is not allowed here", "Wait for the network"],
  ],
  "code-online-only": [
    ["条形码和短码需要联网", "请同学改出示二维码；手机没网也能用"],
    ["Bar codes and short codes need the network", "Ask for the QR code; it works without network"],
  ],
  "offline-cap-exceeded": [
    ["超出脱机限额", "请等网络恢复，或改用其他方式"],
    ["Over an offline limit", "Wait for the network or pay another way"],
  ],
  "offline-cap-exceeded/per_sale": [
    ["脱机单笔最多 {limit_fen}", "请减少金额，或等网络恢复"],
    ["At most {limit_fen} a sale while offline", "Take less, or wait for the network"],
  ],
  "offline-cap-exceeded/per_card_count": [
    ["这张卡今天在这里的脱机次数已满 {limit} 次", "请等网络恢复，或改用其他方式"],
    ["This card has had its {limit} offline sales here today", "Wait for the network or pay another way"],
  ],
  "offline-cap-exceeded/per_card": [
    ["这张卡今天在这里脱机最多 {limit_fen}", "请减少金额，或等网络恢复"],
    ["At most {limit_fen} a card and day here while offline", "Take less, or wait for the network"],
  ],
  "offline-cap-exceeded/terminal": [
    ["这台设备今天的脱机额度 {limit_fen} 已用完", "请等网络恢复"],
    ["This till has used up its {limit_fen} offline for today", "Wait for the network"],
  ],
  "bundle-forged": [
    ["收到的脱机数据验签不符，没有采用", "请联系卡务中心"],
    ["The offline data received is not the school's; it was not used", "Call the card centre"],
  ],
};

/** What the server made of something that was decided without it; the usual outcomes need no words. */
const OUTCOMES = {
  "charged-with-arrears": ["已扣款，余额不足的部分记为欠费", "Charged; what was missing became arrears"],
  "charged-to-risk": ["卡当时已挂失或作废，由学校承担", "The card was lost or revoked by then; the school bears it"],
  "under-review": ["待卡务中心复核，暂未扣款", "The card centre looks at it; not charged yet"],
  "sequence-reused": ["序号重复，待卡务中心核对", "Its number came twice; the card centre looks at it"],
  "id-reused": ["单号已被占用，没有上送成功", "Its id was used before; not taken"],
  malformed: ["服务器读不懂这一笔，没有上送成功", "The server cannot read it; not taken"],
};

const WORDS = {
  recorded: ["脱机收款 · 已记账，联网后入账", "Taken offline · recorded, posted once online"],
  recordedHint: ["没有网络，不显示姓名和余额；上送之前不能冲正", "No network, so no name and no balance; cannot be reversed before its upload"],
  recordedVoice: ["脱机收款，已记账", "Taken offline and recorded"],
  refusedAlone: ["脱机判断；如果服务器已经扣款，联网后自动撤销", "Decided offline; had the server charged it, that is voided once online"],
  offlineTakes: ["现在离线：可以脱机收款，单笔最多 {limit}；请出示二维码", "Offline: sales up to {limit} are taken offline; ask for the QR code"],
  lateCharge: ["脱机时拒绝的一笔 {amount} 服务器已经扣款，请核对", "{amount}, refused offline, had been charged by the server: please check"],
  allowAlone: ["已放行 · 脱机", "Passed · offline"],

  queue: ["待上送 {count} 笔", "{count} to upload"],
  seen: ["知道了", "Seen"],
  never: ["还没有", "Not yet"],
  none: ["无", "None"],
  minutes: ["{count} 分钟", "{count} min"],
  hours: ["{count} 小时", "{count} h"],
  fact_bundle: ["脱机数据", "Offline data"],
  fact_fresh: ["有效性", "Validity"],
  fact_keys: ["签名密钥", "Keys"],
  fact_revoked: ["已撤销授权", "Revoked phones"],
  fact_stopped: ["已失效卡", "Stopped cards"],
  fact_policy: ["脱机规则", "Offline rule"],
  fact_passback: ["反潜回", "Anti-passback"],
  fact_contact: ["上次联系", "Last contact"],
  fact_try: ["下次尝试", "Next try"],
  fact_waiting: ["待上送", "To upload"],
  fact_trouble: ["问题", "Trouble"],
  bundleNone: ["还没有收到", "None yet"],
  bundleAge: ["第 {sequence} 版，{age}前", "Number {sequence}, {age} old"],
  bundleFresh: ["有效", "Valid"],
  bundleStale: ["偏旧：只放行名单内的人，不收款", "Stale: only people it names pass, no money"],
  bundleExpired: ["过期：不能脱机工作", "Expired: no work offline"],
  policy_open: ["脱机时全部放行", "Opens for everybody"],
  policy_signed: ["脱机时验码放行", "Opens for good codes"],
  policy_closed: ["脱机时不放行", "Opens for nobody"],
  tillOff: ["不脱机收款", "No money offline"],
  tillCaps: ["单笔 {sale}，每卡每天 {count} 笔 {card}，本机每天 {total}", "{sale} a sale; {count} sales and {card} a card and day; {total} a day here"],
};

addWords({ refusals: REFUSALS, words: WORDS });

/** What the server made of an upload; an outcome that is newer than this page by its own name. */
export const outcomeWords = (outcome) => (outcome in OUTCOMES ? spoken(OUTCOMES[outcome]) : outcome);
