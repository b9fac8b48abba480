"""What a card code (动态码) says, and the ways in which one can be refused.

    CodeError
    ├── CodeMalformed      code-malformed
    ├── CodeForged         code-forged
    ├── CodeUnknownKey     code-unknown-key
    ├── CodeNotYetValid    code-not-yet-valid
    ├── CodeExpired        code-expired
    └── CodeWrongScope     code-wrong-scope

Where several apply, the first in this list is raised.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import STRICT, IntFlag
from typing import ClassVar

from qr.epoch import to_epoch

ALIAS_SIZE = 6
NONCE_SIZE = 5
PUBLIC_KEY_SIZE = 32
KEY_IDS = range(256)
SERIALS = range(2**32)
SEQUENCES = range(16)
FEN_A_YUAN = 100
PROOF_LIFETIME = timedelta(seconds=60)
"""How long after its moment a device code is good: the longest that the format knows."""


class Scope(IntFlag, boundary=STRICT):
    """What a code may be used for (用途). A pay code never opens a door, nor the reverse."""

    PAY = 1
    """消费: a charge at a till."""
    GATE = 2
    """校门: a passage at a gate of the campus or the library."""
    DOOR = 4
    """门禁: a passage at the door of a building or a dormitory."""
    SERVICE = 8
    """服务: any other presentation, such as a loan desk or a sign-in."""


@dataclass(frozen=True, slots=True)
class SignedCode:
    """The content of one signed code (签名码, type S)."""

    alias: bytes
    """6 random bytes that stand for one virtual card until its next loss, restore or re-issue."""
    scope: Scope
    key_id: int
    """Names the issuer's key, 0 to 255; `kid` in the JWT is `q` and this number."""
    issued_at: datetime
    """Whole seconds, aware UTC."""
    expires_at: datetime
    """1 to 60 seconds after `issued_at`; a verifier adds its grace."""
    nonce: bytes
    """5 random bytes that tell this showing of the card from every other."""

    @property
    def bearer(self) -> bytes:
        """Name whoever shows it, for the marks of a scanner that works alone."""
        return b"S" + self.alias

    @property
    def sequence(self) -> int:
        """Tells codes of one second apart; the school never signs two for one card."""
        return 0

    @property
    def key(self) -> bytes:
        """Name this one showing: what single use (一次有效) is judged by, never the text."""
        return self.bearer + self.nonce


@dataclass(frozen=True, slots=True)
class Delegation:
    """The school's word that a phone's own key stands for a card for some days (脱机授权)."""

    serial: int
    """Its number, and its place in the revocation list; says nothing about the card."""
    public_key: bytes
    """The phone's Ed25519 key, 32 bytes."""
    scope: Scope
    """The most that codes under it may be used for."""
    key_id: int
    expires_at: datetime
    """The last second in which it counts."""
    cap_yuan: int
    """What a till without network may take in one sale, 0 to 255 yuan."""
    cap_count: int
    """How many sales one till may take without network in a day, 0 to 255."""

    @property
    def cap_fen(self) -> int:
        """Return the cap on one sale as ledgers and rules count it."""
        return self.cap_yuan * FEN_A_YUAN


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The content of one device code (设备码, type D): a delegation and the phone's own proof."""

    delegation: Delegation
    proof_scope: Scope
    """What the phone made this code for."""
    issued_at: datetime
    """When the phone says that it made it, whole seconds."""
    sequence: int
    """Tells codes of one second apart, 0 to 15."""

    @property
    def scope(self) -> Scope:
        """What both the school and the phone allow."""
        return self.delegation.scope & self.proof_scope

    @property
    def key_id(self) -> int:
        """The school's key under the delegation."""
        return self.delegation.key_id

    @property
    def expires_at(self) -> datetime:
        """The last second in which it is good: there is no grace on top."""
        return min(self.issued_at + PROOF_LIFETIME, self.delegation.expires_at)

    @property
    def bearer(self) -> bytes:
        """Name whoever shows it, for the marks of a scanner that works alone."""
        return b"D" + self.delegation.serial.to_bytes(4, "big")

    @property
    def key(self) -> bytes:
        """Name this one showing: what single use (一次有效) is judged by, never the text."""
        return self.bearer + to_epoch(self.issued_at).to_bytes(4, "big") + bytes([self.sequence])


CardCode = SignedCode | DeviceCode


class CodeError(Exception):
    """Base of every reason for refusing a card code. Its text never repeats the code."""

    code: ClassVar[str]
    title: ClassVar[str]

    def __str__(self) -> str:
        return self.title


class CodeMalformed(CodeError):
    """The text is not a card code at all (格式错误)."""

    code = "code-malformed"
    title = "This is not a card code"


class CodeForged(CodeError):
    """The key that the code names did not make its signature (签名无效)."""

    code = "code-forged"
    title = "The signature of this code is wrong"


class CodeUnknownKey(CodeError):
    """The code names a key that this verifier does not hold (未知密钥)."""

    code = "code-unknown-key"
    title = "This code is signed with an unknown key"

    def __init__(self, key_id: int) -> None:
        super().__init__(key_id)
        self.key_id = key_id


class CodeNotYetValid(CodeError):
    """The signature is good; the code is for a later time, or a clock is wrong (尚未生效)."""

    code = "code-not-yet-valid"
    title = "This code is not valid yet"

    def __init__(self, issued_at: datetime) -> None:
        super().__init__(issued_at)
        self.issued_at = issued_at


class CodeExpired(CodeError):
    """The signature is good; the code was shown too long ago (已过期)."""

    code = "code-expired"
    title = "This code has expired"

    def __init__(self, expires_at: datetime) -> None:
        super().__init__(expires_at)
        self.expires_at = expires_at


class CodeWrongScope(CodeError):
    """The code is good, but not for this use (用途不符)."""

    code = "code-wrong-scope"
    title = "This code is not for this use"

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.scope = scope
