"""ID documents (证件): what is a number, whose it is, and what it says of a birth.  Pure.

Source: regulation 二(三): one person, one card, by the document and not by the school's number.
"""

from datetime import date

from backend.holders.models import DocumentKind
from backend.sealing import Sealer

RESIDENT_ID_LENGTH = 18
CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"
BARE = (DocumentKind.RESIDENT_ID, DocumentKind.UNSPECIFIED)
"""Kinds whose number is hashed without its kind."""


def document_fault(document: str) -> str | None:
    """Return what is wrong with a normal document number, or None.

    Eighteen characters are a resident identity card (居民身份证, GB 11643) and must have its check
    digit; others (passport, 港澳台) only need a sensible length.

    >>> document_fault("11010519491231002X"), document_fault("110105194912310021")
    (None, 'the check digit is wrong')
    """
    if not 6 <= len(document) <= 20 or not document.isascii():  # noqa: PLR2004 - passports to permits
        return "not a document number"
    if _is_resident(document):
        total = sum(
            int(digit) * weight for digit, weight in zip(document, CHECK_WEIGHTS, strict=False)
        )
        if document[17] != CHECK_DIGITS[total % 11]:
            return "the check digit is wrong"
    return None


def kind_of(document: str) -> DocumentKind:
    """Return which kind a normal document number is where nobody says it."""
    return DocumentKind.RESIDENT_ID if _is_resident(document) else DocumentKind.UNSPECIFIED


def document_index(sealer: Sealer, *, kind: DocumentKind, document: str) -> bytes:
    """Return the keyed hash under which a normal document number is known."""
    return sealer.index("document", document if kind in BARE else f"{kind}:{document}")


def every_index(sealer: Sealer, *, document: str) -> frozenset[bytes]:
    """Return the hashes of a number under every kind: a feed may have named it otherwise."""
    return frozenset(
        document_index(sealer, kind=kind, document=document)
        for kind in DocumentKind
        if kind is not DocumentKind.UNSPECIFIED
    )


def other_indexes(sealer: Sealer, *, kind: DocumentKind, document: str) -> list[bytes]:
    """Return the hashes of a number under every kind but one, in order."""
    own = document_index(sealer, kind=kind, document=document)
    return sorted(every_index(sealer, document=document) - {own})


def born_on(document: str) -> date | None:
    """Return the day of birth that a resident identity number tells, or None.

    >>> born_on("11010519491231002X"), born_on("E12345678")
    (datetime.date(1949, 12, 31), None)
    """
    if not _is_resident(document):
        return None
    try:
        return date.fromisoformat(f"{document[6:10]}-{document[10:12]}-{document[12:14]}")
    except ValueError:
        return None


def is_male(document: str) -> bool:
    """Return what the order number of a resident identity number tells: odd is male.

    >>> is_male("11010519491231002X")
    False
    """
    return int(document[16]) % 2 == 1


def _is_resident(document: str) -> bool:
    return len(document) == RESIDENT_ID_LENGTH and document[:17].isdigit()
