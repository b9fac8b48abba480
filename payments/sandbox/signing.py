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

from payments.sandbox.faults import Faults
from payments.sandbox.keys import SandboxKeys

_HOUR = timedelta(hours=1)


class Signer:
    """Holds the platforms' private keys and the merchant's public ones."""

    def __init__(self, keys: SandboxKeys) -> None:
        """Read the keys."""
        self.keys = keys
        self._wechat = _load(keys.wechat_private_key)
        self._alipay = _load(keys.alipay_private_key)
        self._merchant = _load(keys.wechat_merchant_private_key).public_key()
        self._app = _load(keys.alipay_app_private_key).public_key()

    def merchant_signed(self, message: bytes, signature: str) -> bool:
        """Tell whether the WeChat Pay merchant signed it."""
        return _verifies(self._merchant, message, signature)

    def app_signed(self, message: bytes, signature: str) -> bool:
        """Tell whether the Alipay app signed it."""
        return _verifies(self._app, message, signature)

    def wechat_headers(self, body: bytes, faults: Faults) -> dict[str, str]:
        """Sign an answer or a notice of WeChat Pay, dated now or as the faults want it."""
        now = datetime.now(UTC) - (_HOUR if faults.stale else timedelta())
        timestamp, nonce = str(int(now.timestamp())), secrets.token_hex(16)
        signature = _sign(self._wechat, f"{timestamp}\n{nonce}\n".encode() + body + b"\n", faults)
        if faults.signtest:
            signature = f"WECHATPAY/SIGNTEST/{signature}"
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": self.keys.wechat_serial,
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
