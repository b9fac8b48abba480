"""The keys of WeChat Pay: the merchant's own, and those with which WeChat signs, by serial."""

import re
import secrets
from base64 import b64encode
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payments import _keys
from payments._keys import PlatformKey
from payments._sdk import aes_decrypt
from payments.channel import ChannelMisconfigured
from payments.config import WeChatPayConfig

_API_V3_KEY_LENGTH = 32
_SERIAL = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class WeChatKeys:
    """Keys that were read.

    Attributes:
        platform: serial → key.  A public key (微信支付公钥) is named `PUB_KEY_ID_…` by WeChat, a
            platform certificate (平台证书) by its own serial number.
    """

    private: RSAPrivateKey
    merchant_certificate: x509.Certificate | None
    platform: dict[str, PlatformKey]


def read_keys(config: WeChatPayConfig) -> WeChatKeys:
    """Read every key.

    Raises:
        ChannelMisconfigured: some cannot be used, or do not fit together.
    """
    reader = _keys.Reader()
    private = reader.read("merchant_private_key", config.merchant_private_key, _keys.private_key)
    merchant = reader.read("merchant_certificate", config.merchant_certificate, _keys.certificate)
    platform = _read_platform(config, reader)
    faults = reader.faults
    faults += _keys.pair_faults("merchant_certificate", merchant, private)
    if not config.platform_public_keys:
        faults.append("platform_public_keys is empty")
    if private is not None and private.public_key() in [key.public for key in platform.values()]:
        faults.append("platform_public_keys holds the merchant's own key, not WeChat's")
    if len(config.api_v3_key.encode()) != _API_V3_KEY_LENGTH:
        faults.append(f"api_v3_key is not {_API_V3_KEY_LENGTH} bytes long")
    if not re.fullmatch(r"[0-9A-Fa-f]{8,64}", config.merchant_serial):
        faults.append("merchant_serial is not a certificate's serial number")
    elif merchant is not None and merchant.serial_number != int(config.merchant_serial, 16):
        faults.append("merchant_serial is not that of merchant_certificate")
    if private is None or faults:
        raise ChannelMisconfigured("wechat", faults)
    return WeChatKeys(private, merchant, platform)


def opens_what_it_seals(api_v3_key: str) -> bool:
    """Encrypt as WeChat does, and decrypt as we do."""
    nonce, sealed_with, plain = secrets.token_hex(6), "transaction", secrets.token_hex(16)
    cipher = AESGCM(api_v3_key.encode())
    sealed = cipher.encrypt(nonce.encode(), plain.encode(), sealed_with.encode())
    opened: object = aes_decrypt(  # type: ignore[no-untyped-call]
        nonce=nonce,
        ciphertext=b64encode(sealed).decode(),
        associated_data=sealed_with,
        apiv3_key=api_v3_key,
    )
    return opened == plain


def _read_platform(config: WeChatPayConfig, reader: _keys.Reader) -> dict[str, PlatformKey]:
    platform: dict[str, PlatformKey] = {}
    for serial, pem in config.platform_public_keys.items():
        name = f"platform_public_keys[{serial}]"
        if not _SERIAL.fullmatch(serial):
            reader.faults.append("platform_public_keys has a name that is no serial")
        elif "BEGIN CERTIFICATE" in pem:
            certificate = reader.read(name, pem, _keys.certificate)
            if certificate is None:
                continue
            if serial.upper().lstrip("0") != f"{certificate.serial_number:X}":
                reader.faults.append(f"{name} is a certificate with another serial number")
            platform[serial.upper()] = PlatformKey(_keys.public_key_of(certificate), certificate)
        else:
            key = reader.read(name, pem, _keys.public_key)
            if key is not None:
                platform[serial] = PlatformKey(key)
    return platform
