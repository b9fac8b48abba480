"""The Alipay mini program (支付宝小程序) as a `Platform`, over python-alipay-sdk."""

from typing import Any, Final

from payments._alipay_gateway import AlipayGateway, AlipayRefused
from payments.channel import ChannelUnknown
from payments.config import AlipayMiniProgramConfig
from payments.platform import LoginRefused, PlatformAccount, PlatformUnavailable, RealNameResult


class AlipayMiniProgram:
    """Alipay as a `Platform`."""

    name: Final = "alipay"

    def __init__(self, config: AlipayMiniProgramConfig) -> None:
        """Read the keys; call nobody.

        Raises:
            ChannelMisconfigured: a key is unusable.
        """
        self._sandbox = config.sandbox
        self._gateway = AlipayGateway(config)

    def login(self, code: str) -> PlatformAccount:
        """Redeem a code of `my.getAuthCode`.  The tokens are thrown away."""
        try:
            return PlatformAccount(_account_id(self._redeem(code)))
        except AlipayRefused as refused:
            if refused.code.startswith(("isv.code", "encoding")):
                raise LoginRefused(refused.code) from None
            raise PlatformUnavailable(refused.code) from None
        except ChannelUnknown as unknown:
            raise PlatformUnavailable(unknown.reason) from None

    def check_real_name(
        self, *, account_id: str, name: str, document_number: str, grant: str
    ) -> RealNameResult:
        """Ask whether the consenting account's real name is the given (certdoc.certverify).

        Args:
            grant: a code of `my.getAuthCode` with the scope `id_verify`.  It must be of the very
                account, or somebody else's consent would prove this one.
        """
        # A phone's consent names its account; the sandbox has no phone, so it is told.
        consenting = {"sandbox_open_id": account_id} if self._sandbox else {}
        try:
            redeemed = self._redeem(grant, **consenting)
            if _account_id(redeemed) != account_id:
                return RealNameResult.MISMATCH
            asked = self._gateway.call(
                "alipay.user.certdoc.certverify.preconsult",
                {"user_name": name, "cert_type": "IDENTITY_CARD", "cert_no": document_number},
            )
            answer = self._gateway.call(
                "alipay.user.certdoc.certverify.consult",
                {"verify_id": asked["verify_id"]},
                auth_token=redeemed["access_token"],
            )
        except (AlipayRefused, ChannelUnknown, KeyError):
            return RealNameResult.UNAVAILABLE
        match answer.get("passed"):
            case "T":
                return RealNameResult.MATCH
            case "F":
                return RealNameResult.MISMATCH
            case _:
                return RealNameResult.UNAVAILABLE

    def _redeem(self, code: str, **parameters: str) -> dict[str, Any]:
        if not code:  # the SDK signs empty parameters, Alipay does not
            raise AlipayRefused("isv.code-invalid")
        return self._gateway.call(
            "alipay.system.oauth.token",
            None,
            grant_type="authorization_code",
            code=code,
            **parameters,
        )


def _account_id(redeemed: dict[str, Any]) -> str:
    """Take the open_id of new apps, or the user_id of old ones."""
    account_id = redeemed.get("open_id") or redeemed.get("user_id")
    if not isinstance(account_id, str):
        raise ChannelUnknown("content")
    return account_id
