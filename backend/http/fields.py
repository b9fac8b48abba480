"""Fields that all schemas share."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from unicodedata import category, normalize

import marshmallow as ma

from backend.clock import rfc3339
from qr import is_weak_key


class WholeField(ma.fields.Integer):
    """JSON Schema's integer: 106.0 is one; 106.5, "106" and true are not."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise self.make_error("invalid")
        if isinstance(value, float):
            if not value.is_integer():
                raise self.make_error("invalid")
            value = int(value)
        return super()._validated(value)


class Digits(ma.fields.Integer):
    """A whole number in a query: the digits 0 to 9, which Python reads in other scripts too."""

    def _validated(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}", value):
            raise self.make_error("invalid")
        return super()._validated(value)


EARLIEST, LATEST = date(1900, 1, 1), date(2100, 1, 1)


def is_possible(day: date) -> bool:
    """Say whether a day can be meant: what lies further off is a slip of the pen."""
    return EARLIEST <= day <= LATEST


class Day(ma.fields.Date):
    """A day by the school's clock that can be meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=ma.validate.Range(EARLIEST, LATEST), **options)


class FenField(WholeField):
    """Whole fen (分)."""


class Flag(ma.fields.Boolean):
    """Yes or no.  JSON Schema's boolean: true and false are; 1, "true" and "yes" are not."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Moment(ma.fields.AwareDateTime):
    """A moment: RFC 3339 in UTC, ending in Z, milliseconds.

    One that UTC's calendar does not have, as the last hours of the year 9999 elsewhere, is none.
    """

    def _deserialize(self, *args: Any, **kwargs: Any) -> datetime:
        said = super()._deserialize(*args, **kwargs)
        try:
            return said.astimezone(UTC)
        except OverflowError as error:
            raise self.make_error("invalid", input=said, obj_type=self.OBJ_TYPE) from error

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else rfc3339(value)


class Word(ma.fields.String):
    """One of a few lower-case words, such as the states of a `StrEnum`."""

    def __init__(self, words: Iterable[str], **options: Any) -> None:
        super().__init__(validate=ma.validate.OneOf([str(word) for word in words]), **options)


NOT_PLAIN = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
PLAIN_TEXT = re.compile(rf"^[^{NOT_PLAIN}]*\Z")
"""Text without control characters and without those that reorder what stands beside them.

Every other character may be in a name, whether this Python's Unicode knows it or not: people are
called 王𱍐, and registries use the private use area.
"""


class Text(ma.fields.String):
    """Plain text: see `PLAIN_TEXT`; half a surrogate pair is no text at all."""

    def __init__(self, *, validate: Any = (), **options: Any) -> None:
        others = validate if isinstance(validate, Sequence) else [validate]
        plain = ma.validate.Regexp(
            PLAIN_TEXT, error="Not plain text: no control or direction characters."
        )
        super().__init__(validate=[plain, *others], **options)

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(*args, **kwargs)
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise self.make_error("invalid") from error
        return text


class Line(Text):
    """Plain text without the spaces around it: a blank one is empty."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(*args, **kwargs).strip()


_NOTHING_TO_SEE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs by their kind, blank by their looks: fillers, and braille without dots."""
_BLANK_KINDS = ("Z", "Cf", "Cc", "Cs")


def is_visible(text: str) -> bool:
    """Say whether a text holds anything that a reader sees: blanks of any script are nothing."""
    return any(
        letter not in _NOTHING_TO_SEE and not category(letter).startswith(_BLANK_KINDS)
        for letter in text
    )


def one_spelling(number: str) -> str:
    """Return the number of a paper (单据编号) in its one form: NFKC, upper case, no blanks.

    >>> {one_spelling(said) for said in ("R-1", " r-1 ", "Ｒ－１", "R\u200b–1")}
    {'R-1'}
    """
    letters = normalize("NFKC", normalize("NFKC", number).upper())
    return "".join(
        "-" if category(letter) == "Pd" else letter
        for letter in letters
        if not category(letter).startswith(_BLANK_KINDS)
    )


class PaperNumber(Text):
    """The number of a paper that counts once (收据号, OA 流程编号), in its one form."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(validate=ma.validate.Length(1, most), **options)

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(*args, **kwargs)
        return one_spelling(text) if PLAIN_TEXT.match(text) else text


class Reason(Line):
    """Words that are the control (事由): something visible, without the spaces around it."""

    default_error_messages = {  # noqa: RUF012 - theirs
        "blank": "Nothing is in it that a reader sees."
    }

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(validate=ma.validate.Length(1, most), **options)

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(*args, **kwargs)
        if text and not is_visible(text):
            raise self.make_error("blank")
        return text


class Raw(ma.fields.String):
    """Bytes of one length, in base64url without padding (RFC 4648 §5)."""

    def __init__(self, size: int, **options: Any) -> None:
        self._size = size
        width = (size * 8 + 5) // 6
        pattern = rf"^[A-Za-z0-9_-]{{{width}}}\Z"  # `$` would let a line feed follow
        super().__init__(validate=ma.validate.Regexp(pattern), **options)

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return None if value is None else base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    def deserialize(self, *args: Any, **options: Any) -> Any:
        """Return the bytes, once the text is known to be of the right length and letters."""
        text = super().deserialize(*args, **options)
        if not isinstance(text, str):
            return text
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if (
            self._serialize(raw, None, None) != text
        ):  # the last letter has bits that stand for nothing
            raise self.make_error("invalid")
        return raw


class PublicKey(Raw):
    """An Ed25519 public key.  One of small order, for which anybody could sign, is refused."""

    default_error_messages = {"weak": "Anybody could sign for this key."}  # noqa: RUF012 - theirs

    def __init__(self, **options: Any) -> None:
        super().__init__(32, **options)

    def deserialize(self, *args: Any, **options: Any) -> Any:
        """Return the key's 32 bytes."""
        key = super().deserialize(*args, **options)
        if isinstance(key, bytes) and is_weak_key(key):
            raise self.make_error("weak")
        return key
