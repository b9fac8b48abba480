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
DEVICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
DEVICE_PUBLIC = DEVICE.public_key().public_bytes_raw()
WEAK_ORDERS = {
    "0000000000000000000000000000000000000000000000000000000000000000": 4,
    "0100000000000000000000000000000000000000000000000000000000000000": 1,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": 8,
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": 8,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": 2,
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": 4,
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": 1,
}
"""Every spelling of a point of small order, sign bit clear, and its order: no secret is needed."""
WEAK_KEYS = {
    bytes.fromhex(key[:62] + f"{int(key[62:], 16) | sign:02x}"): order
    for key, order in WEAK_ORDERS.items()
    for sign in (0, 128)
}
IDENTITY = b"\x01" + bytes(31)


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
    return segments(header, claims)


def segments(*contents):
    return ".".join(b64url(json.dumps(o, separators=(",", ":")).encode()) for o in contents)


def sign(body, key=None, **other):
    return (key or KEYS[body[1]]).sign(signing_input(body, **other).encode())


def digits(raw, prefix="961", width=198):
    return prefix + str(int.from_bytes(raw, "big")).zfill(width)


def signed(body, key=None, **other):
    return digits(body + sign(body, key, **other))


def grant(
    *,
    scope=15,
    key_id=7,
    serial=119463,
    public=DEVICE_PUBLIC,
    until=NOON + 72 * 3600,
    yuan=15,
    count=3,
    v=1,
):
    """A delegation without its signature."""
    return (
        bytes([v << 4 | scope, key_id])
        + serial.to_bytes(4, "big")
        + public
        + until.to_bytes(4, "big")
        + bytes([yuan, count])
    )


def grant_input(body, issuer=ISSUER, typ="eccert+jwt", aud="ecard:scan"):
    header = {"alg": "EdDSA", "kid": f"q{body[1]}", "typ": typ}
    claims = {
        "iss": issuer,
        "aud": aud,
        "sub": f"d{int.from_bytes(body[2:6], 'big')}",
        "exp": int.from_bytes(body[38:42], "big"),
        "cnf": {"jwk": {"crv": "Ed25519", "kty": "OKP", "x": b64url(body[6:38])}},
        "cap": [body[42], body[43]],
        "scp": body[0] & 15,
    }
    return segments(header, claims)


def delegation(body, key=None, **other):
    return body + (key or KEYS[body[1]]).sign(grant_input(body, **other).encode())


def showing(*, t=NOON, scope=1, seq=0):
    """A proof without its signature."""
    return t.to_bytes(4, "big") + bytes([scope << 4 | seq])


def fingerprint(delegation):
    return hashlib.sha512(delegation).digest()[:16]


def showing_input(body, cth, typ="ecproof+jwt", aud="ecard:scan", **header):
    claims = {
        "aud": aud,
        "cth": b64url(cth),
        "iat": int.from_bytes(body[:4], "big"),
        "seq": body[4] & 15,
        "scp": body[4] >> 4,
    }
    return segments({"alg": "EdDSA", **header, "typ": typ}, claims)


def proof(delegation, body, key=DEVICE, *, cth=None, **other):
    message = showing_input(body, cth or fingerprint(delegation), **other)
    return body + key.sign(message.encode())


def device(delegation, body=None, **other):
    """The code of a phone that shows `delegation` honestly, apart from `other`."""
    return device_digits(delegation + proof(delegation, body or showing(), **other))


def device_digits(raw):
    return digits(raw, "962", 427)


# Just enough of the curve, in plain affine coordinates, to sign as no honest phone would.

FIELD = 2**255 - 19
CURVE = -121665 * pow(121666, -1, FIELD) % FIELD
DEVICE_SCALAR = (
    int.from_bytes(hashlib.sha512(bytes(range(32, 64))).digest()[:32], "little") & ((1 << 254) - 8)
    | 1 << 254
)


def decoded(encoding):
    y = int.from_bytes(encoding, "little") & ((1 << 255) - 1)
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if (x * x - square) % FIELD:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    if (x * x - square) % FIELD:
        raise ValueError("not on the curve")
    return (FIELD - x if x & 1 != encoding[31] >> 7 else x), y


def encoded(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def added(one, other):
    (x1, y1), (x2, y2) = one, other
    cross = CURVE * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + cross, -1, FIELD) % FIELD,
        (y1 * y2 + x1 * x2) * pow(1 - cross, -1, FIELD) % FIELD,
    )


def times(number, point):
    total = (0, 1)
    while number:
        if number & 1:
            total = added(total, point)
        point, number = added(point, point), number >> 1
    return total


BASE = decoded(b"\x58" + b"\x66" * 31)
EIGHTH = decoded(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
"""A point of order 8: multiplied by the cofactor it vanishes, so a lenient check overlooks it."""


def challenge(message, commitment, public):
    digest = hashlib.sha512(commitment + public + message.encode()).digest()
    return int.from_bytes(digest, "little") % GROUP_ORDER


def crafted(message, nonce, commitment, public=DEVICE_PUBLIC):
    """The device's signature of `message` with a commitment of our choice."""
    s = (nonce + challenge(message, commitment, public) * DEVICE_SCALAR) % GROUP_ORDER
    return commitment + s.to_bytes(32, "little")


def malleated(signature):
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    return signature[:32] + s.to_bytes(32, "little")


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


def valid_device(name, grant, shown):
    certificate = delegation(grant)
    made = proof(certificate, shown)
    granted, proven = grant[0] & 15, shown[4] >> 4
    scope = granted & proven
    iat, seq = int.from_bytes(shown[:4], "big"), shown[4] & 15
    until = int.from_bytes(grant[38:42], "big")
    expires_at = min(iat + 60, until)
    return {
        "name": name,
        "text": device_digits(certificate + made),
        "hex": (certificate + made).hex(),
        "delegation_jwt": f"{grant_input(grant)}.{b64url(certificate[44:])}",
        "proof_jwt": f"{showing_input(shown, fingerprint(certificate))}.{b64url(made[5:])}",
        "fields": {
            "scope": scope,
            "key_id": grant[1],
            "serial": int.from_bytes(grant[2:6], "big"),
            "public_key": grant[6:38].hex(),
            "delegation_scope": granted,
            "delegation_expires_at": until,
            "cap_yuan": grant[42],
            "cap_count": grant[43],
            "proof_scope": proven,
            "issued_at": iat,
            "sequence": seq,
            "expires_at": expires_at,
        },
        "key": (b"D" + grant[2:6] + shown[:4] + bytes([seq])).hex(),
        "accept_for": [name for name, bit in SCOPES.items() if scope & bit],
        "refuse_for": {name: "code-wrong-scope" for name, bit in SCOPES.items() if not scope & bit},
        "accept_at": sorted({iat - 15, iat, expires_at}),
        "reject_at": {
            str(iat - 16): "code-not-yet-valid",
            str(expires_at + 1): "code-expired",
        },
    }


def valid_short(text):
    return {"text": text, "key": (b"N" + hashlib.sha256(text.encode()).digest()[:16]).hex()}


def no_code_texts(text, size):
    """What is not quite the `text` of `size` bytes; much of it would pass a lenient reader."""
    prefix, width = text[:3], len(text) - 3
    return {
        "empty": "",
        "one digit short": text[:-1],
        "one digit long": text + "0",
        "half": text[: len(text) // 2],
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
        f"256^{size}": prefix + str(256**size),
        "the same bytes a second time": prefix + str(int(text[3:]) + 256**size),
        "all nines": prefix + "9" * width,
        "a pay code of another house": "1" + text[1:],
        "a short code": luhn("960" + "4839201756612348"),
        "prefix of a short code": "960" + text[3:],
        "type R, not read yet": "963" + text[3:],
        "type 4": "964" + text[3:],
        "all zero": prefix + "0" * width,
    }


def invalid_signed():
    plain = body()
    raw = plain + sign(plain)
    text = digits(raw)

    malformed = no_code_texts(text, 82) | {
        "the JWT itself": f"{signing_input(plain)}.{b64url(raw[18:])}",
        "prefix of a device code": "962" + text[3:],
        "a device code's digits": "961" + device(delegation(grant()))[3:],
        "version 0, well signed": signed(body(v=0)),
        "version 2, well signed": signed(body(v=2)),
        "lifetime 0, well signed": signed(body(lifetime=0)),
        "lifetime 61, well signed": signed(body(lifetime=61)),
        "lifetime 255, well signed": signed(body(lifetime=255)),
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
        "signature S + L": digits(plain + malleated(raw[18:])),
        "signature halves swapped": digits(plain + raw[50:] + raw[18:50]),
        "signed by another key": signed(plain, STRANGER),
        "signature of a delegation": digits(plain + delegation(grant())[44:]),
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


def invalid_device():
    plain, shown = grant(), showing()
    certificate = delegation(plain)
    made = proof(certificate, shown)
    text = device_digits(certificate + made)
    message = showing_input(shown, fingerprint(certificate))
    code_body = body()
    school_made = code_body + sign(code_body)

    def granted(body, signature):
        """A delegation that says `body`, shown by its own device."""
        return device(body + signature)

    def proven(signature, body=shown):
        return device_digits(certificate + body + signature)

    malformed = no_code_texts(text, 177) | {
        "the proof as a JWT": f"{message}.{b64url(made[5:])}",
        "prefix of a signed code": "961" + text[3:],
        "a signed code's digits": "962" + digits(school_made)[3:],
        "a signed code's bytes": device_digits(bytes(95) + school_made),
        "the delegation alone": "962" + str(int.from_bytes(certificate, "big")),
        "version 0, well signed": device(delegation(grant(v=0))),
        "version 2, well signed": device(delegation(grant(v=2))),
        "version 0, unknown key": device(delegation(grant(v=0, key_id=9), STRANGER)),
    }
    changed_grants = {
        "scope": grant(scope=14),
        "key id": grant(key_id=8),
        "serial": grant(serial=119464),
        "expiry": grant(until=NOON + 72 * 3600 + 1),
        "cap in yuan": grant(yuan=16),
        "cap of uses": grant(count=4),
    }
    changed_showings = {
        "time": showing(t=NOON + 1),
        "scope": showing(scope=3),
        "sequence": showing(seq=1),
    }
    changed_key = grant(public=DEVICE_PUBLIC[:31] + bytes([DEVICE_PUBLIC[31] + 1]))
    own_key = grant(public=STRANGER.public_key().public_bytes_raw())
    forged = {
        "last digit + 1": "962" + str(int(text[3:]) + 1).zfill(427),
        **{
            f"delegation: {name} changed, shown anew": granted(body, certificate[44:])
            for name, body in changed_grants.items()
        },
        **{
            f"delegation: {name} changed, old proof": device_digits(body + certificate[44:] + made)
            for name, body in changed_grants.items()
        },
        "delegation: device key changed": device_digits(changed_key + certificate[44:] + made),
        "delegation: device key of a thief": device(own_key + certificate[44:], key=STRANGER),
        "delegation: signed by the device itself": device(delegation(plain, DEVICE)),
        "delegation: signed by a stranger": device(delegation(plain, STRANGER)),
        "delegation: signed by the school's other key": device(delegation(plain, KEYS[8])),
        "delegation: signed by another school": device(
            delegation(plain, issuer="ecard.example.org")
        ),
        "delegation: signed for another audience": device(delegation(plain, aud="ecard:login")),
        "delegation: signed as a code": device(delegation(plain, typ="ecqr+jwt")),
        "delegation: signed as a plain JWT": device(delegation(plain, typ="JWT")),
        "delegation: signature of a code": granted(plain, school_made[18:]),
        "delegation: signature of another delegation": granted(
            plain, delegation(grant(serial=119464))[44:]
        ),
        "delegation: raw bytes signed, not the JWT": granted(plain, KEYS[7].sign(plain)),
        "delegation: signature S + L": granted(plain, malleated(certificate[44:])),
        "delegation: signature halves swapped": granted(
            plain, certificate[76:] + certificate[44:76]
        ),
        "delegation: signature all zero": granted(plain, bytes(64)),
        "delegation: signature of the identity": granted(plain, IDENTITY + bytes(32)),
        **{
            f"proof: {name} changed": proven(made[5:], body)
            for name, body in changed_showings.items()
        },
        "proof: of a delegation with lower caps": device_digits(
            delegation(grant(yuan=255, count=255)) + made
        ),
        "proof: of another serial": device_digits(delegation(grant(serial=119464)) + made),
        "proof: of a renewed delegation": device_digits(
            delegation(grant(until=NOON + 96 * 3600)) + made
        ),
        "proof: by another device": device(certificate, key=STRANGER),
        "proof: by the school": device(certificate, key=KEYS[7]),
        "proof: signature of the delegation": proven(certificate[44:]),
        "proof: signature of a code": proven(school_made[18:]),
        "proof: signature of another proof": proven(proof(certificate, showing(seq=1))[5:]),
        "proof: signed as a code": device(certificate, typ="ecqr+jwt"),
        "proof: signed as a delegation": device(certificate, typ="eccert+jwt"),
        "proof: signed as a plain JWT": device(certificate, typ="JWT"),
        "proof: signed with a key id": device(certificate, kid="q7"),
        "proof: signed for another audience": device(certificate, aud="ecard:login"),
        "proof: of the delegation without its signature": device(
            certificate, cth=fingerprint(plain)
        ),
        "proof: of the delegation by SHA-256": device(
            certificate, cth=hashlib.sha256(certificate).digest()[:16]
        ),
        "proof: of the whole hash": device(certificate, cth=hashlib.sha512(certificate).digest()),
        "proof: raw bytes signed, not the JWT": proven(DEVICE.sign(certificate + shown)),
        "proof: signature S + L": proven(malleated(made[5:])),
        "proof: signature halves swapped": proven(made[37:] + made[5:37]),
        "proof: signature all zero": proven(bytes(64)),
        "proof: signature of the identity": proven(IDENTITY + bytes(32)),
        "proof: point of order 8 in the signature": proven(
            crafted(message, 5, encoded(added(times(5, BASE), EIGHTH)))
        ),
        "proof: signature's point spelled beyond the field": proven(
            crafted(message, 0, bytes.fromhex("ee" + "ff" * 30 + "7f"))
        ),
        "device key with a point of order 8 in it": shown_by_mixed_key(),
        "device key not on the curve": device(delegation(grant(public=b"\x02" + bytes(31)))),
        "expired and forged": device(delegation(grant(until=NOON - 1), STRANGER)),
        **{f"weak device key {key.hex()}": shown_by_nobody(key) for key in WEAK_KEYS},
    }
    gone = delegation(grant(until=NOON - 1))
    other = {
        "unknown key": (device(delegation(grant(key_id=9), STRANGER)), "code-unknown-key"),
        "unknown key, expired": (
            device(delegation(grant(key_id=9, until=1), STRANGER), showing(t=1)),
            "code-unknown-key",
        ),
        "unknown key, proof by another device": (
            device(delegation(grant(key_id=9), STRANGER), key=STRANGER),
            "code-unknown-key",
        ),
        "post-dated by 16 seconds": (
            device(certificate, showing(t=NOON + 16)),
            "code-not-yet-valid",
        ),
        "one second too late": (device(certificate, showing(t=NOON - 61)), "code-expired"),
        "shown in 2106": (device(certificate, showing(t=2**32 - 1)), "code-not-yet-valid"),
        "shown in 1970": (device(certificate, showing(t=0)), "code-expired"),
        "delegation expired a second ago": (device(gone), "code-expired"),
        "delegation expired before the proof's own time": (
            device(gone, showing(t=NOON + 15)),
            "code-expired",
        ),
        "delegation expired in 1970": (device(delegation(grant(until=0))), "code-expired"),
        "delegation expired, post-dated": (
            device(gone, showing(t=NOON + 16)),
            "code-not-yet-valid",
        ),
        "post-dated and for another use": (
            device(certificate, showing(t=NOON + 16, scope=2)),
            "code-not-yet-valid",
        ),
        "delegation expired and for another use": (
            device(gone, showing(scope=2)),
            "code-expired",
        ),
        "shown for the gate": (device(certificate, showing(scope=2)), "code-wrong-scope"),
        "delegated for the gate": (
            device(delegation(grant(scope=2)), showing(scope=15)),
            "code-wrong-scope",
        ),
        "delegated for the gate, shown for paying": (
            device(delegation(grant(scope=2)), showing(scope=1)),
            "code-wrong-scope",
        ),
        "delegated for nothing": (
            device(delegation(grant(scope=0)), showing(scope=15)),
            "code-wrong-scope",
        ),
        "shown for nothing": (device(certificate, showing(scope=0)), "code-wrong-scope"),
    }
    return (
        {name: (text, "code-malformed") for name, text in malformed.items()}
        | {name: (text, "code-forged") for name, text in forged.items()}
        | other
    )


def shown_by_nobody(key):
    """A code for a weak key, in a moment in which S = 0 passes for its signature."""
    certificate = delegation(grant(public=key))
    for step in range(1024):
        body = showing(t=NOON - step // 16 % 60, seq=step % 16)
        message = showing_input(body, fingerprint(certificate))
        if challenge(message, IDENTITY, key) % WEAK_KEYS[key] == 0:
            return device_digits(certificate + body + IDENTITY + bytes(32))
    raise ValueError("no such moment")


def shown_by_mixed_key():
    """A code that is good times eight, but not by itself."""
    public = encoded(added(decoded(DEVICE_PUBLIC), EIGHTH))
    certificate = delegation(grant(public=public))
    message = showing_input(showing(), fingerprint(certificate))
    nonce = 1
    while challenge(message, encoded(times(nonce, BASE)), public) % 8 == 0:
        nonce += 1
    signature = crafted(message, nonce, encoded(times(nonce, BASE)), public)
    return device_digits(certificate + showing() + signature)


def vectors():
    short = luhn("960" + "4839201756612348")
    return {
        "note": "TEST KEYS ONLY: everybody knows them. Times are seconds since 1970. "
        "Each code under invalid.signed and invalid.device is refused with `code` at `at` for "
        "`need`.",
        "issuer": ISSUER,
        "audience": "ecard:scan",
        "seeds": {f"q{key_id}": key.private_bytes_raw().hex() for key_id, key in KEYS.items()}
        | {"device": DEVICE.private_bytes_raw().hex()},
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
            "device": [
                valid_device("pay", grant(), showing()),
                valid_device("every use", grant(), showing(scope=15)),
                valid_device("door only, the other key", grant(key_id=8), showing(scope=4)),
                valid_device("delegated for more than shown", grant(scope=7), showing(scope=3)),
                valid_device("shown for more than delegated", grant(scope=6), showing(scope=15)),
                valid_device("two uses, one in common", grant(scope=3), showing(scope=6)),
                valid_device("the last of a second", grant(), showing(seq=15)),
                valid_device("no caps to spend", grant(yuan=0, count=0), showing()),
                valid_device("the highest caps", grant(yuan=255, count=255), showing()),
                valid_device("the first serial", grant(serial=0), showing()),
                valid_device("the last serial", grant(serial=2**32 - 1), showing()),
                valid_device(
                    "delegation ends within the minute", grant(until=NOON + 20), showing()
                ),
                valid_device("delegation ends with the minute", grant(until=NOON + 60), showing()),
                valid_device("delegation ends at once", grant(until=NOON), showing()),
                valid_device(
                    "the last minute of the format",
                    grant(until=2**32 - 1),
                    showing(t=2**32 - 61, seq=15),
                ),
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
            "device": [
                {"name": name, "text": text, "need": "pay", "at": NOON, "code": code}
                for name, (text, code) in invalid_device().items()
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
        "weak_keys": [key.hex() for key in WEAK_KEYS],
    }


def spelled():
    return json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(spelled(), encoding="ascii")
