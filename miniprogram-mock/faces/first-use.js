/** The first use of a device: who is it? Loaded only when nobody knows. */

import { NoAnswer } from "./api.js";
import { element } from "./dom.js";
import { SOFTWARE, fromDemo } from "./identity.js";
import { addWords, word } from "./words.js";

addWords({
  words: {
    firstUse: ["首次使用", "First use"],
    firstUseTill: ["这台收银设备还没有登记。请输入卡务中心给的登记码或终端令牌。", "This till is not registered. Enter the enrolment code or terminal token from the card centre."],
    firstUseGate: ["这台门禁设备还没有登记。请输入卡务中心给的登记码或终端令牌。", "This gate is not registered. Enter the enrolment code or terminal token from the card centre."],
    enrolmentToken: ["登记码（15 分钟内有效，只能用一次）", "Enrolment code (15 minutes, once)"],
    terminalToken: ["或：终端令牌", "Or: terminal token"],
    register: ["登记这台设备", "Register this device"],
    useDemo: ["使用演示终端", "Use a demo terminal"],
    needToken: ["请填写其中一项", "Fill in one of the two"],
    tokenRefused: ["令牌无效或已停用，请重新登记", "The token is not valid any more; register again"],
    wrongKind: ["这个令牌属于另一种设备", "This token belongs to another kind of device"],
  },
});

async function enrol(api, enrolmentToken) {
  const answer = await api.post("/terminals/enrolments", { enrolment_token: enrolmentToken, software: SOFTWARE });
  if (!answer.ok) throw new Error(answer.body.detail ?? answer.body.title);
  return answer.body;
}

/**
 * Asks the person in front for an enrolment code, a token, or the demo; resolves to `{token}`. `trouble` is the word for
 * what was wrong with the last answer, if anything was.
 */
export function askPerson(kind, api, trouble) {
  return new Promise((done) => {
    const notice = element("p", { class: "notice", role: "alert" }, trouble && word(trouble));
    const field = (name, key) =>
      element("label", {}, word(key), element("input", { type: "text", name, autocomplete: "off", spellcheck: "false" }));
    const finish = async (way) => {
      try {
        const identity = await way();
        dialog.close();
        dialog.remove();
        done(identity);
      } catch (error) {
        notice.textContent = error instanceof NoAnswer ? word("unreachable") : error.message;
      }
    };
    const demo = async () => {
      const identity = await fromDemo(kind, "1");
      if (!identity) throw new Error(word("noDemo"));
      return identity;
    };
    const typed = async () => {
      const { enrolment_token: code, token } = Object.fromEntries(new FormData(form));
      if (code.trim()) return enrol(api, code.trim());
      if (token.trim()) return { token: token.trim() };
      throw new Error(word("needToken"));
    };
    const register = (event) => {
      event.preventDefault();
      finish(typed);
    };
    const form = element(
      "form",
      { onsubmit: register },
      field("enrolment_token", "enrolmentToken"),
      field("token", "terminalToken"),
      notice,
      element(
        "div",
        { class: "choices" },
        element("button", { type: "button", "data-way": "demo", onclick: () => finish(demo) }, word("useDemo")),
        element("button", { type: "submit", class: "primary" }, word("register")),
      ),
    );
    const dialog = element(
      "dialog",
      { id: "first-use", "aria-labelledby": "first-use-title" },
      element("h2", { id: "first-use-title" }, word("firstUse")),
      element("p", {}, word(kind === "till" ? "firstUseTill" : "firstUseGate")),
      form,
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}
