// The part of Alipay's mini program API that utils/platform.js uses. Absent inside WeChat.
declare const my:
  | {
      getAuthCode(options: { scopes: string; success(result: { authCode: string }): void; fail(error: unknown): void }): void
      tradePay(options: { tradeNO: string; success(result: { resultCode: string }): void; fail(error: unknown): void }): void
    }
  | undefined
