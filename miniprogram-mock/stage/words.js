/** What people read on the stage, in the shape of `faces/words.js`. */

import { addWords } from "../faces/words.js";

addWords({
  words: {
    stageTitle: ["校园卡演示台", "Campus card stage"],
    stageLead: ["一部手机，一台收银机，一道门：全部走真实接口", "One phone, one till, one gate: all on the real API"],
    phone: ["手机", "Phone"],
    holder: ["持卡人", "Holder"],
    toTill: ["把手机码给收银台", "Show to the till"],
    toGate: ["把手机码给门禁", "Show to the gate"],
    chargedAlone: ["脱机收款", "Taken offline"],
    chargedAloneHint: ["联网后入账", "Posted once online"],
    passedAlone: ["脱机", "offline"],
    carried: ["手机码已递给{face}", "Code shown to: {face}"],
    feed: ["发生了什么", "What happened"],
    feedEmpty: ["在收银台输入金额，再把手机码递过去", "Key in an amount at the till, then show it the phone"],
    phoneCode: ["手机换了新码", "A new code on the phone"],
    phoneTold: ["手机收到通知", "The phone was told"],
    toppedUp: ["充值到账", "Topped up"],
    refundAsked: ["申请退回", "Asked to have back"],
    refundSent: ["已原路退回", "Sent back"],
    refundBack: ["退回失败，回到余额", "Refund failed, back in the balance"],
    reportedLost: ["已挂失", "Reported lost"],
    restored: ["已解挂", "Restored"],
    noteExpired: ["卡已过期", "expired"],
    noteLost: ["已挂失", "reported lost"],
    noteShort: ["余额不足", "short of money"],
    sandbox: ["支付沙箱", "Payment sandbox"],
    story: ["演示故事", "Play the story"],
    storyStop: ["停止", "Stop"],
    storyAmount: ["① 收银台输入 {amount}，请同学出示付款码", "① The till keys in {amount} and asks for the code"],
    storyPay: ["② 手机出示付款码", "② The phone shows its pay code"],
    storyGate: ["③ 付款码拿去开门：用途不对，应当被拒", "③ A pay code at the door: wrong purpose, must be refused"],
    storyEnd: ["故事完。在手机上切到「通行」，再递给门禁试试", "The end. Switch the phone to Gate and show it to the gate"],
    storyNoCode: ["手机上没有付款码，故事停在这里", "The phone shows no pay code, so the story stops here"],
  },
});
