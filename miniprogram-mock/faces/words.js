/**
 * What people read: Simplified Chinese first, English second. Refusals are keyed by the API's `code`,
 * each with the reason and the next step; `{facts}` come from the problem document. Words of what is loaded later are in
 * `alone-words.js`, those of the stage beside it.
 */

import { yuan } from "./money.js";

const REFUSALS = {
  "terminal-not-allowed": [
    ["这台设备不能做这件事", "请联系卡务中心核对终端登记"],
    ["This device may not do this", "Ask the card centre to check its registration"],
  ],
  "charge-voided": [
    ["这笔已撤销，没有扣款", "请同学刷新付款码，再扫一次"],
    ["Already voided, nothing was charged", "Ask for a fresh code and scan again"],
  ],
  "id-reused": [
    ["单号重复，没有再次扣款", "请重新收款"],
    ["This number was used before; nothing was charged again", "Start the charge anew"],
  ],
  "code-malformed": [
    ["这不是校园卡的码", "请打开小程序的校园码再扫"],
    ["Not a campus card code", "Open the campus code in the mini program"],
  ],
  "code-forged": [
    ["码无效，验签没有通过", "请同学打开小程序刷新；再次出现请记下编号"],
    ["Invalid code: its signature does not hold", "Ask for a fresh code; note the reference if it happens again"],
  ],
  "code-unknown-key": [
    ["不认识签发这个码的密钥", "请刷新后再扫；仍不行请联系卡务中心"],
    ["Signed with a key unknown here", "Refresh and scan again, or call the card centre"],
  ],
  "code-not-yet-valid": [
    ["码还没有生效", "请等几秒再扫；手机时间请设为自动"],
    ["The code is not valid yet", "Wait a few seconds; set the phone's clock to automatic"],
  ],
  "code-expired": [
    ["码已过期", "请同学刷新后再扫"],
    ["The code has expired", "Ask for a fresh code"],
  ],
  "code-wrong-scope": [
    ["这个码不能用在这里", "吃饭用「付款」码，进门用「通行」码"],
    ["This code is not for here", "Use the pay code at tills and the gate code at doors"],
  ],
  "code-stale": [
    ["码属于旧的卡状态", "请同学重新打开校园码"],
    ["The code belongs to an earlier state of the card", "Reopen the campus code"],
  ],
  "code-revoked": [
    ["码已作废", "请同学刷新后再扫"],
    ["The code was withdrawn", "Ask for a fresh code"],
  ],
  "code-spent": [
    ["这个码已经用过", "请同学刷新后再扫"],
    ["This code was used already", "Ask for a fresh code"],
  ],
  "card-lost": [
    ["卡已挂失", "本人请在小程序解挂，或到卡务中心办理"],
    ["The card is reported lost", "Its holder can restore it in the mini program or at the card centre"],
  ],
  "card-frozen": [
    ["账户已冻结", "请到卡务中心（工作日 8:30–17:00）"],
    ["The account is frozen", "See the card centre (weekdays 8:30–17:00)"],
  ],
  "card-expired": [
    ["卡已过期", "请到卡务中心办理延期"],
    ["The card has expired", "See the card centre to extend it"],
  ],
  "account-closed": [
    ["账户已注销", "请联系卡务中心"],
    ["The account is closed", "Contact the card centre"],
  ],
  "not-bound": [
    ["还没有实名绑定", "请先在小程序完成绑定"],
    ["Not bound to a person yet", "Bind in the mini program first"],
  ],
  "not-permitted": [
    ["这张卡未开通此项用途", "请联系卡务中心"],
    ["This card is not for this", "Please ask the card centre"],
  ],
  "payment-paused": [
    ["本人已暂停付款", "请在小程序「限额」里恢复"],
    ["Payments are paused by the holder", "Resume under Limits in the mini program"],
  ],
  "limit-exceeded": [
    ["超过消费限额 {limit_fen}", "请在小程序调整限额，或改用其他方式"],
    ["Over the spending limit {limit_fen}", "Change the limit in the mini program or pay another way"],
  ],
  "declined-offline": [
    ["脱机时已拒绝，没有扣款", "请同学刷新后再扫"],
    ["Declined while offline; nothing was charged", "Ask for a fresh code and scan again"],
  ],
  "insufficient-balance": [
    ["余额不足，还差 {short_fen}", "请充值后再扫，当前余额 {balance_fen}"],
    ["Balance too low by {short_fen}", "Top up and scan again; the balance is {balance_fen}"],
  ],
  "not-charged": [
    ["这笔没有扣过款，不用冲正", "请核对最近 10 笔"],
    ["Nothing was charged here, so nothing to reverse", "Check the last ten"],
  ],
  "too-many-requests": [
    ["扫得太快，请稍等", "一分钟后再扫"],
    ["Too many scans", "Wait a minute and scan again"],
  ],
  "not-found": [
    ["找不到这一笔", "请核对终端和单号"],
    ["No such charge here", "Check the terminal and the number"],
  ],
  "reversal-too-large": [
    ["超过可冲正的金额", "请减少冲正金额"],
    ["More than can be reversed", "Enter a smaller amount"],
  ],
  "access-not-allowed": [
    ["没有通行权限", "不在此处的名单内，请联系此处的管理部门"],
    ["Not allowed here", "Not on this gate's list; ask the office that runs the place"],
  ],
  "access-outside-hours": [
    ["不在开放时间", "请在开放时间内再来"],
    ["Outside opening hours", "Please come again during opening hours"],
  ],
  passback: [
    ["刚刚已同向通过", "请稍后再试；有疑问请联系值班人员"],
    ["Went this way just now", "Try again later, or call the attendant"],
  ],
};

const WORDS = {
  till: ["收银台", "Till"],
  gate: ["门禁", "Gate"],
  loading: ["正在连接…", "Connecting…"],
  online: ["在线", "Online"],
  offline: ["离线", "Offline"],
  sound: ["声音", "Sound"],
  voice: ["语音", "Voice"],
  language: ["EN", "中文"],
  languageLabel: ["Switch to English", "切换到中文"],
  wedgeReady: ["扫码枪就绪", "Scanner ready"],
  wedgeAway: ["点此接收扫码", "Click to scan"],
  wedgeField: ["扫码枪输入", "Scanner input"],
  camera: ["摄像头", "Camera"],
  cameraView: ["摄像头画面", "Camera picture"],
  cameraFailed: ["摄像头打不开，请检查权限；仍可用扫码枪或粘贴", "The camera cannot be opened; check its permission, or use the scanner or paste"],
  paste: ["粘贴码的数字", "Paste the code's digits"],
  pasteSend: ["读入", "Read"],
  close: ["关闭", "Close"],
  back: ["返回", "Back"],
  reference: ["编号 {reference}", "Reference {reference}"],

  noDemo: ["这里没有演示数据", "There is no demo data here"],
  unreachable: ["连不上服务器，正在重试…", "The server cannot be reached; trying again…"],

  student: ["学生", "Student"],
  new_student: ["新生", "New student"],
  staff: ["教职工", "Staff"],
  temporary_retired: ["离退休", "Retired"],
  temporary_trainee: ["培训学员", "Trainee"],
  temporary_outsider: ["校外临时", "Visitor"],

  amount: ["金额", "Amount"],
  today: ["今日 {count} 笔 · {sum}", "Today {count} · {sum}"],
  chargeKey: ["收款", "Charge"],
  clear: ["清除", "Clear"],
  erase: ["退格", "Erase"],
  keypad: ["数字键盘", "Keypad"],
  quick: ["常用金额", "Quick amounts"],
  fixed: ["连续收款", "Same again"],
  enterAmount: ["请输入金额", "Enter an amount"],
  enterAmountHint: ["输入金额后按「收款」，再请同学出示付款码", "Key in the amount and press Charge, then ask for the code"],
  showCode: ["请出示付款码", "Please show your code"],
  showCodeHint: ["对准扫码口；也可用摄像头或粘贴", "Hold it to the scanner; camera and paste work too"],
  readingCode: ["正在读码…", "Reading…"],
  codeHeld: ["已读到付款码", "Code read"],
  codeHeldHint: ["请确认金额，按「收款」扣款；按「清除」放弃", "Check the amount and press Charge, or Clear to drop it"],
  sending: ["正在扣款…", "Charging…"],
  approved: ["收款成功", "Paid"],
  refused: ["没有扣款", "Not charged"],
  voided: ["已撤销，没有扣款", "Voided, nothing was charged"],
  voidedHint: ["服务器一直没有答复，这笔已撤销。请同学刷新付款码，重新收款", "The server did not answer, so this charge was voided. Ask for a fresh code and charge again"],
  doubt: ["还不能确定是否扣款", "Not known yet whether it was charged"],
  doubtRetrying: ["没有收到答复，正在用同一单号重试。请勿重复收款", "No answer; trying again under the same number. Do not charge twice"],
  doubtAsking: ["正在查询这一笔的结果。请勿重复收款", "Asking for the outcome. Do not charge twice"],
  doubtVoiding: ["正在撤销这一笔，网络恢复后自动完成。请勿重复收款", "Voiding this charge; it completes when the network is back. Do not charge twice"],
  giveUp: ["放弃并撤销", "Give up and void"],
  again: ["再扫一次", "Scan again"],
  next: ["下一位", "Next"],
  surcharge: ["餐费 {amount} + 搭伙费 {surcharge}", "Meal {amount} + surcharge {surcharge}"],
  balance: ["余额 {balance}", "Balance {balance}"],
  earlier: ["刷新前的一笔", "The charge from before the reload"],
  repeated: ["重复扫码，已忽略", "The same code again: ignored"],
  busy: ["上一笔还没有结果", "The last one is not settled yet"],
  foreign: ["没读清，请再扫一次（输入法请切到英文半角）", "Not read; scan again (switch the input method to ASCII)"],
  offlineHint: ["现在离线：可以扫，但要等网络恢复才知道是否扣款", "Offline: a scan is only decided once the network is back"],

  recent: ["最近 10 笔", "Last ten"],
  noneYet: ["今天还没有收款", "Nothing charged today"],
  reverse: ["冲正", "Reverse"],
  reverseTitle: ["冲正 {total}", "Reverse {total}"],
  reverseHint: ["可冲正 {left}，整笔或部分；搭伙费按比例退回", "{left} can go back, whole or in part; the surcharge returns in proportion"],
  reverseAmount: ["冲正金额（元）", "Amount in yuan"],
  reverseDone: ["已冲正 {total}", "{total} reversed"],
  reversing: ["正在冲正…", "Reversing…"],
  reverseDoubt: ["还没有得到答复，正在用同一单号重试。请勿重复冲正", "No answer yet; trying again under the same number. Do not reverse twice"],
  offlineSale: ["脱机", "Offline"],
  offlineWaiting: ["脱机 · 待上送，上送后可冲正", "Offline · to be uploaded, then it can be reversed"],
  todayAlone: ["{today}（含脱机 {count} 笔）", "{today} ({count} offline)"],
  reversedPart: ["已冲正 {amount}", "{amount} reversed"],
  wrongAmount: ["金额不对", "Not a valid amount"],

  direction: ["通行方向", "Direction"],
  in: ["进", "In"],
  out: ["出", "Out"],
  present: ["请将通行码对准扫描区", "Hold your gate code to the reader"],
  presentHint: ["小程序 › 校园码 › 通行", "Mini program › Campus code › Gate"],
  checking: ["正在核验…", "Checking…"],
  allowIn: ["请进", "Come in"],
  allowOut: ["请慢走", "Goodbye"],
  denied: ["不能通行", "Not allowed"],
  gateDoubt: ["没有得到答复，门没有打开", "No answer, the door stays shut"],
  gateDoubtHint: ["请再扫一次；仍不行请找值班人员", "Scan again, or call the attendant"],
  askAttendant: ["请联系值班人员", "Call the attendant"],
  drawer: ["设备与记录", "Device and log"],
  log: ["通行记录", "Log"],
  logEmpty: ["还没有人通过", "Nobody passed yet"],
  allow: ["放行", "Allowed"],
  deny: ["拒绝", "Denied"],
  undecided: ["未定", "Undecided"],

  emergency: ["应急疏散", "Emergency"],
  emergencyOn: ["应急疏散：出口常开，请直接离开", "Emergency: the exit is open, please leave"],
  emergencyHint: ["不用扫码", "No code is needed"],

  device: ["设备", "Device"],
  attention: ["上送后需要留意的", "Uploads to look at"],
  deviceTitle: ["设备与上送", "Device and uploads"],
};

const LANGUAGES = ["zh-CN", "en"];
const KEY = "campus-card.language";

const index = () => LANGUAGES.indexOf(document.documentElement.lang);

const fill = (text, facts) => text.replace(/\{(\w+)\}/g, (_, name) => facts[name] ?? "");

/** Adds the words of a part that is loaded later, or of one page alone, in the shape of those here. */
export function addWords({ refusals = {}, words = {} }) {
  Object.assign(REFUSALS, refusals);
  Object.assign(WORDS, words);
}

/** What the page's language says, of the two. */
export const spoken = (both) => both[index()];

/** The word of this key in the page's language. */
export const word = (key, facts = {}) => fill(WORDS[key][index()], facts);

/** Reason and next step of a refusal: ours by its code, else what the server wrote for people; opening hours only it knows. */
export function refusalWords(problem) {
  const { code, title, detail, display } = problem;
  const words = REFUSALS[`${code}/${problem.cap}`] ?? REFUSALS[code];
  if (words && !(code === "access-outside-hours" && display?.line2)) {
    const facts = Object.fromEntries(
      Object.entries(problem).map(([name, value]) => [name, name.endsWith("_fen") ? yuan(value) : value]),
    );
    const [reason, next] = words[index()];
    return { reason: fill(reason, facts), next: fill(next, facts) };
  }
  return { reason: display?.line1 ?? title ?? code ?? "", next: display?.line2 ?? detail ?? "" };
}

/** Writes the words of every `data-word` (text), `data-label` (accessible name) and `data-hint` (placeholder). */
function translate() {
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", word(node.dataset.label));
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = word(node.dataset.hint);
}

/** Sets the language of the page: `?lang=`, else what this device used last, else Chinese. */
export function speakLanguage() {
  const wanted = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem(KEY);
  document.documentElement.lang = LANGUAGES.includes(wanted) ? wanted : "zh-CN";
  translate();
}

/** Lets the button change to the other language and calls back to draw again. */
export function listenToLanguage(button, redraw) {
  button.addEventListener("click", () => {
    document.documentElement.lang = LANGUAGES[1 - index()];
    localStorage.setItem(KEY, document.documentElement.lang);
    translate();
    redraw();
  });
}
