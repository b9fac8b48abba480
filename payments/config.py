"""What each platform gave us: ids, keys, addresses.  Keys are PEM texts; no repr shows a secret.

A config may be kept as JSON: a pair read back as a list, a template as a dict, is as good.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

WECHAT_PAY_URL = "https://api.mch.weixin.qq.com"
WECHAT_URL = "https://api.weixin.qq.com"
ALIPAY_URL = "https://openapi.alipay.com/gateway.do"
ALIPAY_BILL_HOSTS = frozenset({"dwbillcenter.alipay.com"})
"""Where Alipay keeps bills for fetching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeChatPayConfig:
    """A merchant at WeChat Pay, API v3.

    Attributes:
        merchant_id: mchid (商户号).
        merchant_serial: serial number of the merchant certificate that belongs to the private key.
        api_v3_key: 32 characters; decrypts notices.
        merchant_certificate: the certificate itself (apiclient_cert.pem); only to check that it,
            its serial number and the private key belong together.
        platform_public_keys: serial → PEM, of the public key (微信支付公钥, `PUB_KEY_ID_…`), or of
            platform certificates (平台证书) by their own serial numbers, or of both while they
            change over.  The first is the one we ask WeChat to sign answers with.
        notify_url: where notices go; https, without a query.
        sandbox: allows another `base_url` than WeChat's own, and a plain `notify_url`.
        timeout_seconds: to connect, to answer.
    """

    app_id: str
    merchant_id: str
    merchant_serial: str
    merchant_private_key: str = field(repr=False)
    api_v3_key: str = field(repr=False)
    platform_public_keys: Mapping[str, str] = field(repr=False)
    notify_url: str
    merchant_certificate: str | None = field(default=None, repr=False)
    base_url: str = WECHAT_PAY_URL
    sandbox: bool = False
    timeout_seconds: tuple[float, float] = (3, 8)

    def __post_init__(self) -> None:
        _require_official(self.base_url, WECHAT_PAY_URL, sandbox=self.sandbox)
        _require_public(self.notify_url, sandbox=self.sandbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayConfig:
    """A seller at Alipay whose mini program is the paying app.

    Alipay's side is known by `alipay_public_key` (公钥模式), by the three certificates (证书模式),
    or by both while one changes over.

    Attributes:
        app_id: of the mini program.
        seller_id: the account that gets the money (2088…).
        app_private_key: ours; its public half is registered at Alipay.
        alipay_public_key: Alipay's, not the app's: the usual mistake.  May hold several PEM keys
            while Alipay's changes.
        app_certificate: of our key (appCertPublicKey_….crt).
        alipay_certificate: of Alipay's key (alipayCertPublicKey_RSA2.crt).
        alipay_root_certificate: Alipay's roots (alipayRootCert.crt).
        notify_url: where notices go; https, without a query.
        sandbox: allows another `base_url` than Alipay's own, and a plain `notify_url`.
        timeout_seconds: to connect, to answer.
    """

    app_id: str
    seller_id: str
    app_private_key: str = field(repr=False)
    notify_url: str
    alipay_public_key: str | None = field(default=None, repr=False)
    app_certificate: str | None = field(default=None, repr=False)
    alipay_certificate: str | None = field(default=None, repr=False)
    alipay_root_certificate: str | None = field(default=None, repr=False)
    base_url: str = ALIPAY_URL
    sandbox: bool = False
    timeout_seconds: tuple[float, float] = (3, 8)

    def __post_init__(self) -> None:
        _require_official(self.base_url, ALIPAY_URL, sandbox=self.sandbox)
        _require_public(self.notify_url, sandbox=self.sandbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplate:
    """A template for messages to a platform's users (订阅消息模板), as chosen on the platform.

    Attributes:
        id: the platform's name for it.
        fields: the template's own fields (`thing1`, `amount2` …) → what of a notice stands there.
        long_term: 长期订阅: who agreed once has agreed to all messages; else each consent is good
            for one.
    """

    id: str
    fields: Mapping[str, str]
    long_term: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WeChatMiniProgramConfig:
    """A WeChat mini program (小程序).

    Attributes:
        templates: kind of notice → the template that tells of it; several kinds may share one.
            Left out: no messages.
        sandbox: allows another `base_url` than WeChat's own.
        timeout_seconds: to connect, to answer.
    """

    app_id: str
    app_secret: str = field(repr=False)
    templates: Mapping[str, MessageTemplate] = field(default_factory=dict)
    base_url: str = WECHAT_URL
    sandbox: bool = False
    timeout_seconds: tuple[float, float] = (3, 5)

    def __post_init__(self) -> None:
        _require_official(self.base_url, WECHAT_URL, sandbox=self.sandbox)
        templates = {
            kind: template if isinstance(template, MessageTemplate) else MessageTemplate(**template)
            for kind, template in self.templates.items()
        }
        object.__setattr__(self, "templates", templates)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayMiniProgramConfig:
    """An Alipay mini program (小程序).

    Attributes:
        alipay_public_key, app_certificate, alipay_certificate, alipay_root_certificate: as in
            `AlipayConfig`.
        sandbox: allows another `base_url` than Alipay's own; consent then names its account.
        timeout_seconds: to connect, to answer.
    """

    app_id: str
    app_private_key: str = field(repr=False)
    alipay_public_key: str | None = field(default=None, repr=False)
    app_certificate: str | None = field(default=None, repr=False)
    alipay_certificate: str | None = field(default=None, repr=False)
    alipay_root_certificate: str | None = field(default=None, repr=False)
    base_url: str = ALIPAY_URL
    sandbox: bool = False
    timeout_seconds: tuple[float, float] = (3, 5)

    def __post_init__(self) -> None:
        _require_official(self.base_url, ALIPAY_URL, sandbox=self.sandbox)


def _require_official(base_url: str, official_url: str, *, sandbox: bool) -> None:
    if not sandbox and base_url.rstrip("/") != official_url:
        raise ValueError(f"base_url must be {official_url} outside the sandbox")


def _require_public(notify_url: str, *, sandbox: bool) -> None:
    parts = urlsplit(notify_url)
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("notify_url must be an address without query, fragment or user")
    if parts.scheme != "https" and not (sandbox and parts.scheme == "http"):
        raise ValueError("notify_url must be https outside the sandbox")
