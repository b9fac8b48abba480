"""The few spellings of JSON Web Tokens that the format fixes. No cryptography."""

import base64
import json
from collections.abc import Mapping


def b64url(raw: bytes) -> str:
    """Return `raw` in unpadded base64url, as JWS and JWK spell bytes."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def from_b64url(text: str) -> bytes:
    """Return the bytes that `text` spells.

    Raises:
        ValueError: `text` is not the one unpadded base64url spelling of any bytes.
    """
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def signing_input(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    """Return the first two segments of a JWT, with members in the order given and no spaces."""
    return f"{_segment(header)}.{_segment(claims)}"


def _segment(content: Mapping[str, object]) -> str:
    return b64url(json.dumps(content, separators=(",", ":")).encode("ascii"))
