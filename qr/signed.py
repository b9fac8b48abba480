"""Signed codes (签名码, type S): 82 bytes in 201 digits, and the JWT that they stand for.

    version:4 | scope:4, key_id 1, alias 6, issued_at 4, lifetime 1, nonce 5, signature 64

No cryptography here: `issuer` signs and `verifier` checks.
"""

import re
from datetime import timedelta

from qr.codes import CodeMalformed, Scope, SignedCode
from qr.digits import read_digits, write_digits
from qr.epoch import from_epoch, to_epoch
from qr.jose import b64url, signing_input

AUDIENCE = "ecard:scan"
VERSION = 1
"""Of the format, in the high half of the first byte of every code."""
LIFETIME = timedelta(seconds=60)
"""How long a code lives unless told otherwise (有效期), and the longest that the format knows."""

_PREFIX = "961"
_BODY_SIZE = 18
_SIGNATURE_SIZE = 64
_SECOND = timedelta(seconds=1)


def write_signed(code: SignedCode, signature: bytes) -> str:
    """Return the 201 digits that carry `code` and its 64-byte signature."""
    lifetime = (code.expires_at - code.issued_at) // _SECOND
    body = (
        bytes([VERSION << 4 | int(code.scope), code.key_id])
        + code.alias
        + to_epoch(code.issued_at).to_bytes(4, "big")
        + bytes([lifetime])
        + code.nonce
    )
    return write_digits(body + signature, prefix=_PREFIX)


def read_signed(text: str) -> tuple[SignedCode, bytes]:
    """Return what `text` claims, unchecked, and its signature.

    Raises:
        CodeMalformed: `text` is not a signed code of version 1 with a lifetime of 1 to 60 seconds.
            A longer life is no code of this format, however well signed.
    """
    raw = read_digits(text, prefix=_PREFIX, size=_BODY_SIZE + _SIGNATURE_SIZE)
    body, signature = raw[:_BODY_SIZE], raw[_BODY_SIZE:]
    version, scope = divmod(body[0], 16)
    lifetime = body[12] * _SECOND
    if version != VERSION or not _SECOND <= lifetime <= LIFETIME:
        raise CodeMalformed
    issued_at = from_epoch(int.from_bytes(body[8:12], "big"))
    code = SignedCode(
        alias=body[2:8],
        scope=Scope(scope),
        key_id=body[1],
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
        nonce=body[13:18],
    )
    return code, signature


def signed_header(code: SignedCode) -> dict[str, str]:
    """Return the header of the JWT. Nobody sends it, so nobody can choose it."""
    return {"alg": "EdDSA", "kid": f"q{code.key_id}", "typ": "ecqr+jwt"}


def signed_claims(code: SignedCode, issuer: str) -> dict[str, str | int]:
    """Return the claims of the JWT, in the order that the signature covers."""
    return {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": b64url(code.alias),
        "iat": to_epoch(code.issued_at),
        "exp": to_epoch(code.expires_at),
        "jti": b64url(code.nonce),
        "scp": int(code.scope),
    }


def signed_input(code: SignedCode, issuer: str) -> str:
    """Return the first two segments of the JWT: exactly the text that is signed."""
    return signing_input(signed_header(code), signed_claims(code, issuer))


def signed_jwt(code: SignedCode, signature: bytes, issuer: str) -> str:
    """Return the whole JWT."""
    return f"{signed_input(code, issuer)}.{b64url(signature)}"


def rebuild_jwt(text: str, *, issuer: str) -> str:
    """Return the exact JWT that a signed code stands for, for any JOSE library. Checks nothing.

    Args:
        text: what the scanner read.
        issuer: the school's name as it stands in `iss`. It is signed but not carried.

    Raises:
        ValueError: `issuer` cannot be an issuer.
        CodeMalformed: `text` is not a signed code.
    """
    return signed_jwt(*read_signed(text), check_issuer(issuer))


def check_issuer(issuer: str) -> str:
    """Return `issuer` when every JSON library spells it alike, as all spell a host name.

    Raises:
        ValueError: it is empty or has a character that some library would escape.
    """
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", issuer):
        raise ValueError("an issuer is made of letters, digits and . _ : -")
    return issuer
