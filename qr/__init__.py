"""Card codes (动态码): the short-lived codes that a phone shows and a scanner reads.

Stands alone: a scanner needs this package, PyJWT and cryptography. Pictures are in `qr.image`, a
scanner that decides without network in `qr.scanner`.
"""

from qr.codes import (
    CardCode,
    CodeError,
    CodeExpired,
    CodeForged,
    CodeMalformed,
    CodeNotYetValid,
    CodeUnknownKey,
    CodeWrongScope,
    Delegation,
    DeviceCode,
    Scope,
    SignedCode,
)
from qr.delegation import is_weak_key, read_delegation
from qr.device import make_device_code
from qr.issuer import Issuer
from qr.jwks import read_jwks
from qr.keys import KeyRing, KeyRingError, SigningKey
from qr.short import is_short_code, make_short_code, short_code_key
from qr.signed import LIFETIME, rebuild_jwt
from qr.verifier import EARLY, LATE, Verifier

__all__ = [
    "EARLY",
    "LATE",
    "LIFETIME",
    "CardCode",
    "CodeError",
    "CodeExpired",
    "CodeForged",
    "CodeMalformed",
    "CodeNotYetValid",
    "CodeUnknownKey",
    "CodeWrongScope",
    "Delegation",
    "DeviceCode",
    "Issuer",
    "KeyRing",
    "KeyRingError",
    "Scope",
    "SignedCode",
    "SigningKey",
    "Verifier",
    "is_short_code",
    "is_weak_key",
    "make_device_code",
    "make_short_code",
    "read_delegation",
    "read_jwks",
    "rebuild_jwt",
    "short_code_key",
]
