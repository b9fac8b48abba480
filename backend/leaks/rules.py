"""What an ID number or a token in clear looks like, wherever it stands.  Pure.

Two ways, because neither is enough.  By its shape: a resident identity number of anybody, whether
the school knows them or not.  By what the school keeps of it: a token is random and has no shape,
but its hash is stored, so a word whose hash that is is the token itself; a passport number looks
like any other number, but it is known by its keyed hash.  Neither of these ever alarms falsely.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.holders.documents import document_fault, every_index
from backend.sealing import Sealer, normal_document, token_hash
from qr import is_short_code

REGIONS = (range(11, 16), range(21, 24), range(31, 38), range(41, 47), range(50, 55), range(61, 66))
PROVINCES = frozenset(str(code) for codes in (*REGIONS, (71, 81, 82, 83)) for code in codes)
"""What a region code (行政区划代码, GB/T 2260) begins with."""
FOREIGNERS = "9"
"""What the number of a foreigner's permanent residence (外国人永久居留身份证) begins with."""
FIRST_BIRTH = date(1900, 1, 1)
OLD_CENTURY = "19"
"""That of every number of fifteen digits: the last were given out in 1999."""
CODE_DIGITS = {"961": 201, "962": 430}
TOKEN_LENGTHS = (43, 32)
"""Of sessions and devices, and of what enrols them: where one stands next to other letters."""
LEAST_DIGITS = 5
"""Of a document number: plain words are not compared with what the school knows."""
KEY_BYTES = 32
LEAST_GIVEN = 6
"""Characters: a shorter value stands everywhere by chance."""
REMEMBERED = 500_000

WIDE = re.compile("[０-９Ｘｘ]")
FULL_WIDTH = str.maketrans("０１２３４５６７８９Ｘｘ", "0123456789Xx")
URL_SAFE = str.maketrans("+/", "-_")
RESIDENT = re.compile(
    r"(?<!\d)(?<!\d\.)([1-9]\d{5})[ -]?((?:18|19|20)\d\d[01]\d[0-3]\d)[ -]?(\d{3}[\dXx])(?!\d)"
)
OLD_RESIDENT = re.compile(
    r"(?<![\dA-Za-z])(?<!\d\.)([1-9]\d{5})(\d\d[01]\d[0-3]\d)\d{3}(?![\dA-Za-z])"
)
CODE = re.compile(r"(?<!\d)96[0-2]\d{17,427}(?!\d)")
BEARER = re.compile(r"\b[Bb]earer[ \t]+[A-Za-z0-9._~+/=-]{16,}")
PLATFORM_TOKEN = re.compile(r"(?<![A-Za-z0-9])\d{1,3}_[A-Za-z0-9_-]{80,}")
"""The access token that WeChat gives a mini program."""
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|otpauth://|\"d\"\s*:\s*\"[A-Za-z0-9_-]{43}\""
)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOKEN = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{22,}(?![A-Za-z0-9_-])")
NUMBER = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[A-Za-z0-9]{6,20}(?![A-Za-z0-9])")
KEY = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:[0-9A-Fa-f]{64}|[A-Za-z0-9+/_-]{43}=?)(?![A-Za-z0-9+/_-])"
)


class LeakKind(StrEnum):
    """What stands somewhere in clear."""

    RESIDENT_ID = "resident-id"
    """居民身份证号码, or that of a foreigner's permanent residence: 18 characters"""
    OLD_RESIDENT_ID = "old-resident-id"
    """15 位居民身份证号码"""
    DOCUMENT = "document"
    """The number of any document (证件) of somebody on the roster"""
    CARD_CODE = "card-code"
    """动态码"""
    TOKEN = "token"  # noqa: S105 - a kind of leak, not a token
    """A token of a session, a device or an enrolment (令牌), or whatever was sent as one"""
    PRIVATE_KEY = "private-key"
    """私钥"""
    GIVEN = "given"
    """A value that whoever scans handed in"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the school keeps of its people's numbers and of its tokens: hashes, and public keys."""

    token_hashes: frozenset[bytes]
    document_indexes: frozenset[bytes]
    public_keys: frozenset[bytes]


def resident_numbers(text: str, *, today: date) -> Iterator[str]:
    """Yield what is a resident identity number: region, birth date and check digit are possible.

    >>> said = "order 424242202613451239, No. 110105 19491231 002X, 11010519491231002X7"
    >>> list(resident_numbers(said, today=date(2026, 9, 1)))
    ['110105 19491231 002X']
    """
    for found in RESIDENT.finditer(text):
        region, born, rest = found.groups()
        province = region[1:3] if region.startswith(FOREIGNERS) else region[:2]
        if (
            province in PROVINCES
            and _is_birth(born, today)
            and document_fault((region + born + rest).upper()) is None
        ):
            yield found.group()


def old_resident_numbers(text: str, *, today: date) -> Iterator[str]:
    """Yield what is a resident identity number of fifteen digits; it has no check digit.

    >>> list(old_resident_numbers("110105491231002 110105491331002", today=date(2026, 9, 1)))
    ['110105491231002']
    """
    for found in OLD_RESIDENT.finditer(text):
        region, born = found.groups()
        if region[:2] in PROVINCES and _is_birth(OLD_CENTURY + born, today):
            yield found.group()


def card_codes(text: str) -> Iterator[str]:
    """Yield what has the form of a card code; whether it is genuine is not asked."""
    for found in CODE.finditer(text):
        code = found.group()
        if is_short_code(code) or CODE_DIGITS.get(code[:3]) == len(code):
            yield code


def spellings(value: str) -> frozenset[str]:
    """Return how a value that was handed in may be spelled, in lower case: also as bytes in a dump.

    Of an ID number also its plain hashes: there are so few of these numbers that a hash without a
    key tells the number.
    """
    as_bytes = {value.encode().hex(), *(digest.hex() for digest in digests(value))}
    return frozenset({value.lower(), *as_bytes})


def digests(value: str) -> frozenset[bytes]:
    """Return the plain hashes of an ID number; of other values none: tokens are kept as such."""
    number = normal_document(value)
    if not RESIDENT.fullmatch(number):
        return frozenset()
    return frozenset(
        hashlib.new(name, spelled.encode(), usedforsecurity=False).digest()
        for name in ("md5", "sha1", "sha256")
        for spelled in (number, number.lower())
    )


def _is_birth(text: str, today: date) -> bool:
    try:
        return FIRST_BIRTH <= date.fromisoformat(text) <= today
    except ValueError:
        return False


class Recogniser:
    """Recognises what must not stand anywhere in clear.  Remembers words that were nothing."""

    def __init__(
        self, *, known: Known, sealer: Sealer, given: Iterable[str] = (), today: date
    ) -> None:
        self._known, self._sealer, self._today = known, sealer, today
        values = [value for value in given if len(value) >= LEAST_GIVEN]
        self._given = frozenset().union(*map(spellings, values))
        self._digests = frozenset().union(*map(digests, values))
        self._nothing: dict[Callable[[str], bool], set[str]] = {}

    def in_text(self, text: str) -> Iterator[tuple[LeakKind, str]]:
        """Yield what a text gives away: the kind, and the piece of text."""
        if WIDE.search(text):
            text = text.translate(FULL_WIDTH)
        lower = text.lower()
        for kind, found in (
            (LeakKind.RESIDENT_ID, resident_numbers(text, today=self._today)),
            (LeakKind.OLD_RESIDENT_ID, old_resident_numbers(text, today=self._today)),
            (LeakKind.CARD_CODE, card_codes(text)),
            (LeakKind.TOKEN, (hit.group() for hit in BEARER.finditer(text))),
            (LeakKind.TOKEN, (hit.group() for hit in PLATFORM_TOKEN.finditer(text))),
            (LeakKind.PRIVATE_KEY, (hit.group() for hit in SECRET.finditer(text))),
            (LeakKind.GIVEN, (value for value in self._given if value in lower)),
        ):
            for piece in found:
                yield kind, piece
        words = UUID.sub(" ", text)
        for kind, shape, judge in (
            (LeakKind.TOKEN, TOKEN, self._is_token),
            (LeakKind.DOCUMENT, NUMBER, self._is_document),
            (LeakKind.PRIVATE_KEY, KEY, self._is_private_key),
        ):
            for piece in self._judged(shape, judge, words):
                yield kind, piece

    def in_bytes(self, raw: bytes) -> Iterator[tuple[LeakKind, str]]:
        """Yield what bytes give away: as text, as text of two bytes a letter, or as a key."""
        if len(raw) == KEY_BYTES and self._is_seed(raw):
            yield LeakKind.PRIVATE_KEY, ""
        if raw in self._digests:
            yield LeakKind.GIVEN, ""
        yield from self.in_text(text_of(raw))
        if b"\0" in raw:
            yield from self.in_text(text_of(raw.replace(b"\0", b"")))

    def _judged(
        self, shape: re.Pattern[str], judge: Callable[[str], bool], text: str
    ) -> Iterator[str]:
        """Yield the words of a shape that are what they look like; each is judged once."""
        nothing = self._nothing.setdefault(judge, set())
        for word in set(shape.findall(text)) - nothing:
            if judge(word):
                yield word
            elif len(nothing) < REMEMBERED:
                nothing.add(word)

    def _is_token(self, word: str) -> bool:
        ends = {word, *(word[:n] for n in TOKEN_LENGTHS), *(word[-n:] for n in TOKEN_LENGTHS)}
        return not self._known.token_hashes.isdisjoint(map(token_hash, ends))

    def _is_document(self, word: str) -> bool:
        if sum(letter.isdigit() for letter in word) < LEAST_DIGITS:
            return False
        indexes = every_index(self._sealer, document=word.upper())
        return not self._known.document_indexes.isdisjoint(indexes)

    def _is_private_key(self, word: str) -> bool:
        try:
            if len(word) == 2 * KEY_BYTES:
                return self._is_seed(bytes.fromhex(word))
            word = word.rstrip("=").translate(URL_SAFE)
            return self._is_seed(base64.urlsafe_b64decode(f"{word}="))
        except (binascii.Error, ValueError):
            return False

    def _is_seed(self, raw: bytes) -> bool:
        """Say whether bytes are the private half of a key of the school's devices and phones."""
        key = Ed25519PrivateKey.from_private_bytes(raw).public_key()
        return key.public_bytes_raw() in self._known.public_keys


def text_of(raw: bytes) -> str:
    """Return bytes as text, whatever they are: none is lost."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
