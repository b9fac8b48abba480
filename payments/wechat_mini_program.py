"""The WeChat mini program (微信小程序) as a `Platform`, over wechatpy.

Every call names its own access token, or none.  Left alone, wechatpy 1.8.18 fetches a token for
each login, fetches one again without end when WeChat keeps refusing it, and without a timeout.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import requests
from urllib3.exceptions import NewConnectionError

from payments._sdk import WeChatClient, WeChatClientException
from payments.config import MessageTemplate, WeChatMiniProgramConfig
from payments.platform import (
    LoginRefused,
    MessageRefused,
    MessageUnknown,
    PlatformAccount,
    PlatformUnavailable,
    RealNameResult,
    TokenCache,
)

_CODE_WRONG: Final = 40029
CODE_REFUSED: Final = {
    _CODE_WRONG: "the code is wrong or too old",
    40163: "the code has been used",
    40226: "WeChat holds the user for risky",
    41008: "the code is missing",
}
TOKEN_REFUSED: Final = {40001, 40014, 42001}
_BUSY: Final = -1
LIMIT_REACHED: Final = {45009, 45011}
"""Too many calls today, or within this minute: surely not carried out, and possible later."""

_SEND_MESSAGE: Final = "cgi-bin/message/subscribe/send"
_UNREACHABLE: Final = "unreachable"
"""No connection came about: nothing was sent."""

_TOKEN_MARGIN_SECONDS: Final = 300
_LOCK_SECONDS: Final = 10
_WAITS: Final = 40
_WAIT_SECONDS: Final = 0.05


class _Refused(Exception):
    """WeChat answered with an error code."""

    def __init__(self, errcode: int) -> None:
        super().__init__(str(errcode))
        self.errcode = errcode


class WeChatMiniProgram:
    """WeChat as a `Platform` and a `Messenger`."""

    name: Final = "wechat"

    def __init__(self, config: WeChatMiniProgramConfig, cache: TokenCache) -> None:
        """Call nobody."""
        self._config = config
        self._cache = cache
        self._token_key = f"wechat:stable_token:{config.app_id}"
        self._client: Any = WeChatClient(  # type: ignore[no-untyped-call]
            config.app_id,
            config.app_secret,
            timeout=tuple(config.timeout_seconds),
            auto_retry=False,
        )

    def login(self, code: str) -> PlatformAccount:
        """Redeem a code of `wx.login` (code2session).  The session key is thrown away."""
        try:
            answer = self._ask(
                "get",
                "sns/jscode2session",
                params={
                    "appid": self._config.app_id,
                    "secret": self._config.app_secret,
                    "js_code": code,
                    "grant_type": "authorization_code",
                },
            )
        except _Refused as refused:
            if refused.errcode in CODE_REFUSED:
                raise LoginRefused(str(refused.errcode)) from None
            raise PlatformUnavailable(str(refused.errcode)) from None
        openid = answer.get("openid")
        if not isinstance(openid, str) or not openid:
            raise PlatformUnavailable("content")
        return PlatformAccount(openid)

    def check_real_name(
        self, *, account_id: str, name: str, document_number: str, grant: str
    ) -> RealNameResult:
        """Compare with the name under which WeChat Pay knows the account (checkrealnameinfo).

        Args:
            grant: the code that WeChat's city-service page hands back after consent.
        """
        try:
            answer = self._ask_with_token(
                "intp/realname/checkrealnameinfo",
                {
                    "openid": account_id,
                    "real_name": name,
                    "cred_id": document_number,
                    "cred_type": "1",
                    "code": grant,
                },
            )
        except (_Refused, PlatformUnavailable):
            return RealNameResult.UNAVAILABLE
        return _result(answer)

    @property
    def templates(self) -> Mapping[str, MessageTemplate]:
        """Kind of notice → the template that tells of it."""
        return self._config.templates

    def send_message(
        self, *, account_id: str, template_id: str, page: str, data: Mapping[str, str]
    ) -> None:
        """Send one subscribe message (subscribeMessage.send), at most once.

        "Busy" is no refusal: WeChat says so also of what it carried out.
        """
        content = {
            "touser": account_id,
            "template_id": template_id,
            "page": page,
            "data": {name: {"value": value} for name, value in data.items()},
        }
        try:
            token = self._token()
        except (_Refused, PlatformUnavailable):
            raise MessageRefused("token", passing=True) from None
        try:
            answer = self._ask("post", _SEND_MESSAGE, data=content, token=token)
        except _Refused as refused:
            if refused.errcode == _BUSY:
                raise MessageUnknown("busy") from None
            if refused.errcode in TOKEN_REFUSED:
                self._forget_token()
            raise MessageRefused(
                str(refused.errcode), passing=refused.errcode in TOKEN_REFUSED | LIMIT_REACHED
            ) from None
        except PlatformUnavailable as unavailable:
            if unavailable.reason == _UNREACHABLE:
                raise MessageRefused(_UNREACHABLE, passing=True) from None
            raise MessageUnknown(unavailable.reason) from None
        if answer.get("errcode") != 0:
            raise MessageUnknown("content")

    def _ask_with_token(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Post with the access token; once more with a new one if WeChat no longer takes it."""
        try:
            return self._ask("post", path, data=content, token=self._token())
        except _Refused as refused:
            if refused.errcode not in TOKEN_REFUSED:
                raise
        self._forget_token()
        return self._ask("post", path, data=content, token=self._token())

    def _ask(
        self, method: str, path: str, *, token: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Call WeChat.

        Raises:
            _Refused: WeChat answered with an error code.
            PlatformUnavailable: no readable answer.
        """
        kwargs["params"] = {**kwargs.get("params", {}), "access_token": token}
        kwargs["allow_redirects"] = False  # elsewhere, with the token, as another method
        try:
            answer = getattr(self._client, method)(
                f"{self._config.base_url.rstrip('/')}/{path}", **kwargs
            )
        except WeChatClientException as error:
            if not error.errcode:
                raise PlatformUnavailable("http") from None
            raise _Refused(error.errcode) from None
        except requests.RequestException as error:
            raise PlatformUnavailable(_trouble(error)) from None
        except UnicodeEncodeError:  # half a surrogate pair, out of somebody's JSON
            raise _Refused(_CODE_WRONG) from None
        except (TypeError, ValueError, RecursionError):  # an errcode that is no number; no JSON
            raise PlatformUnavailable("content") from None
        if not isinstance(answer, dict):
            raise PlatformUnavailable("content")
        return answer

    def _token(self) -> str:
        try:
            return self._shared_token()
        except (_Refused, PlatformUnavailable):
            raise
        except Exception:  # noqa: BLE001 - the cache is a hint, whatever client it is
            return self._fetch_token()[0]

    def _shared_token(self) -> str:
        """Take the token of all processes; one of them fetches it, the others wait for it."""
        lock_key = f"{self._token_key}:lock"
        for _ in range(_WAITS):
            cached = self._cache.get(self._token_key)
            if cached:
                return cached.decode() if isinstance(cached, bytes) else str(cached)
            if self._cache.set(lock_key, "1", ex=_LOCK_SECONDS, nx=True):
                try:
                    token, lifetime = self._fetch_token()
                    self._cache.set(self._token_key, token, ex=lifetime)
                finally:
                    self._cache.delete(lock_key)
                return token
            time.sleep(_WAIT_SECONDS)
        raise PlatformUnavailable("token")

    def _fetch_token(self) -> tuple[str, int]:
        """Fetch the stable token, the same for every caller while it lives."""
        answer = self._ask(
            "post",
            "cgi-bin/stable_token",
            data={
                "grant_type": "client_credential",
                "appid": self._config.app_id,
                "secret": self._config.app_secret,
                "force_refresh": False,
            },
        )
        token, expires_in = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not isinstance(expires_in, int):
            raise PlatformUnavailable("content")
        return token, max(1, expires_in - _TOKEN_MARGIN_SECONDS)

    def _forget_token(self) -> None:
        with suppress(Exception):  # the cache is a hint, whatever client it is
            self._cache.delete(self._token_key)


def _trouble(error: requests.RequestException) -> str:
    """Say what kept an answer away."""
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError):
        return _UNREACHABLE
    return "timeout" if isinstance(error, requests.Timeout) else "connection"


def _result(answer: dict[str, Any]) -> RealNameResult:
    """Read the two verdicts: name against account, then document number against name.

    Source: WeChat, city service, checkrealnameinfo.
    """
    # Several results may stand in one text, divided by ";".
    account_verdicts = set(str(answer.get("verify_openid", "")).split(";"))
    if "V_OP_NM_UM" in account_verdicts:
        return RealNameResult.MISMATCH
    if account_verdicts != {"V_OP_NM_MA"}:  # V_OP_NA: the account has no real name
        return RealNameResult.UNAVAILABLE
    match answer.get("verify_real_name"):
        case "V_NM_ID_MA":
            return RealNameResult.MATCH
        case "V_NM_ID_UM":
            return RealNameResult.MISMATCH
        case _:
            return RealNameResult.UNAVAILABLE
