"""PEM texts into RSA keys and certificates, and the proof that a pair can sign."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
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

Key = TypeVar("Key")

_MIN_BITS = 2048
_BEGIN = "-----BEGIN "
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_LINE = 64
# No computer that runs this had its clock right before.
_EARLIEST_CLOCK = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """A key with which a platform signs; for ever, or as long as its certificate is in date."""

    public: RSAPublicKey
    certificate: x509.Certificate | None = None

    def in_date(self, now: datetime) -> bool:
        """Tell whether the platform may sign with it now."""
        return self.certificate is None or in_date(self.certificate, now)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature over the message is of this key (RSA, SHA-256)."""
        try:
            self.public.verify(signature, message, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


def private_key(pem: str) -> RSAPrivateKey:
    """Read an RSA private key of at least 2048 bits; Alipay's tools write them without frame.

    Raises:
        ValueError: it is none.  The text of the error never quotes the key.
    """
    for label in ("PRIVATE KEY", "RSA PRIVATE KEY"):
        try:
            key = load_pem_private_key(_framed(pem, label), password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_BITS:
            return key
        raise ValueError(f"is not an RSA key of {_MIN_BITS} bits or more")
    raise ValueError("is not a PEM private key")


def public_key(pem: str) -> RSAPublicKey:
    """Read an RSA public key of at least 2048 bits; Alipay shows its own without frame.

    Raises:
        ValueError: it is none.
    """
    try:
        key = load_pem_public_key(_framed(pem, "PUBLIC KEY"))
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a PEM public key") from None
    return _strong(key)


def certificate(pem: str) -> x509.Certificate:
    """Read the first certificate of the text, over an RSA key of at least 2048 bits.

    Raises:
        ValueError: there is none.
    """
    found = certificates(pem)
    if not found:
        raise ValueError("is not a PEM certificate")
    public_key_of(found[0])
    return found[0]


def certificates(pem: str) -> list[x509.Certificate]:
    """Read every certificate of a chain, of whatever algorithm, however it breaks its lines.

    Raises:
        ValueError: one of them is none.
    """
    found = [match[0] for match in _BLOCK.finditer(pem) if match[1] == "CERTIFICATE"]
    try:
        return [x509.load_pem_x509_certificate(block.encode()) for block in found]
    except ValueError:
        raise ValueError("is not a PEM certificate") from None


def public_key_of(certificate: x509.Certificate) -> RSAPublicKey:
    """Give the certificate's key.

    Raises:
        ValueError: it is no RSA key of at least 2048 bits.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    return _strong(key)


def blocks(pem: str) -> list[str]:
    """Cut a text of several PEM blocks into each; a text without frames is one."""
    return [match[0] for match in _BLOCK.finditer(pem)] or [pem]


def in_date(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether the certificate is valid at this time."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def date_faults(named: Iterable[tuple[str, x509.Certificate | None]], now: datetime) -> list[str]:
    """Name the certificates that are out of date, and a clock that cannot be right."""
    faults = [
        f"{name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d}"
        f" to {certificate.not_valid_after_utc:%Y-%m-%d} only"
        for name, certificate in named
        if certificate is not None and not in_date(certificate, now)
    ]
    if now < _EARLIEST_CLOCK:
        faults.append("the clock of this machine is wrong")
    return faults


def pair_faults(
    name: str, certificate: x509.Certificate | None, private: RSAPrivateKey | None
) -> list[str]:
    """Name a certificate that is not of our own private key."""
    if certificate is None or private is None:
        return []
    fits = certificate.public_key() == private.public_key()
    return [] if fits else [f"{name} is not of our private key"]


class Reader:
    """Reads one key after another and collects what is wrong with them."""

    def __init__(self) -> None:
        """Start without faults."""
        self.faults: list[str] = []

    def read(self, name: str, pem: str | None, reading: Callable[[str], Key]) -> Key | None:
        """Read a key; None, and a fault that names it, if that cannot be."""
        if pem is None:
            return None
        try:
            return reading(pem)
        except ValueError as error:
            self.faults.append(f"{name} {error}")
            return None


def pkcs8_pem(key: RSAPrivateKey) -> str:
    """Write a private key in the one form that every SDK reads."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def spki_pem(key: RSAPublicKey) -> str:
    """Write a public key in the one form that every SDK reads."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _strong(key: object) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_BITS:
        raise ValueError(f"is not an RSA key of {_MIN_BITS} bits or more")
    return key


def _framed(text: str, label: str) -> bytes:
    if _BEGIN in text:
        return text.strip().encode()
    bare = "".join(text.split())
    lines = (bare[start : start + _LINE] for start in range(0, len(bare), _LINE))
    return "\n".join([f"{_BEGIN}{label}-----", *lines, f"-----END {label}-----", ""]).encode()
