"""Throw-away keys and ids of both sides: what the platforms hold, and what the merchant holds."""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from payments.config import (
    AlipayConfig,
    AlipayMiniProgramConfig,
    WeChatMiniProgramConfig,
    WeChatPayConfig,
)
from payments.sandbox.templates import configured

_FILE = "keys.json"


@dataclass(frozen=True, slots=True, repr=False)
class SandboxKeys:
    """Everything secret or known between the sandbox and its one merchant.

    Attributes:
        wechat_serial: names the platform's key, `PUB_KEY_ID_…`.
        seed: from which account ids and tokens are derived, so that they survive a restart.
    """

    wechat_app_id: str
    wechat_app_secret: str
    wechat_merchant_id: str
    wechat_merchant_serial: str
    wechat_merchant_private_key: str
    wechat_serial: str
    wechat_private_key: str
    wechat_api_v3_key: str
    alipay_app_id: str
    alipay_seller_id: str
    alipay_app_private_key: str
    alipay_private_key: str
    seed: str

    def wechat_pay_config(self, base_url: str, notify_url: str) -> WeChatPayConfig:
        """Give the merchant's view of WeChat Pay; `base_url` is the sandbox's root."""
        return WeChatPayConfig(
            app_id=self.wechat_app_id,
            merchant_id=self.wechat_merchant_id,
            merchant_serial=self.wechat_merchant_serial,
            merchant_private_key=self.wechat_merchant_private_key,
            api_v3_key=self.wechat_api_v3_key,
            platform_public_keys={self.wechat_serial: public_pem(self.wechat_private_key)},
            notify_url=notify_url,
            base_url=base_url,
            sandbox=True,
        )

    def alipay_config(self, base_url: str, notify_url: str) -> AlipayConfig:
        """Give the merchant's view of Alipay; `base_url` is the sandbox's root."""
        return AlipayConfig(
            app_id=self.alipay_app_id,
            seller_id=self.alipay_seller_id,
            app_private_key=self.alipay_app_private_key,
            alipay_public_key=public_pem(self.alipay_private_key),
            notify_url=notify_url,
            base_url=f"{base_url}/gateway.do",
            sandbox=True,
        )

    def wechat_mini_program_config(self, base_url: str) -> WeChatMiniProgramConfig:
        """Give the mini program's view of WeChat."""
        return WeChatMiniProgramConfig(
            app_id=self.wechat_app_id,
            app_secret=self.wechat_app_secret,
            templates=configured(),
            base_url=base_url,
            sandbox=True,
        )

    def alipay_mini_program_config(self, base_url: str) -> AlipayMiniProgramConfig:
        """Give the mini program's view of Alipay."""
        return AlipayMiniProgramConfig(
            app_id=self.alipay_app_id,
            app_private_key=self.alipay_app_private_key,
            alipay_public_key=public_pem(self.alipay_private_key),
            base_url=f"{base_url}/gateway.do",
            sandbox=True,
        )


def prepare(directory: Path) -> SandboxKeys:
    """Read the keys in the directory, or make them once.

    Safe to call from several processes at a time: all get the same keys.  The file is readable by
    its owner only.
    """
    path = directory / _FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, json.dumps(asdict(_make()), indent=1))
    stored = json.loads(path.read_text())
    return SandboxKeys(**{field.name: stored[field.name] for field in fields(SandboxKeys)})


def public_pem(private_pem: str) -> str:
    """Give the public half of a private key, as PEM."""
    key = load_pem_private_key(private_pem.encode(), password=None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _write_once(path: Path, text: str) -> None:
    mine = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    with suppress(FileExistsError):  # somebody else was faster: theirs count
        path.hardlink_to(mine)
    mine.unlink()


def _make() -> SandboxKeys:
    return SandboxKeys(
        wechat_app_id=f"wx{secrets.token_hex(8)}",
        wechat_app_secret=secrets.token_hex(16),
        wechat_merchant_id=_digits("19", 10),
        wechat_merchant_serial=secrets.token_hex(20).upper(),
        wechat_merchant_private_key=_private_pem(),
        wechat_serial=f"PUB_KEY_ID_0{_digits('', 33)}",
        wechat_private_key=_private_pem(),
        wechat_api_v3_key=secrets.token_hex(16),
        alipay_app_id=_digits("2021", 16),
        alipay_seller_id=_digits("2088", 16),
        alipay_app_private_key=_private_pem(),
        alipay_private_key=_private_pem(),
        seed=secrets.token_hex(32),
    )


def _digits(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice("0123456789") for _ in range(length - len(prefix)))


def _private_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
