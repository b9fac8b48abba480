"""The life of a card as a table.  Pure."""

from enum import StrEnum

from backend.cards.models import CardState as S
from backend.errors import DomainError, Kind


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
