"""Public keys as JSON Web Key Sets (RFC 7517): what an issuer publishes, a scanner loads."""

import re
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from qr.codes import KEY_IDS
from qr.jose import b64url, from_b64url


def write_jwks(keys: Mapping[int, Ed25519PublicKey]) -> dict[str, Any]:
    """Return the key set to publish."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "kid": f"q{key_id}",
                "use": "sig",
                "alg": "EdDSA",
                "x": b64url(key.public_bytes_raw()),
            }
            for key_id, key in keys.items()
        ]
    }


def read_jwks(document: Mapping[str, Any]) -> dict[int, Ed25519PublicKey]:
    """Return the keys of a published set, by key id, for a `Verifier`.

    Keys of other kinds and names are none of ours and are passed over, as RFC 7517 §5 asks.

    Raises:
        ValueError: `document` is not a key set, a key of ours is damaged, or two have one id.
    """
    keys: dict[int, Ed25519PublicKey] = {}
    try:
        for jwk in document["keys"]:
            if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
                continue
            key_id = read_key_id(jwk.get("kid"))
            if key_id is None:
                continue
            if key_id in keys:
                raise ValueError("two keys have the same id")
            keys[key_id] = Ed25519PublicKey.from_public_bytes(from_b64url(jwk["x"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a JSON Web Key Set") from error
    return keys


def read_key_id(kid: object) -> int | None:
    """Return the number in a `kid` such as `q7`, or None when it is not one of ours."""
    if not isinstance(kid, str) or not re.fullmatch("q(0|[1-9][0-9]{0,2})", kid):
        return None
    key_id = int(kid[1:])
    return key_id if key_id in KEY_IDS else None
