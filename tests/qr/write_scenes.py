"""Writes qr/scenes.json: `python tests/qr/write_scenes.py`.

What a scanner without network decides, step by step, for every implementation of its rules. Made
of bytes and raw Ed25519 like the vectors, and like them without a line of `qr`.
"""

import json
import runpy
import zlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PATH = Path(__file__).parents[2] / "qr" / "scenes.json"
codes = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("write_vectors.py"))))

NOON = 1_789_963_200
"""2026-09-21, a Monday, 12:00 at the school: 04:00 UTC."""
MINUTE, HOUR, DAY = 60, 3600, 86_400
MIDNIGHT = NOON + 12 * HOUR
ROOT = Ed25519PrivateKey.from_private_bytes(bytes(range(128, 160)))
ROOT_ID = 1
GATE, TILL = "gate-north", "till-3"
ANNA, BELA, CHEN = "0a1b2c3d4e5f", "111111111111", "222222222222"
"""Aliases."""
PHONE, TABLET = 119463, 119464
"""Serials of delegations."""
ALWAYS = [[[1, 2, 3, 4, 5, 6, 7], 0, 1440]]
GATE_RULES = {
    "scope": 2,
    "offline": "signed",
    "passback_minutes": 0,
    "emergency": False,
    "classes": [ALWAYS],
    "default": 0,
}
NOBODY = {"aliases": "", "serials": ""}
TILL_RULES = {
    "offline": True,
    "per_sale_fen": 1500,
    "per_card_count": 3,
    "per_card_fen": 4000,
    "terminal_fen": 50_000,
}


def spell(second):
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stored(raw):
    """A zlib stream of one stored block: the same bytes on every machine."""
    size = len(raw).to_bytes(2, "little")
    flipped = bytes(byte ^ 255 for byte in size)
    return b"\x78\x01\x01" + size + flipped + raw + zlib.adler32(raw).to_bytes(4, "big")


def revoked(*serials, first=0):
    bits = bytearray((max(serials) - first) // 8 + 1 if serials else 0)
    for serial in serials:
        bits[(serial - first) // 8] |= 1 << (serial - first) % 8
    return {"first": first, "lst": codes.b64url(stored(bytes(bits)))}


def joined(*parts):
    return codes.b64url(b"".join(sorted(parts)))


def members(*aliases, serials=()):
    return {
        "aliases": joined(*map(bytes.fromhex, aliases)),
        "serials": joined(*(serial.to_bytes(4, "big") for serial in serials)),
    }


def key_set(*ids):
    return [jwk for jwk in codes.vectors()["jwks"]["keys"] if jwk["kid"] in ids]


def sections(kind, **changed):
    whole = {
        "keys": key_set("q7"),
        "revoked": revoked(),
        "stopped": "",
        "windows": {"early": 15, "late": 10, "utc_offset_minutes": 480},
    }
    if kind == "gate":
        whole |= {"gate": GATE_RULES, "members": [NOBODY]}
    else:
        whole |= {"till": TILL_RULES}
    return whole | changed


def bundle(
    content,
    *,
    sub=GATE,
    seq=1,
    iat=NOON,
    exp=None,
    fresh=None,
    base=None,
    iss=codes.ISSUER,
    aud="ecard:scanner",
    typ="ecbundle+jwt",
    kid="q1",
    key=ROOT,
):
    claims = {
        "iss": iss,
        "aud": aud,
        "sub": sub,
        "iat": iat,
        "exp": iat + 72 * HOUR if exp is None else exp,
        "fresh": iat + 24 * HOUR if fresh is None else fresh,
        "seq": seq,
    }
    if base is not None:
        claims["base"] = base
    signing = codes.segments({"typ": typ, "alg": "EdDSA", "kid": kid}, claims | content)
    return f"{signing}.{codes.b64url(key.sign(signing.encode()))}"


def gate_bundle(*, seq=1, iat=NOON, rules=None, changed=None, **other):
    content = sections("gate", gate=GATE_RULES | (rules or {}), **(changed or {}))
    return bundle(content, seq=seq, iat=iat, **other)


def till_bundle(*, seq=1, iat=NOON, rules=None, changed=None, **other):
    content = sections("till", till=TILL_RULES | (rules or {}), **(changed or {}))
    return bundle(content, seq=seq, iat=iat, sub=TILL, **other)


def card(at, alias=ANNA, *, scope=15, nonce=None, key_id=7, key=None):
    """A signed code of the school, issued at `at`."""
    nonce = nonce or f"{at:010x}"
    return codes.signed(
        codes.body(scope=scope, key_id=key_id, alias=alias, iat=at, nonce=nonce), key
    )


def phone(at, serial=PHONE, *, seq=0, scope=15, until=NOON + 300 * HOUR, yuan=255, count=255):
    """A device code, made at `at`."""
    delegation = codes.delegation(codes.grant(serial=serial, until=until, yuan=yuan, count=count))
    return codes.device(delegation, codes.showing(t=at, scope=scope, seq=seq))


class Scene:
    """One scanner from the day it was unpacked."""

    def __init__(self, name, kind):
        self.name, self.kind, self.steps = name, kind, []

    def learn(self, token, refused=None):
        self.steps.append({"learn": token, "expect": refused})
        return self

    def _scan(self, at, text, said, accepted, *, reason, facts=None):
        expect = {"accepted": accepted, "reason": reason} | ({"facts": facts} if facts else {})
        self.steps.append({"at": spell(at), "scan": text, **said, "expect": expect})
        return self

    def opens(self, at, text, direction="in", *, despite=None, **said):
        return self._scan(at, text, {"direction": direction, **said}, True, reason=despite)

    def stays_shut(self, at, text, reason, direction="in", **said):
        return self._scan(at, text, {"direction": direction, **said}, False, reason=reason)

    def takes(self, at, text, amount_fen):
        return self._scan(at, text, {"amount_fen": amount_fen}, True, reason=None)

    def declines(self, at, text, amount_fen, reason, **facts):
        return self._scan(at, text, {"amount_fen": amount_fen}, False, reason=reason, facts=facts)

    def spelled(self):
        terminal = GATE if self.kind == "gate" else TILL
        return {"name": self.name, "kind": self.kind, "terminal": terminal, "steps": self.steps}


def gate(name):
    return Scene(name, "gate")


def till(name):
    return Scene(name, "till")


def code_scenes():
    short = codes.luhn("960" + "4839201756612348")
    text = phone(NOON)
    damaged = text[:-1] + str((int(text[-1]) + 1) % 10)
    late = phone(NOON + 20, TABLET, until=NOON + 50)
    yield (
        gate("a gate opens for good codes and says what is wrong with others")
        .learn(gate_bundle())
        .opens(NOON, phone(NOON))
        .opens(NOON, card(NOON))
        .stays_shut(NOON, "", "code-malformed")
        .stays_shut(NOON, "hello", "code-malformed")
        .stays_shut(NOON, codes.with_digits_from("０", text), "code-malformed")
        .stays_shut(NOON, text[:200] + "\r\n" + text[200:], "code-malformed")
        .stays_shut(NOON, "962" + str(int(text[3:]) + 256**177), "code-malformed")
        .stays_shut(NOON, "0" + text, "code-malformed")
        .stays_shut(NOON, short, "code-online-only")
        .stays_shut(NOON, short[:-1] + str((int(short[-1]) + 1) % 10), "code-malformed")
        .stays_shut(NOON, damaged, "code-forged")
        .stays_shut(NOON, card(NOON, key=codes.STRANGER), "code-forged")
        .stays_shut(NOON, card(NOON, key_id=9, key=codes.STRANGER), "code-unknown-key")
        .stays_shut(NOON, phone(NOON + 1, scope=1), "code-wrong-scope")
        .stays_shut(NOON, card(NOON + 1, scope=5), "code-wrong-scope")
    )
    yield (
        gate("a device code is good from 15 s before its moment to 60 s after")
        .learn(gate_bundle())
        .stays_shut(NOON, phone(NOON + 16), "code-not-yet-valid")
        .opens(NOON + 1, phone(NOON + 16))
        .stays_shut(NOON + 51, late, "code-expired")
        .opens(NOON + 50, late)
        .stays_shut(NOON + 81, phone(NOON + 20), "code-expired")
        .opens(NOON + 80, phone(NOON + 20))
    )
    yield (
        gate("a signed code is good from 15 s before its moment to 70 s after")
        .learn(gate_bundle())
        .stays_shut(NOON, card(NOON + 16), "code-not-yet-valid")
        .opens(NOON + 1, card(NOON + 16))
        .stays_shut(NOON + 91, card(NOON + 20), "code-expired")
        .opens(NOON + 90, card(NOON + 20))
    )
    yield (
        gate("the school's own windows stand in the bundle")
        .learn(gate_bundle(changed={"windows": {"early": 3, "late": 0, "utc_offset_minutes": 480}}))
        .stays_shut(NOON, card(NOON + 4), "code-not-yet-valid")
        .stays_shut(NOON, phone(NOON + 4), "code-not-yet-valid")
        .opens(NOON, card(NOON + 3))
        .stays_shut(NOON + 66, card(NOON + 5), "code-expired")
        .opens(NOON + 65, card(NOON + 5))
        .opens(NOON + 70, phone(NOON + 10))
    )
    yield (
        gate("a code opens once, and no older one of the same phone or card after it")
        .learn(gate_bundle())
        .opens(NOON + 10, phone(NOON + 10, seq=1))
        .stays_shut(NOON + 11, phone(NOON + 10, seq=1), "code-spent")
        .stays_shut(NOON + 11, phone(NOON + 10, seq=0), "code-spent")
        .stays_shut(NOON + 11, phone(NOON + 9, seq=15), "code-spent")
        .opens(NOON + 11, phone(NOON + 10, seq=2))
        .opens(NOON + 11, card(NOON + 10))
        .stays_shut(NOON + 12, card(NOON + 10), "code-spent")
        .stays_shut(NOON + 12, card(NOON + 10, nonce="ffffffffff"), "code-spent")
        .stays_shut(NOON + 12, card(NOON), "code-spent")
        .opens(NOON + 12, card(NOON + 11))
    )
    yield (
        gate("another phone and another card have marks of their own")
        .learn(gate_bundle())
        .opens(NOON + 10, phone(NOON + 10))
        .opens(NOON + 10, phone(NOON + 5, TABLET))
        .opens(NOON + 10, card(NOON + 5))
        .opens(NOON + 10, card(NOON, BELA))
    )
    yield (
        gate("a renewed delegation of one serial keeps its mark")
        .learn(gate_bundle())
        .opens(NOON, phone(NOON))
        .stays_shut(NOON, phone(NOON, until=NOON + 301 * HOUR), "code-spent")
    )
    yield (
        gate("a code that was refused for its time is not used up")
        .learn(gate_bundle())
        .stays_shut(NOON, phone(NOON + 16), "code-not-yet-valid")
        .opens(NOON + 5, phone(NOON + 5))
        .opens(NOON + 5, phone(NOON + 16))
    )
    monday_morning = [[[1], 360, 720]]
    yield (
        gate("a code that was refused for its bearer is used up")
        .learn(gate_bundle(rules={"classes": [monday_morning]}))
        .stays_shut(NOON, phone(NOON), "access-outside-hours")
        .learn(gate_bundle(seq=2))
        .stays_shut(NOON + 1, phone(NOON), "code-spent")
        .opens(NOON + 1, phone(NOON + 1))
    )
    yield (
        gate("a door takes door codes")
        .learn(gate_bundle(rules={"scope": 4}))
        .stays_shut(NOON, phone(NOON, scope=11), "code-wrong-scope")
        .opens(NOON, phone(NOON, scope=4))
        .stays_shut(NOON, card(NOON, scope=2), "code-wrong-scope")
    )


def knowledge_scenes():
    listed = gate_bundle(changed={"revoked": revoked(PHONE, first=PHONE - 9)})
    yield (
        gate("a revoked delegation opens nothing, its neighbours do")
        .learn(listed)
        .stays_shut(NOON, phone(NOON), "code-revoked")
        .stays_shut(NOON, phone(NOON), "code-revoked")
        .opens(NOON, phone(NOON, PHONE - 1))
        .opens(NOON, phone(NOON, PHONE + 1))
        .opens(NOON, phone(NOON, PHONE - 10))
        .opens(NOON, phone(NOON, PHONE + 1000))
        .opens(NOON, phone(NOON, 0))
        .opens(NOON, phone(NOON, 2**32 - 1))
        .opens(NOON, card(NOON))
    )
    # 40 bytes, of which byte 3 is 0x81, as a compressor writes them: with Huffman codes.
    deflated = bytes.fromhex("78da63606068642002000012cd0082")
    assert zlib.decompress(deflated) == bytes(3) + b"\x81" + bytes(36)
    yield (
        gate("a revocation list is a zlib stream, the least bit first")
        .learn(
            gate_bundle(
                changed={"revoked": {"first": 1000, "lst": codes.b64url(deflated)}},
            )
        )
        .stays_shut(NOON, phone(NOON, 1024), "code-revoked")
        .opens(NOON, phone(NOON, 1025))
        .opens(NOON, phone(NOON, 1030))
        .stays_shut(NOON, phone(NOON, 1031), "code-revoked")
    )
    yield (
        gate("an alias that has changed opens nothing")
        .learn(
            gate_bundle(
                changed={"stopped": joined(bytes.fromhex(ANNA), bytes.fromhex(BELA))},
            )
        )
        .stays_shut(NOON, card(NOON), "code-stale")
        .stays_shut(NOON, card(NOON, BELA), "code-stale")
        .opens(NOON, card(NOON, CHEN))
        .opens(NOON, phone(NOON))
    )
    weekdays, weekend, never = [[[1, 2, 3, 4, 5], 360, 1380]], [[[6, 7], 480, 1440]], []
    yield (
        gate("hours hold from their first minute to the minute before their last")
        .learn(gate_bundle(rules={"classes": [weekdays]}, iat=NOON - 12 * HOUR))
        .stays_shut(NOON - 6 * HOUR - 1, phone(NOON - 6 * HOUR - 1), "access-outside-hours")
        .opens(NOON - 6 * HOUR, phone(NOON - 6 * HOUR))
        .opens(NOON + 11 * HOUR - 1, phone(NOON + 11 * HOUR - 1))
        .stays_shut(NOON + 11 * HOUR, phone(NOON + 11 * HOUR), "access-outside-hours")
    )
    saturday = NOON + 5 * DAY
    yield (
        gate("hours are of the school's days, and any of several is enough")
        .learn(gate_bundle(rules={"classes": [weekdays + weekend]}, iat=saturday - 12 * HOUR))
        .stays_shut(saturday - 4 * HOUR - 1, card(saturday - 4 * HOUR - 1), "access-outside-hours")
        .opens(saturday - 4 * HOUR, card(saturday - 4 * HOUR))
        .opens(saturday + 12 * HOUR - 1, card(saturday + 12 * HOUR - 1))
        .learn(gate_bundle(rules={"classes": [weekdays + weekend]}, iat=saturday, seq=2))
        .stays_shut(saturday + 12 * HOUR, card(saturday + 12 * HOUR), "access-outside-hours")
    )
    classes = {"classes": [weekend, ALWAYS, never], "default": None}
    named = {
        "members": [
            members(BELA, serials=[PHONE]),
            members(ANNA, CHEN, serials=[TABLET, PHONE]),
            members("333333333333", serials=[7]),
        ]
    }
    yield (
        gate("people pass by the first class that names their alias or serial")
        .learn(gate_bundle(rules=classes, changed=named))
        .opens(NOON, card(NOON, ANNA))
        .opens(NOON, card(NOON, CHEN))
        .opens(NOON, phone(NOON, TABLET))
        .stays_shut(NOON, card(NOON, BELA), "access-outside-hours")
        .stays_shut(NOON, phone(NOON, PHONE), "access-outside-hours")
        .stays_shut(NOON, card(NOON, "333333333333"), "access-not-allowed")
        .stays_shut(NOON, phone(NOON, 7), "access-not-allowed")
        .stays_shut(NOON, card(NOON, "444444444444"), "access-not-allowed")
        .stays_shut(NOON, phone(NOON, 8), "access-not-allowed")
        .learn(gate_bundle(seq=2, rules=classes | {"default": 1}, changed=named))
        .opens(NOON, card(NOON + 1, "444444444444"))
        .opens(NOON, phone(NOON + 1, 8))
        .stays_shut(NOON, card(NOON + 1, BELA), "access-outside-hours")
        .learn(gate_bundle(seq=3, rules=classes | {"default": 2}, changed=named))
        .stays_shut(NOON, phone(NOON + 2, 8), "access-not-allowed")
    )
    yield (
        gate("who went in cannot go in again for ten minutes")
        .learn(gate_bundle(rules={"passback_minutes": 10}))
        .opens(NOON, phone(NOON))
        .stays_shut(NOON + 30, phone(NOON + 30), "passback")
        .opens(NOON + 31, card(NOON + 31))
        .opens(NOON + 40, phone(NOON + 40), "out")
        .stays_shut(NOON + 50, phone(NOON + 50), "passback", "out")
        .opens(NOON + 60, phone(NOON + 60))
        .stays_shut(NOON + 659, phone(NOON + 659), "passback")
        .opens(NOON + 660, phone(NOON + 660))
        .stays_shut(NOON + 661, phone(NOON + 660), "code-spent", "out")
    )
    yield (
        gate("a passage that was refused leaves no trace for the next")
        .learn(gate_bundle(rules={"passback_minutes": 10, "classes": [weekend]}))
        .stays_shut(NOON, phone(NOON), "access-outside-hours")
        .learn(gate_bundle(seq=2, rules={"passback_minutes": 10}))
        .opens(NOON + 1, phone(NOON + 1))
        .stays_shut(NOON + 2, phone(NOON + 2), "passback")
    )
    yield (
        gate("what is wrong with a code is told before what is wrong with its bearer")
        .learn(gate_bundle(rules={"passback_minutes": 10}, changed={"stopped": ""}))
        .opens(NOON, phone(NOON))
        .opens(NOON, card(NOON))
        .learn(
            gate_bundle(
                seq=2,
                rules={"passback_minutes": 10, "classes": [never]},
                changed={
                    "stopped": joined(bytes.fromhex(ANNA)),
                    "revoked": revoked(PHONE, first=PHONE),
                },
            )
        )
        .stays_shut(NOON, phone(NOON), "code-revoked")
        .stays_shut(NOON, phone(NOON, scope=1), "code-wrong-scope")
        .stays_shut(NOON + 61, phone(NOON, scope=1), "code-expired")
        .stays_shut(NOON, card(NOON), "code-stale")
        .stays_shut(NOON, card(NOON, CHEN), "access-not-allowed")
        .stays_shut(NOON, card(NOON, CHEN), "code-spent")
    )


def policy_scenes():
    yield (
        gate("without a bundle a gate opens only for those who flee")
        .stays_shut(NOON, phone(NOON), "bundle-missing")
        .stays_shut(NOON, "hello", "bundle-missing")
        .opens(NOON, "hello", "out", emergency=True, despite="bundle-missing")
        .stays_shut(NOON, phone(NOON), "bundle-missing", emergency=True)
        .learn(gate_bundle())
        .opens(NOON, phone(NOON))
    )
    yield (
        gate("a closed gate opens for nobody but those who flee")
        .learn(gate_bundle(rules={"offline": "closed"}))
        .stays_shut(NOON, phone(NOON), "offline-closed")
        .stays_shut(NOON, "hello", "offline-closed")
        .opens(NOON, phone(NOON), "out", emergency=True, despite="offline-closed")
        .learn(gate_bundle(seq=2))
        .opens(NOON, phone(NOON))
    )
    short = codes.luhn("960" + "4839201756612348")
    yield (
        gate("an open gate opens for everybody and says what stood against it")
        .learn(
            gate_bundle(
                rules={"offline": "open", "passback_minutes": 10},
                changed={"revoked": revoked(TABLET, first=TABLET)},
            )
        )
        .opens(NOON, phone(NOON))
        .opens(NOON, phone(NOON), despite="code-spent")
        .opens(NOON, phone(NOON + 1), despite="passback")
        .opens(NOON, phone(NOON, TABLET), despite="code-revoked")
        .opens(NOON, short, despite="code-online-only")
        .opens(NOON, "hello", despite="code-malformed")
        .opens(NOON, card(NOON + 16), despite="code-not-yet-valid")
        .opens(NOON + 72 * HOUR, card(NOON + 72 * HOUR), despite="bundle-expired")
    )
    yield (
        gate("an emergency of the bundle lets everybody out, and nobody more in")
        .learn(gate_bundle(rules={"emergency": True}))
        .opens(NOON, "hello", "out", despite="code-malformed")
        .opens(NOON, phone(NOON), "out")
        .opens(NOON, phone(NOON), "out", despite="code-spent")
        .stays_shut(NOON, phone(NOON), "code-spent")
        .opens(NOON, phone(NOON + 1))
        .opens(NOON + 80 * HOUR, "hello", "out", despite="bundle-expired")
        .opens(NOON - HOUR, "hello", "out", despite="clock-behind")
    )
    named = {"members": [members(ANNA, serials=[PHONE])]}
    stale = NOON + 24 * HOUR
    yield (
        gate("a stale bundle speaks for those alone whom it names")
        .learn(gate_bundle(changed=named))
        .opens(stale - 1, card(stale - 1, BELA))
        .stays_shut(stale, card(stale, BELA), "bundle-stale")
        .stays_shut(stale, phone(stale, TABLET), "bundle-stale")
        .opens(stale, card(stale, ANNA))
        .opens(stale, phone(stale, PHONE))
        .stays_shut(stale, card(stale, BELA), "code-spent")
        .learn(gate_bundle(seq=2, iat=stale, changed=named))
        .opens(stale + 1, card(stale + 1, BELA))
    )
    end = NOON + 72 * HOUR
    yield (
        gate("a bundle has a hard stop, and a newer one ends it")
        .learn(gate_bundle(changed=named))
        .opens(end - 1, card(end - 1, ANNA))
        .stays_shut(end, card(end, ANNA), "bundle-expired")
        .stays_shut(end, "hello", "bundle-expired")
        .learn(gate_bundle(seq=2, iat=end, changed=named))
        .opens(end, card(end, ANNA))
    )


def bundle_scenes():
    older = gate_bundle(seq=4, iat=NOON - DAY, changed={"keys": key_set("q8")})
    yield (
        gate("an older bundle never comes back")
        .learn(gate_bundle(seq=4))
        .learn(gate_bundle(seq=5))
        .learn(older, "bundle-outdated")
        .learn(gate_bundle(seq=5), "bundle-outdated")
        .opens(NOON, phone(NOON))
        .learn(gate_bundle(seq=6, rules={"offline": "closed"}))
        .stays_shut(NOON, phone(NOON + 1), "offline-closed")
    )
    yield (
        gate("a bundle of anybody else changes nothing")
        .learn(gate_bundle(key=codes.KEYS[7]), "bundle-forged")
        .learn(gate_bundle(key=codes.KEYS[7], kid="q7"), "bundle-forged")
        .learn(gate_bundle(kid="q2"), "bundle-forged")
        .learn(gate_bundle(kid="root"), "bundle-forged")
        .learn(gate_bundle(typ="JWT"), "bundle-forged")
        .learn(gate_bundle(aud="ecard:scan"), "bundle-forged")
        .learn(gate_bundle()[:-4] + "AAAA", "bundle-forged")
        .learn("", "bundle-forged")
        .learn("hello", "bundle-forged")
        .learn(gate_bundle(sub="gate-south"), "bundle-foreign")
        .learn(gate_bundle(iss="ecard.example.org"), "bundle-foreign")
        .stays_shut(NOON, phone(NOON), "bundle-missing")
        .learn(gate_bundle())
        .learn(gate_bundle(seq=2, key=codes.KEYS[7]), "bundle-forged")
        .learn(gate_bundle(seq=2, sub=TILL), "bundle-foreign")
        .opens(NOON, phone(NOON))
    )
    whole = sections("gate")
    less = {name: said for name, said in whole.items() if name != "stopped"}
    yield (
        gate("a bundle that says too little or nonsense changes nothing")
        .learn(bundle(less), "bundle-malformed")
        .learn(bundle({}), "bundle-malformed")
        .learn(gate_bundle(seq="1"), "bundle-malformed")
        .learn(gate_bundle(rules={"default": 1}), "bundle-malformed")
        .learn(gate_bundle(rules={"offline": "maybe"}), "bundle-malformed")
        .learn(gate_bundle(rules={"scope": 1}), "bundle-malformed")
        .learn(gate_bundle(rules={"scope": 0}), "bundle-malformed")
        .learn(gate_bundle(rules={"classes": [ALWAYS, ALWAYS]}), "bundle-malformed")
        .learn(gate_bundle(rules={"classes": [[[[1], 720, 720]]]}), "bundle-malformed")
        .learn(gate_bundle(changed={"stopped": codes.b64url(bytes(7))}), "bundle-malformed")
        .learn(
            gate_bundle(changed={"revoked": {"first": 0, "lst": codes.b64url(stored(b"\1")[:-5])}}),
            "bundle-malformed",
        )
        .stays_shut(NOON, phone(NOON), "bundle-missing")
        .learn(gate_bundle(rules={"default": None}))
        .stays_shut(NOON, phone(NOON), "access-not-allowed")
    )
    base = gate_bundle(
        seq=10,
        rules={"classes": [[], ALWAYS], "default": 0},
        changed={"members": [NOBODY, members(ANNA, serials=[PHONE, TABLET])]},
    )
    revoking = {"revoked": revoked(PHONE, first=PHONE)}
    yield (
        gate("a delta leaves out what has not changed")
        .learn(bundle(revoking, seq=11, base=10), "bundle-base-missing")
        .learn(base)
        .opens(NOON, phone(NOON))
        .stays_shut(NOON, phone(NOON, 7), "access-not-allowed")
        .learn(bundle(revoking, seq=12, base=9), "bundle-base-missing")
        .learn(bundle(revoking, seq=10, base=10), "bundle-outdated")
        .learn(bundle(revoking, seq=12, base=10))
        .stays_shut(NOON, phone(NOON + 1), "code-revoked")
        .opens(NOON, phone(NOON + 1, TABLET))
        .stays_shut(NOON, phone(NOON + 1, 7), "access-not-allowed")
        .learn(bundle({"stopped": ""}, seq=13, base=10), "bundle-base-missing")
        .learn(bundle({"keys": key_set("q7", "q8")}, seq=13, base=12))
        .stays_shut(NOON, phone(NOON + 2), "code-revoked")
        .opens(NOON, card(NOON, key_id=8))
    )
    yield (
        gate("a delta brings its own times, and a whole bundle replaces everything")
        .learn(gate_bundle(changed=revoking))
        .learn(bundle({}, seq=2, base=1, iat=NOON + HOUR, exp=NOON + 2 * HOUR))
        .stays_shut(NOON + HOUR - 16, card(NOON + HOUR - 16), "clock-behind")
        .opens(NOON + HOUR, card(NOON + HOUR))
        .stays_shut(NOON + 2 * HOUR, card(NOON + 2 * HOUR), "bundle-expired")
        .learn(gate_bundle(seq=3, iat=NOON + 2 * HOUR))
        .opens(NOON + 2 * HOUR, phone(NOON + 2 * HOUR))
    )
    yield (
        gate("a new key is known with the next bundle, and an old one forgotten")
        .learn(gate_bundle())
        .stays_shut(NOON, card(NOON, key_id=8), "code-unknown-key")
        .learn(gate_bundle(seq=2, changed={"keys": key_set("q7", "q8")}))
        .opens(NOON, card(NOON, key_id=8))
        .learn(gate_bundle(seq=3, changed={"keys": key_set("q8")}))
        .stays_shut(NOON, card(NOON + 1), "code-unknown-key")
        .opens(NOON, card(NOON + 1, key_id=8))
    )
    yield (
        gate("a clock that was set back decides nothing")
        .learn(gate_bundle())
        .stays_shut(NOON - 16, card(NOON - 16), "clock-behind")
        .opens(NOON - 15, card(NOON - 15))
        .opens(NOON + HOUR, card(NOON + HOUR))
        .stays_shut(NOON + 5, phone(NOON + 5), "clock-behind")
        .stays_shut(NOON + 5, "hello", "clock-behind")
        .opens(NOON + 5, "hello", "out", emergency=True, despite="clock-behind")
        .stays_shut(NOON + HOUR - 15, card(NOON + HOUR), "code-spent")
        .stays_shut(NOON + HOUR - 16, card(NOON + HOUR), "clock-behind")
        .opens(NOON + HOUR - 15, phone(NOON + HOUR - 15))
    )
    yield (
        gate("a phone's word sets no clock forward")
        .learn(gate_bundle())
        .opens(NOON + 20 * HOUR, phone(NOON + 20 * HOUR))
        .opens(NOON, card(NOON))
        .stays_shut(NOON, phone(NOON + 20 * HOUR), "code-not-yet-valid")
        .stays_shut(NOON, phone(NOON), "code-spent")
    )
    forged = card(NOON + 2 * HOUR, key=codes.STRANGER)
    yield (
        gate("a code that is not genuine tells no time")
        .learn(gate_bundle())
        .stays_shut(NOON + 2 * HOUR, forged, "code-forged")
        .stays_shut(NOON + 2 * HOUR, card(NOON), "code-expired")
        .opens(NOON, card(NOON))
    )
    yield (
        gate("a till's bundle makes no gate")
        .learn(bundle(sections("till")))
        .stays_shut(NOON, phone(NOON), "bundle-missing")
        .opens(NOON, phone(NOON), "out", emergency=True, despite="bundle-missing")
    )


def till_scenes():
    cap = "offline-cap-exceeded"
    yield (
        till("a till takes what its caps allow and names the one that does not")
        .learn(till_bundle())
        .declines(NOON, card(NOON), 1501, cap, cap="per_sale", limit_fen=1500)
        .takes(NOON, card(NOON + 1), 1500)
        .takes(NOON, card(NOON + 2), 1500)
        .declines(NOON, card(NOON + 3), 1001, cap, cap="per_card", limit_fen=4000)
        .takes(NOON, card(NOON + 4), 1000)
        .declines(NOON, card(NOON + 5), 1, cap, cap="per_card_count", limit=3)
        .declines(NOON, card(NOON + 6), 1501, cap, cap="per_sale", limit_fen=1500)
        .takes(NOON, card(NOON + 7, BELA), 1)
    )
    yield (
        till("a till takes no more in a day than its total, of all cards")
        .learn(till_bundle(rules={"terminal_fen": 2500}))
        .takes(NOON, card(NOON), 1500)
        .declines(NOON, card(NOON, BELA), 1001, cap, cap="terminal", limit_fen=2500)
        .takes(NOON, phone(NOON), 1000)
        .declines(NOON, card(NOON, CHEN), 1, cap, cap="terminal", limit_fen=2500)
    )
    yield (
        till("a day begins at midnight by the school's clock")
        .learn(till_bundle(rules={"per_card_count": 1, "terminal_fen": 1500}))
        .takes(MIDNIGHT - 1, card(MIDNIGHT - 1), 1500)
        .declines(MIDNIGHT - 1, card(MIDNIGHT), 1, cap, cap="per_card_count", limit=1)
        .declines(MIDNIGHT - 1, phone(MIDNIGHT), 1, cap, cap="terminal", limit_fen=1500)
        .takes(MIDNIGHT, card(MIDNIGHT + 1), 1500)
        .declines(MIDNIGHT, card(MIDNIGHT + 2), 1, cap, cap="per_card_count", limit=1)
        .declines(
            MIDNIGHT + 8 * HOUR,
            card(MIDNIGHT + 8 * HOUR),
            1,
            cap,
            cap="per_card_count",
            limit=1,
        )
    )
    yield (
        till("a device code brings caps of its own, and the lower one counts")
        .learn(till_bundle())
        .takes(NOON, phone(NOON, yuan=5, count=2), 500)
        .declines(NOON, phone(NOON + 1, yuan=5, count=2), 501, cap, cap="per_sale", limit_fen=500)
        .takes(NOON, phone(NOON + 2, yuan=5, count=2), 500)
        .declines(NOON, phone(NOON + 3, yuan=5, count=2), 1, cap, cap="per_card_count", limit=2)
        .declines(
            NOON,
            phone(NOON, TABLET, yuan=255, count=255),
            1501,
            cap,
            cap="per_sale",
            limit_fen=1500,
        )
        .takes(NOON, phone(NOON + 1, TABLET, yuan=255, count=255), 1500)
        .takes(NOON, phone(NOON + 2, TABLET, yuan=255, count=255), 1500)
        .takes(NOON, phone(NOON + 3, TABLET, yuan=255, count=255), 1)
        .declines(
            NOON,
            phone(NOON + 4, TABLET, yuan=255, count=255),
            1,
            cap,
            cap="per_card_count",
            limit=3,
        )
    )
    yield (
        till("a device code without caps buys nothing")
        .learn(till_bundle())
        .declines(NOON, phone(NOON, yuan=0, count=0), 1, cap, cap="per_sale", limit_fen=0)
        .declines(NOON, phone(NOON + 1, yuan=0), 1, cap, cap="per_sale", limit_fen=0)
        .declines(NOON, phone(NOON + 2, count=0), 1, cap, cap="per_card_count", limit=0)
        .takes(NOON, card(NOON), 1)
    )
    yield (
        till("a till with caps of nothing takes nothing")
        .learn(till_bundle(rules={"per_sale_fen": 0}))
        .declines(NOON, card(NOON), 1, cap, cap="per_sale", limit_fen=0)
        .learn(till_bundle(seq=2, rules={"per_card_count": 0}))
        .declines(NOON, card(NOON + 1), 1, cap, cap="per_card_count", limit=0)
        .learn(till_bundle(seq=3, rules={"per_card_fen": 0}))
        .declines(NOON, card(NOON + 2), 1, cap, cap="per_card", limit_fen=0)
        .learn(till_bundle(seq=4, rules={"terminal_fen": 0}))
        .declines(NOON, card(NOON + 3), 1, cap, cap="terminal", limit_fen=0)
    )
    yield (
        till("a code pays once, also when the amount was declined")
        .learn(till_bundle())
        .declines(NOON, card(NOON), 1501, cap, cap="per_sale", limit_fen=1500)
        .declines(NOON, card(NOON), 1, "code-spent")
        .takes(NOON, card(NOON + 1), 1)
        .declines(NOON, card(NOON + 1), 1, "code-spent")
        .takes(NOON, phone(NOON + 1), 1)
        .declines(NOON, phone(NOON), 1, "code-spent")
    )
    yield (
        till("a till whose school forbids it takes nothing, whatever is shown")
        .learn(till_bundle(rules={"offline": False}))
        .declines(NOON, card(NOON), 1, "offline-not-allowed")
        .declines(NOON, "hello", 1, "offline-not-allowed")
        .learn(till_bundle(seq=2))
        .takes(NOON, card(NOON), 1)
    )
    short = codes.luhn("960" + "4839201756612348")
    yield (
        till("a till knows pay codes from others")
        .learn(
            till_bundle(
                changed={
                    "revoked": revoked(PHONE, first=PHONE),
                    "stopped": joined(bytes.fromhex(BELA)),
                }
            )
        )
        .declines(NOON, card(NOON, scope=2), 1, "code-wrong-scope")
        .declines(NOON, phone(NOON, scope=14), 1, "code-wrong-scope")
        .declines(NOON, short, 1, "code-online-only")
        .declines(NOON, "134567890123456789", 1, "code-malformed")
        .declines(NOON, phone(NOON + 16), 1, "code-not-yet-valid")
        .declines(NOON, phone(NOON), 1, "code-revoked")
        .declines(NOON, card(NOON, BELA), 1, "code-stale")
        .declines(NOON, card(NOON, key=codes.STRANGER), 1, "code-forged")
    )
    yield (
        till("a till without a bundle, or with an old one, takes nothing")
        .declines(NOON, card(NOON), 1, "bundle-missing")
        .learn(till_bundle())
        .takes(NOON + DAY - 1, card(NOON + DAY - 1), 1)
        .declines(NOON + DAY, card(NOON + DAY), 1, "bundle-stale")
        .declines(NOON + DAY, "hello", 1, "bundle-stale")
        .declines(NOON + 3 * DAY, card(NOON + 3 * DAY), 1, "bundle-expired")
        .declines(NOON, card(NOON + 3 * DAY), 1, "clock-behind")
        .learn(till_bundle(seq=2, iat=NOON + 3 * DAY))
        .takes(NOON + 3 * DAY, card(NOON + 3 * DAY), 1)
    )
    yield (
        till("a till's rules change with a delta, what it took today stays")
        .learn(till_bundle())
        .takes(NOON, card(NOON), 1500)
        .learn(bundle({"till": TILL_RULES | {"per_card_fen": 2000}}, sub=TILL, seq=2, base=1))
        .declines(NOON, card(NOON + 1), 501, cap, cap="per_card", limit_fen=2000)
        .takes(NOON, card(NOON + 2), 500)
    )


def scenes():
    groups = (code_scenes, knowledge_scenes, policy_scenes, bundle_scenes, till_scenes)
    return {
        "note": "TEST KEYS ONLY: everybody knows them. Each scene is one scanner from the day it "
        "was unpacked; it forgets nothing between its steps. `learn` hands it a bundle, which it "
        "takes (null) or refuses; `scan` shows it a code while its clock says `at`, with no "
        "network. Where `facts` are left out there are none.",
        "issuer": codes.ISSUER,
        "roots": {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "kid": f"q{ROOT_ID}",
                    "use": "sig",
                    "alg": "EdDSA",
                    "x": codes.b64url(ROOT.public_key().public_bytes_raw()),
                }
            ]
        },
        "scenes": [scene.spelled() for group in groups for scene in group()],
    }


def spelled():
    return json.dumps(scenes(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(spelled(), encoding="ascii")
