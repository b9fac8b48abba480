"""Closing the own account from the phone (本人销户): what it would mean, asking, taking it back.

Source: regulation 三(十四).  Whether holders may ask from the phone is the school's to say.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from backend.closings import service
from backend.closings.models import Closing, ClosingKind
from backend.closings.rules import Check, CheckName
from backend.closings.service import AlreadyClosing
from backend.errors import DomainError, Kind, NotFound
from backend.holders.login import HolderCaller, must_be_fresh
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind
from backend.money import Fen
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.topups import refunding
from backend.topups.refund_rules import split


class OwnClosingOff(DomainError, code="own-closing-off", kind=Kind.CONFLICT):
    """The school closes accounts at the counter alone."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What closing an account now would mean (销户前检查)."""

    refusal: DomainError | None
    """Why the phone cannot ask for it; the card centre may still do it."""
    checks: list[Check]
    to_source: dict[str, Fen]
    """What goes back where it was paid from, by channel."""
    to_list_fen: Fen
    """What no channel takes back: onto the payout list."""
    owed_fen: Fen
    """What of the main purse pays arrears first."""
    subsidy_fen: Fen
    """What goes back to the fund: a subsidy was given, not paid in."""


def preview(
    session: Session, *, holder_id: UUID, channels: Collection[str], now: datetime
) -> Preview:
    """Return what stands against closing an account, and where its money would go."""
    policies = policies_at(session, now)
    purses = ledger.purses_of(session, holder_id=holder_id)
    able = refunding.refundable(session, holder_id=holder_id, channels=channels, now=now)
    checks = service.account_checks(session, holder_id=holder_id)
    (arrears,) = (check for check in checks if check.name is CheckName.ARREARS)
    main_fen = purses[AccountKind.MAIN_PURSE].balance_fen or 0
    owed_fen = min(main_fen, arrears.facts["arrears_fen"])
    to_source: Counter[str] = Counter()
    for part in split(main_fen - owed_fen, able.open_sources):
        to_source[part.channel] += part.amount_fen
    days = policies["closing.wait_days"]
    wait_until = now + timedelta(days=days)
    return Preview(
        refusal=_refusal(
            service.live_closing(session, holder_id=holder_id),
            allowed=policies["closing.own_request"],
        ),
        checks=[
            *checks,
            Check(CheckName.WAITING, days > 0, {"wait_until": wait_until.isoformat()}),
        ],
        to_source={name: Fen(fen) for name, fen in sorted(to_source.items())},
        to_list_fen=Fen(main_fen - owed_fen - sum(to_source.values())),
        owed_fen=Fen(owed_fen),
        subsidy_fen=Fen(purses[AccountKind.SUBSIDY_PURSE].balance_fen or 0),
    )


def _refusal(closing: Closing | None, *, allowed: bool) -> DomainError | None:
    if closing is not None:
        return AlreadyClosing(closing_id=str(closing.id))
    return None if allowed else OwnClosingOff()


def ask(
    session: Session, *, closing_id: UUID, who: HolderCaller, now: datetime
) -> tuple[Closing, bool]:
    """Start to close the caller's account, and say whether this call was first.

    It stops both cards, so whoever found an unlocked phone has to log in anew.  A retry gets the
    first answer whatever the school allows by then.  Locks as `service.start` does.

    Raises:
        NotBound: the caller's binding is not finished.
        NotFound: somebody else's closing has this id.
        OwnClosingOff: the school closes accounts at the counter alone.
        StepUpRequired: the login is too old.
        IdReused: the card centre started a closing of this account under this id.
        AlreadyClosing: another closing of this account goes on, or has ended.
    """
    holder_id, earlier = who.holder_id, session.get(Closing, closing_id)
    if earlier is not None and earlier.holder_id != holder_id:
        raise NotFound
    policies = policies_at(session, now)
    used = policies.used("closing.own_request")
    if earlier is None:
        if not policies["closing.own_request"]:
            raise OwnClosingOff().decided_by(used)
        used += must_be_fresh(policies, logged_in_at=who.logged_in_at, now=now)
    return service.start(
        session,
        closing_id=closing_id,
        holder_id=holder_id,
        kind=ClosingKind.OWN_REQUEST,
        document=None,
        allowed_by=used,
        actor=who.actor,
        now=now,
    )


def withdraw(
    session: Session, *, closing_id: UUID, holder_id: UUID, actor: Actor, now: datetime
) -> Closing:
    """Take the own request back before money moves; the same again changes nothing.

    The cards are frozen then: at the counter the card centre sees who asks for them.

    Raises:
        NotFound: there is no such closing, or the holder did not ask for it.
        ClosingNotPossible: money has moved by then.
    """
    closing = session.get(Closing, closing_id)
    if closing is None or closing.holder_id != holder_id or not is_own(closing):
        raise NotFound
    return service.cancel(session, closing_id=closing_id, actor=actor, now=now)


def is_own(closing: Closing) -> bool:
    """Say whether the holder asked for it."""
    return closing.kind is ClosingKind.OWN_REQUEST
