"""PEM texts into RSA keys, and the proof that a pair can sign."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_MIN_BITS = 2048


def private_key(pem: str) -> RSAPrivateKey:
    """Read an RSA private key of at least 2048 bits.

    Raises:
        ValueError: it is none.  The text of the error never quotes the key.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):
        raise ValueError("is not a PEM private key") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _MIN_BITS:
        raise ValueError(f"is not an RSA key of {_MIN_BITS} bits or more")
    return key


def public_key(pem: str) -> RSAPublicKey:
    """Read an RSA public key of at least 2048 bits.

    Raises:
        ValueError: it is none.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except (TypeError, ValueError):
        raise ValueError("is not a PEM public key") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_BITS:
        raise ValueError(f"is not an RSA key of {_MIN_BITS} bits or more")
    return key


def pkcs8_pem(key: RSAPrivateKey) -> str:
    """Write a private key in the one form that wechatpayv3 reads."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def spki_pem(key: RSAPublicKey) -> str:
    """Write a public key in the one form that wechatpayv3 reads."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signs(key: RSAPrivateKey, signature: bytes, message: bytes) -> bool:
    """Tell whether the signature over the message is of this key."""
    try:
        key.public_key().verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
