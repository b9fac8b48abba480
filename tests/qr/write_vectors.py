"""Writes qr/vectors.json: `python tests/qr/write_vectors.py`.

A second implementation of the format, made of bytes and raw Ed25519 only: it imports nothing of
`qr`, so that the two cannot be wrong together.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PATH = Path(__file__).parents[2] / "qr" / "vectors.json"
ISSUER = "ecard.example.edu.cn"
NOON = 1_790_000_000
SCOPES = {"pay": 1, "gate": 2, "door": 4, "service": 8}
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
KEYS = {
    7: Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    8: Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96))),
}
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
"""Signs under the id of another's key."""


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def body(
    *, scope=3, key_id=7, alias="0a1b2c3d4e5f", iat=NOON, lifetime=60, nonce="0102030405", v=1
):
    return (
        bytes([v << 4 | scope, key_id])
        + bytes.fromhex(alias)
        + iat.to_bytes(4, "big")
        + bytes([lifetime])
        + bytes.fromhex(nonce)
    )


def signing_input(body, issuer=ISSUER, typ="ecqr+jwt", aud="ecard:scan"):
    iat = int.from_bytes(body[8:12], "big")
    header = {"alg": "EdDSA", "kid": f"q{body[1]}", "typ": typ}
    claims = {
        "iss": issuer,
        "aud": aud,
        "sub": b64url(body[2:8]),
        "iat": iat,
        "exp": iat + body[12],
        "jti": b64url(body[13:18]),
        "scp": body[0] & 15,
    }
    return ".".join(b64url(json.dumps(o, separators=(",", ":")).encode()) for o in (header, claims))


def sign(body, key=None, **other):
    return (key or KEYS[body[1]]).sign(signing_input(body, **other).encode())


def digits(raw, prefix="961", width=198):
    return prefix + str(int.from_bytes(raw, "big")).zfill(width)


def signed(body, key=None, **other):
    return digits(body + sign(body, key, **other))


def luhn(digits):
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 - place % 2)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


def with_digits_from(zero, text):
    return "".join(chr(ord(zero) + int(digit)) for digit in text)


def valid_signed(name, code):
    iat, lifetime = int.from_bytes(code[8:12], "big"), code[12]
    signature = sign(code)
    return {
        "name": name,
        "text": digits(code + signature),
        "hex": (code + signature).hex(),
        "jwt": f"{signing_input(code)}.{b64url(signature)}",
        "fields": {
            "alias": code[2:8].hex(),
            "scope": code[0] & 15,
            "key_id": code[1],
            "issued_at": iat,
            "expires_at": iat + lifetime,
            "nonce": code[13:18].hex(),
        },
        "key": (b"S" + code[2:8] + code[13:18]).hex(),
        "accept_for": [name for name, bit in SCOPES.items() if code[0] & bit],
        "refuse_for": {
            name: "code-wrong-scope" for name, bit in SCOPES.items() if not code[0] & bit
        },
        "accept_at": [iat - 15, iat, iat + lifetime, iat + lifetime + 10],
        "reject_at": {
            str(iat - 16): "code-not-yet-valid",
            str(iat + lifetime + 11): "code-expired",
        },
    }


def valid_short(text):
    return {"text": text, "key": (b"N" + hashlib.sha256(text.encode()).digest()[:16]).hex()}


def invalid_signed():
    plain = body()
    raw = plain + sign(plain)
    text = digits(raw)
    s = int.from_bytes(raw[50:], "little") + GROUP_ORDER
    malleated = raw[:50] + s.to_bytes(32, "little")

    malformed = {
        "empty": "",
        "one digit short": text[:-1],
        "one digit long": text + "0",
        "half": text[:100],
        "leading space": " " + text,
        "space instead of the last digit": text[:-1] + " ",
        "trailing line feed": text + "\n",
        "trailing carriage return and line feed": text + "\r\n",
        "line feed instead of the last digit": text[:-1] + "\n",
        "plus sign": text[:3] + "+" + text[4:],
        "underscore": text[:10] + "_" + text[11:],
        "full-width digits": with_digits_from("０", text),
        "Arabic digits": with_digits_from("٠", text),
        "one Arabic digit": text[:-1] + with_digits_from("٠", text[-1]),
        "superscript two": text[:-1] + "²",
        "a letter": text[:-1] + "O",
        "the JWT itself": f"{signing_input(plain)}.{b64url(raw[18:])}",
        "256^82": "961" + str(256**82),
        "the same bytes a second time": "961" + str(int(text[3:]) + 256**82),
        "all nines": "961" + "9" * 198,
        "a pay code of another house": "1" + text[1:],
        "a short code": luhn("960" + "4839201756612348"),
        "prefix of a short code": "960" + text[3:],
        "type D, not read yet": "962" + text[3:],
        "type R, not read yet": "963" + text[3:],
        "type 4": "964" + text[3:],
        "version 0, well signed": signed(body(v=0)),
        "version 2, well signed": signed(body(v=2)),
        "lifetime 0, well signed": signed(body(lifetime=0)),
        "lifetime 61, well signed": signed(body(lifetime=61)),
        "lifetime 255, well signed": signed(body(lifetime=255)),
        "all zero": digits(bytes(82)),
    }
    forged = {
        "last digit + 1": digits((int.from_bytes(raw, "big") + 1).to_bytes(82, "big")),
        "scope raised": digits(body(scope=15) + raw[18:]),
        "key id of another key": digits(body(key_id=8) + raw[18:]),
        "alias changed": digits(body(alias="0a1b2c3d4e60") + raw[18:]),
        "issued a second later": digits(body(iat=NOON + 1) + raw[18:]),
        "lifetime cut": digits(body(lifetime=59) + raw[18:]),
        "nonce changed": digits(body(nonce="0102030406") + raw[18:]),
        "signature of another code": digits(plain + sign(body(nonce="ffffffffff"))),
        "signature all zero": digits(plain + bytes(64)),
        "signature of the identity": digits(plain + b"\x01" + bytes(63)),
        "signature S + L": digits(malleated),
        "signature halves swapped": digits(plain + raw[50:] + raw[18:50]),
        "signed by another key": signed(plain, STRANGER),
        "signed as a delegation": signed(plain, typ="eccert+jwt"),
        "signed as a plain JWT": signed(plain, typ="JWT"),
        "signed for another audience": signed(plain, aud="ecard:login"),
        "signed by another school": signed(plain, issuer="ecard.example.org"),
        "raw bytes signed, not the JWT": digits(plain + KEYS[7].sign(plain)),
        "expired and forged": digits(body(iat=NOON - 3600) + raw[18:]),
    }
    late, early = body(iat=NOON - 71), body(iat=NOON + 16)
    other = {
        "unknown key": (signed(body(key_id=9), STRANGER), "code-unknown-key"),
        "unknown key, expired": (signed(body(key_id=9, iat=1), STRANGER), "code-unknown-key"),
        "one second too early": (signed(early), "code-not-yet-valid"),
        "one second too late": (signed(late), "code-expired"),
        "in 2106": (signed(body(iat=2**32 - 1)), "code-not-yet-valid"),
        "in 1970": (signed(body(iat=0)), "code-expired"),
        "expired and for another use": (signed(body(iat=0, scope=2)), "code-expired"),
        "for the gate": (signed(body(scope=2)), "code-wrong-scope"),
        "for all but paying": (signed(body(scope=14)), "code-wrong-scope"),
        "for nothing": (signed(body(scope=0)), "code-wrong-scope"),
    }
    return (
        {name: (text, "code-malformed") for name, text in malformed.items()}
        | {name: (text, "code-forged") for name, text in forged.items()}
        | other
    )


def vectors():
    short = luhn("960" + "4839201756612348")
    return {
        "note": "TEST KEYS ONLY: everybody knows them. Times are seconds since 1970. "
        "Each code under invalid.signed is refused with `code` at `at` for `need`.",
        "issuer": ISSUER,
        "audience": "ecard:scan",
        "seeds": {f"q{key_id}": key.private_bytes_raw().hex() for key_id, key in KEYS.items()},
        "jwks": {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "kid": f"q{key_id}",
                    "use": "sig",
                    "alg": "EdDSA",
                    "x": b64url(key.public_key().public_bytes_raw()),
                }
                for key_id, key in KEYS.items()
            ]
        },
        "valid": {
            "signed": [
                valid_signed("pay and gate", body()),
                valid_signed("every use", body(scope=15)),
                valid_signed("door only, the other key", body(scope=4, key_id=8)),
                valid_signed("lives one second", body(lifetime=1)),
                valid_signed(
                    "zero alias and nonce", body(alias="000000000000", nonce="0000000000")
                ),
                valid_signed(
                    "alias and nonce all ones", body(alias="ffffffffffff", nonce="ffffffffff")
                ),
                valid_signed("the last second of the format", body(iat=2**32 - 61)),
            ],
            "short": [
                valid_short(text)
                for text in (short, luhn("960" + "0" * 16), luhn("960" + "9" * 16))
            ],
        },
        "invalid": {
            "signed": [
                {"name": name, "text": text, "need": "pay", "at": NOON, "code": code}
                for name, (text, code) in invalid_signed().items()
            ],
            "short": [
                {"name": name, "text": text, "code": "code-malformed"}
                for name, text in {
                    "empty": "",
                    "check digit + 1": short[:-1] + str((int(short[-1]) + 1) % 10),
                    "two neighbours swapped": short[:5] + short[6] + short[5] + short[7:],
                    "one digit short": short[:-1],
                    "one digit long": short + "0",
                    "leading space": " " + short,
                    "trailing line feed": short + "\n",
                    "full-width digits": with_digits_from("０", short),
                    "Arabic digits": with_digits_from("٠", short),
                    "another prefix, check digit right": luhn("961" + short[3:-1]),
                    "a WeChat pay code": "134567890123456789",
                    "a signed code": signed(body()),
                }.items()
            ],
        },
    }


def spelled():
    return json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(spelled(), encoding="ascii")
