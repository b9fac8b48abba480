"""The platforms' signatures: checking the merchant's, making their own."""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from payments._keys import private_key
from payments.sandbox.faults import Faults
from payments.sandbox.keys import SandboxKeys

_HOUR = timedelta(hours=1)


class Signer:
    """Holds the platforms' private keys and the merchant's public ones.

    Attributes:
        keys: of the merchant who orders and gets notices.
        made: as they were made here.  The mini programs log in with these if the environment
            gives the merchant other ids and keys.
    """

    def __init__(self, keys: SandboxKeys, made: SandboxKeys | None = None) -> None:
        """Read the keys."""
        self.keys = keys
        self.made = made or keys
        self._wechat = {
            keys.wechat_serial: _load(keys.wechat_private_key),
            keys.wechat_platform_serial: _load(keys.wechat_platform_private_key),
        }
        self._alipay = _load(keys.alipay_private_key)
        self._merchant = _public(keys.wechat_merchant_private_key)
        self._apps = [
            (each.alipay_app_id, _public(each.alipay_app_private_key)) for each in (keys, self.made)
        ]

    def merchant_signed(self, message: bytes, signature: str) -> bool:
        """Tell whether the WeChat Pay merchant signed it."""
        return _verifies(self._merchant, message, signature)

    def app_known(self, app_id: str | None) -> bool:
        """Tell whether there is an Alipay app of that id."""
        return app_id in [known for known, _ in self._apps]

    def app_signed(self, message: bytes, signature: str) -> bool:
        """Tell whether an Alipay app signed it."""
        return any(_verifies(key, message, signature) for _, key in self._apps)

    def wechat_serial(self, wanted: str | None) -> str:
        """Name the key that signs for whoever wants this one: it, if there is such a key."""
        return wanted if wanted in self._wechat else self.keys.wechat_serial

    def wechat_headers(self, body: bytes, faults: Faults, serial: str = "") -> dict[str, str]:
        """Sign an answer or a notice of WeChat Pay, dated now or as the faults want it.

        Args:
            serial: of the key to sign with; the public key's by default.
        """
        serial = self.wechat_serial(serial)
        now = datetime.now(UTC) - (_HOUR if faults.stale else timedelta())
        timestamp, nonce = str(int(now.timestamp())), secrets.token_hex(16)
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = _sign(self._wechat[serial], message, faults)
        if faults.signtest:
            signature = f"WECHATPAY/SIGNTEST/{signature}"
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": serial,
            "Wechatpay-Signature": signature,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        }

    def wechat_resource(self, original_type: str, content: Mapping[str, Any]) -> dict[str, str]:
        """Encrypt what a notice of WeChat Pay tells."""
        nonce = secrets.token_hex(6)
        plain = json.dumps(content, ensure_ascii=False).encode()
        cipher = AESGCM(self.keys.wechat_api_v3_key.encode())
        sealed = cipher.encrypt(nonce.encode(), plain, original_type.encode())
        return {
            "original_type": original_type,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": original_type,
            "nonce": nonce,
        }

    def alipay_signature(self, message: str, faults: Faults) -> str:
        """Sign an answer or a notice of Alipay."""
        return _sign(self._alipay, message.encode(), faults)


def _load(pem: str) -> RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the sandbox makes RSA keys only")
    return key


def _public(private_pem: str) -> RSAPublicKey:
    return private_key(private_pem).public_key()


def _sign(key: RSAPrivateKey, message: bytes, faults: Faults) -> str:
    if faults.bad_signature:
        message += b" "
    return base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode()


def _verifies(key: RSAPublicKey, message: bytes, signature: str) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), message, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
