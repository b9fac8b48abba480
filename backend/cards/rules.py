"""The life of a card as a table.  Pure."""

from collections.abc import Collection
from enum import StrEnum

from backend.cards.models import CardState as S
from backend.errors import DomainError, Kind
from backend.holders.models import Category, Permission
from backend.money import Fen
from qr import Scope

NEEDED_FOR = {Scope.PAY: Permission.PAY, Scope.GATE: Permission.IDENTIFY}
"""Which permission (用途权限) a card needs for what a code is for."""


class CardEvent(StrEnum):
    """What can happen to a card."""

    ACTIVATE = "activate"
    """激活"""
    REPORT_LOST = "report_lost"
    """挂失"""
    RESTORE = "restore"
    """解挂"""
    FREEZE = "freeze"
    """冻结"""
    UNFREEZE = "unfreeze"
    """解冻"""
    EXPIRE = "expire"
    """过期"""
    EXTEND = "extend"
    """延期"""
    VOID = "void"
    """作废: replaced, exchanged or unbound"""
    START_CLOSING = "start_closing"
    """开始销户"""
    CANCEL_CLOSING = "cancel_closing"
    """撤销销户: the card stays stopped until somebody unfreezes it"""
    CLOSE = "close"
    """销户"""


E = CardEvent

TRANSITIONS: dict[tuple[S, E], S] = {
    (S.PENDING, E.ACTIVATE): S.ACTIVE,
    (S.PENDING, E.VOID): S.VOID,
    (S.ACTIVE, E.REPORT_LOST): S.LOST,
    (S.ACTIVE, E.FREEZE): S.FROZEN,
    (S.ACTIVE, E.EXPIRE): S.EXPIRED,
    (S.ACTIVE, E.VOID): S.VOID,
    (S.LOST, E.RESTORE): S.ACTIVE,
    (S.LOST, E.EXPIRE): S.EXPIRED,
    (S.LOST, E.VOID): S.VOID,
    (S.FROZEN, E.UNFREEZE): S.ACTIVE,
    (S.FROZEN, E.EXPIRE): S.EXPIRED,
    (S.EXPIRED, E.EXTEND): S.ACTIVE,
    (S.EXPIRED, E.VOID): S.VOID,
    (S.PENDING, E.START_CLOSING): S.CLOSING,
    (S.ACTIVE, E.START_CLOSING): S.CLOSING,
    (S.LOST, E.START_CLOSING): S.CLOSING,
    (S.FROZEN, E.START_CLOSING): S.CLOSING,
    (S.EXPIRED, E.START_CLOSING): S.CLOSING,
    (S.CLOSING, E.CANCEL_CLOSING): S.FROZEN,
    (S.CLOSING, E.CLOSE): S.CLOSED,
}
"""Every legal change, regulation 三(一)–(十四).  What is not here is refused."""

ALREADY: dict[E, S] = {
    E.ACTIVATE: S.ACTIVE,
    E.REPORT_LOST: S.LOST,
    E.FREEZE: S.FROZEN,
    E.EXPIRE: S.EXPIRED,
    E.VOID: S.VOID,
    E.START_CLOSING: S.CLOSING,
    E.CLOSE: S.CLOSED,
}
"""Events that are no news in a state: the wish is fulfilled already."""


class TransitionNotPossible(DomainError, code="transition-not-possible", kind=Kind.CONFLICT):
    """The card's state does not allow this now.  Facts: `state`, `event`."""


def next_state(state: S, event: E) -> S:
    """Return the state after an event; the same state where it is no news.

    Raises:
        TransitionNotPossible: the table has no such change.
    """
    if ALREADY.get(event) is state:
        return state
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionNotPossible(state=state.value, event=event.value) from None


COUNTER_EVENTS = (
    E.ACTIVATE,
    E.REPORT_LOST,
    E.RESTORE,
    E.FREEZE,
    E.UNFREEZE,
    E.EXTEND,
    E.VOID,
)
"""What the card centre's staff lets happen to one card.  A day that ends expires cards; closing an
account is its own operation."""

ID_DOCUMENT = "id_document"
QUESTIONS = "hotline_questions"
DOCUMENTS = (ID_DOCUMENT, QUESTIONS, "unit_letter", "old_card")
"""What was looked at: an ID document, the answers of somebody who called, a letter of the unit, the
old card.  Kinds only, never numbers."""

CHECKED: dict[tuple[E, str], str] = {
    (E.ACTIVATE, "counter"): ID_DOCUMENT,
    (E.REPORT_LOST, "counter"): ID_DOCUMENT,
    (E.REPORT_LOST, "hotline"): QUESTIONS,
    (E.RESTORE, "counter"): ID_DOCUMENT,
}
"""What has to be checked before an event, by where it was asked for."""

BY_PHONE = (E.REPORT_LOST,)
"""What may be asked for by hotline: stopping needs less proof than starting, always."""


class DocumentsMissing(DomainError, code="documents-missing", kind=Kind.CONFLICT):
    """Something has to be checked first.  Fact: `needs`, the kind of document."""


def check_documents(event: E, channel: str, documents: Collection[str]) -> None:
    """Refuse an event that was asked for without the proof it needs.

    >>> check_documents(E.FREEZE, "counter", [])

    Raises:
        DocumentsMissing: see `CHECKED`.
    """
    needs = CHECKED.get((event, channel))
    if needs is not None and needs not in documents:
        raise DocumentsMissing(needs=needs)


def counter_events(state: S) -> list[E]:
    """Return what the counter can let happen to a card in this state.

    >>> [event.value for event in counter_events(S.EXPIRED)]
    ['extend', 'void']
    """
    return [event for event in COUNTER_EVENTS if (state, event) in TRANSITIONS]


REPLACED_IN: dict[str, tuple[S, ...]] = {
    "lost": (S.LOST,),
    "damaged": (S.ACTIVE, S.LOST, S.VOID),
    "quality": (S.ACTIVE, S.LOST, S.VOID),
}
"""Why a physical card is replaced (补卡), and in which states.  A card that the counter voided as
damaged may be replaced later, once."""


def fee_key(category: Category) -> str:
    """Return the policy that says what a new card costs a kind of holder.

    >>> fee_key(Category.NEW_STUDENT), fee_key(Category.TEMPORARY_RETIRED)
    ('card.replacement_fee_fen', 'card.replacement_fee_temporary_fen')
    """
    if category.value.startswith("temporary_"):
        return "card.replacement_fee_temporary_fen"
    return "card.replacement_fee_fen"


def short_by(*, fee_fen: Fen, balance_fen: Fen, arrears_fen: Fen) -> Fen:
    """Return how much is missing for a fee once arrears are paid; zero where nothing is.

    >>> short_by(fee_fen=Fen(2000), balance_fen=Fen(1999), arrears_fen=Fen(0))
    1
    >>> short_by(fee_fen=Fen(2000), balance_fen=Fen(2500), arrears_fen=Fen(600))
    100
    >>> short_by(fee_fen=Fen(0), balance_fen=Fen(0), arrears_fen=Fen(600))
    0
    """
    return Fen(max(0, fee_fen - max(0, balance_fen - arrears_fen)))
