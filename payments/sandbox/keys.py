"""Throw-away keys and ids of both sides: what the platforms hold, and what the merchant holds."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from payments._alipay_keys import cert_sn, root_cert_sn
from payments.channel import ChannelMisconfigured
from payments.config import (
    AlipayConfig,
    AlipayMiniProgramConfig,
    WeChatMiniProgramConfig,
    WeChatPayConfig,
)
from payments.environment import read_variables
from payments.sandbox.templates import configured

_KEYS, _CERTIFICATES = "keys.json", "certificates.json"
_VALID_FOR = timedelta(days=3650)
# What the environment may say of the merchant, and where it stands here.
_OF_MERCHANT = {
    "wechat_pay": {
        "app_id": "wechat_app_id",
        "merchant_id": "wechat_merchant_id",
        "merchant_serial": "wechat_merchant_serial",
        "merchant_private_key": "wechat_merchant_private_key",
        "api_v3_key": "wechat_api_v3_key",
    },
    "alipay": {
        "app_id": "alipay_app_id",
        "seller_id": "alipay_seller_id",
        "app_private_key": "alipay_app_private_key",
    },
    "wechat_mini_program": {"app_secret": "wechat_app_secret"},
}


@dataclass(frozen=True, slots=True, repr=False)
class SandboxKeys:
    """Everything secret or known between the sandbox and its one merchant.

    Attributes:
        wechat_serial: names the platform's key, `PUB_KEY_ID_…`.
        wechat_platform_private_key: signs, too, and is known by a platform certificate.
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
    wechat_platform_private_key: str
    wechat_platform_certificate: str
    alipay_app_certificate: str
    alipay_certificate: str
    alipay_root_certificate: str

    @property
    def wechat_platform_serial(self) -> str:
        """The serial number of the platform certificate."""
        certificate = x509.load_pem_x509_certificate(self.wechat_platform_certificate.encode())
        return f"{certificate.serial_number:040X}"

    @property
    def alipay_cert_sn(self) -> str:
        """How Alipay names its own certificate."""
        return cert_sn(x509.load_pem_x509_certificate(self.alipay_certificate.encode()))

    @property
    def alipay_app_cert_sn(self) -> str:
        """How Alipay names the app's certificate."""
        return cert_sn(x509.load_pem_x509_certificate(self.alipay_app_certificate.encode()))

    @property
    def alipay_root_cert_sn(self) -> str:
        """How Alipay names its roots."""
        return root_cert_sn(self.alipay_root_certificate)

    def of_merchant(self, environment: Mapping[str, str]) -> "SandboxKeys":
        """Know the merchant by the ids and keys that the environment gives him.

        Raises:
            ChannelMisconfigured: the environment's values cannot be read.
        """
        faults: list[str] = []
        given = read_variables(environment, faults)
        if faults:
            raise ChannelMisconfigured("configuration", faults)
        return replace(
            self,
            **{
                ours: given[section][theirs]
                for section, names in _OF_MERCHANT.items()
                for theirs, ours in names.items()
                if theirs in given.get(section, {})
            },
        )

    def wechat_pay_config(
        self, base_url: str, notify_url: str, *, certified: bool = False
    ) -> WeChatPayConfig:
        """Give the merchant's view of WeChat Pay.

        Args:
            base_url: the sandbox's root.
            certified: know WeChat by its platform certificate, not by its public key.
        """
        if certified:
            platform = {self.wechat_platform_serial: self.wechat_platform_certificate}
        else:
            platform = {self.wechat_serial: public_pem(self.wechat_private_key)}
        return WeChatPayConfig(
            app_id=self.wechat_app_id,
            merchant_id=self.wechat_merchant_id,
            merchant_serial=self.wechat_merchant_serial,
            merchant_private_key=self.wechat_merchant_private_key,
            api_v3_key=self.wechat_api_v3_key,
            platform_public_keys=platform,
            notify_url=notify_url,
            base_url=base_url,
            sandbox=True,
        )

    def alipay_config(
        self, base_url: str, notify_url: str, *, certified: bool = False
    ) -> AlipayConfig:
        """Give the merchant's view of Alipay.

        Args:
            base_url: the sandbox's root.
            certified: certificate mode, not public-key mode.
        """
        return AlipayConfig(
            app_id=self.alipay_app_id,
            seller_id=self.alipay_seller_id,
            app_private_key=self.alipay_app_private_key,
            alipay_public_key=None if certified else public_pem(self.alipay_private_key),
            app_certificate=self.alipay_app_certificate if certified else None,
            alipay_certificate=self.alipay_certificate if certified else None,
            alipay_root_certificate=self.alipay_root_certificate if certified else None,
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
    """Read the keys and certificates in the directory, or make them once.

    Safe to call from several processes at a time: all get the same keys.  The files are readable
    by their owner only.
    """
    keys = _stored(directory / _KEYS, _make)
    stored = keys | _stored(directory / _CERTIFICATES, lambda: _certify(keys))
    return SandboxKeys(**{field.name: stored[field.name] for field in fields(SandboxKeys)})


def public_pem(private_pem: str) -> str:
    """Give the public half of a private key, as PEM."""
    key = load_pem_private_key(private_pem.encode(), password=None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _stored(path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, json.dumps(make(), indent=1))
    stored: dict[str, str] = json.loads(path.read_text())
    return stored


def _write_once(path: Path, text: str) -> None:
    mine = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    with suppress(FileExistsError):  # somebody else was faster: theirs count
        path.hardlink_to(mine)
    mine.unlink()


def _make() -> dict[str, str]:
    return {
        "wechat_app_id": f"wx{secrets.token_hex(8)}",
        "wechat_app_secret": secrets.token_hex(16),
        "wechat_merchant_id": _digits("19", 10),
        "wechat_merchant_serial": secrets.token_hex(20).upper(),
        "wechat_merchant_private_key": _private_pem(),
        "wechat_serial": f"PUB_KEY_ID_0{_digits('', 33)}",
        "wechat_private_key": _private_pem(),
        "wechat_api_v3_key": secrets.token_hex(16),
        "alipay_app_id": _digits("2021", 16),
        "alipay_seller_id": _digits("2088", 16),
        "alipay_app_private_key": _private_pem(),
        "alipay_private_key": _private_pem(),
        "seed": secrets.token_hex(32),
    }


def _digits(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice("0123456789") for _ in range(length - len(prefix)))


def _private_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _certify(keys: Mapping[str, str]) -> dict[str, str]:
    """Make the certificates of both platforms.

    Alipay's roots are two, as in truth: one signed with RSA and one with an elliptic curve, which
    does not count; and their file breaks its lines as on Windows.
    """
    root_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    curve_key = ec.generate_private_key(ec.SECP256R1())
    root, curve_root = _name("Sandbox Root CA R1"), _name("Sandbox Root CA E1")
    roots = [
        _certificate(root, root_key.public_key(), root, root_key),
        _certificate(curve_root, curve_key.public_key(), curve_root, curve_key),
    ]
    platform_pem = _private_pem()
    platform, app, alipay = (
        _private(pem).public_key()
        for pem in (platform_pem, keys["alipay_app_private_key"], keys["alipay_private_key"])
    )
    return {
        "wechat_platform_private_key": platform_pem,
        "wechat_platform_certificate": _certificate(
            _name("Sandbox WeChat Pay"), platform, root, root_key
        ),
        "alipay_app_certificate": _certificate(_name(keys["alipay_app_id"]), app, root, root_key),
        "alipay_certificate": _certificate(_name("Sandbox Alipay"), alipay, root, root_key),
        "alipay_root_certificate": "".join(roots).replace("\n", "\r\n"),
    }


def _certificate(
    subject: x509.Name,
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> str:
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
        .sign(signer, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    parts = [
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "Campus Card Sandbox"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification Authority"),
        (NameOID.COMMON_NAME, common_name),
    ]
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _private(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the sandbox makes RSA keys only")
    return key
