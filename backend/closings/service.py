"""Closings (销户): starting one, what stands against it, undoing one that was a mistake.

`emptying.py` takes it from there.  Lock order: the closing, then the holder, the cards and the main
purse.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from backend.applications.sponsoring import left_early
from backend.arrears import service as arrears
from backend.cards.models import Card
from backend.cards.rules import CardEvent
from backend.cards.service import EXPIRING, GONE, change_state, list_cards
from backend.cases.models import Resolution
from backend.clock import business_date
from backend.closings.models import Closing, ClosingKind, ClosingState
from backend.closings.rules import (
    TEMPORARY,
    WAIVABLE,
    Check,
    CheckName,
    ClosingEvent,
    next_state,
    standing,
)
from backend.errors import DomainError, Kind
from backend.holders.category_changes import is_due
from backend.holders.models import Holder
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.refunds.models import ChannelRefund
from backend.refunds.rules import UNSETTLED
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first
from backend.topups.models import TopUp
from backend.topups.rules import UNRESOLVED
from backend.uploads.models import LateUpload

POLICIES = ("closing.wait_days", "refund.wechat_days", "refund.alipay_days")
GOING_ON = (ClosingState.STARTED, ClosingState.SETTLING, ClosingState.PAYING)
HOLDS = and_(Closing.state != ClosingState.CANCELLED, Closing.reopened_at.is_(None))
"""A closing that goes on, or has ended and was not undone by a reopening (复户)."""


class AlreadyClosing(DomainError, code="already-closing", kind=Kind.CONFLICT):
    """The account is closing or closed by another request.  Fact: `closing_id`."""


class CheckNotWaivable(DomainError, code="check-not-waivable", kind=Kind.CONFLICT):
    """This check has to be met.  Fact: `check`."""


def start(
    session: Session,
    *,
    closing_id: UUID,
    holder_id: UUID,
    kind: ClosingKind,
    document: str | None,
    actor: Actor,
    now: datetime,
    allowed_by: Sequence[UUID] = (),
) -> tuple[Closing, bool]:
    """Start to close an account, and say whether this call was first: from now on no card works.

    Whatever stands against it stands against emptying the purses, never against this: who has left
    enters no gate.  Locks the closing's id, the holder, the cards, the main purse.

    Raises:
        IdReused: `closing_id` came before for somebody else or with other content.
        AlreadyClosing: another closing of this account goes on, or has ended.
    """
    lock_id(session, closing_id)
    earlier = first_answer(
        session, Closing, closing_id, holder_id=holder_id, kind=kind, document=document
    )
    if earlier is not None:
        return earlier, False
    lock_account(session, holder_id=holder_id)
    other = live_closing(session, holder_id=holder_id)
    if other is not None:
        raise AlreadyClosing(closing_id=str(other.id))
    policies = policies_at(session, now)
    used = [*policies.used(*POLICIES), *allowed_by]
    closing = Closing(
        id=closing_id,
        holder_id=holder_id,
        kind=kind,
        document=document,
        state=ClosingState.STARTED,
        started_at=now,
        started_by=actor.name,
        wait_until=now + timedelta(days=policies["closing.wait_days"]),
        waived=[],
        standing=[],
        paid_fen=Fen(0),
        withdrawn_fen=Fen(0),
        settled_at=None,
        closed_at=None,
        policy_ids=[str(id_) for id_ in used],
    )
    session.add(closing)
    session.flush()
    before = change_cards(session, closing, CardEvent.START_CLOSING, actor=actor, now=now)
    found = checks(session, closing=closing, now=now)
    closing.standing = standing(found, waived=())
    notices.tell(
        session,
        holder_id=holder_id,
        kind="closing-started",
        now=now,
        closing_id=str(closing_id),
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
    )
    operation_log.record(
        session,
        actor=actor,
        action="closing.start",
        holder_id=holder_id,
        subject_id=closing_id,
        now=now,
        before=before,
        after={"state": closing.state.value},
        documents=[document] if document else (),
        policy_ids=used,
        kind=kind.value,
        standing=closing.standing,
    )
    return closing, True


def lock_account(session: Session, *, holder_id: UUID) -> None:
    """Lock what a binding, a loss report, a charge or a top-up would change.

    The holder, then the cards, then the purse.  The weaker lock on the holder lets charges through,
    which lock the purse first and then refer to the holder.
    """
    session.execute(select(Holder.id).where(Holder.id == holder_id).with_for_update(key_share=True))
    session.execute(
        select(Card.id).where(Card.holder_id == holder_id).order_by(Card.kind).with_for_update()
    )
    ledger.lock_purse(session, holder_id=holder_id)


def change_cards(
    session: Session, closing: Closing, event: CardEvent, *, actor: Actor, now: datetime
) -> dict[str, str]:
    """Let an event happen to every card that is not gone; return how they stood before."""
    cards = [
        card for card in list_cards(session, holder_id=closing.holder_id) if card.state not in GONE
    ]
    before = {card.kind.value: card.state.value for card in cards}
    for card in cards:
        change_state(
            session, card=card, event=event, actor=actor, now=now, closing_id=str(closing.id)
        )
    return before


def live_closing(session: Session, *, holder_id: UUID) -> Closing | None:
    """Return the closing of an account that goes on or has ended, None where there is none."""
    return session.scalars(
        select(Closing)
        .where(Closing.holder_id == holder_id, HOLDS)
        .order_by(Closing.started_at.desc(), Closing.id.desc())
        .limit(1)
    ).one_or_none()


def checks(session: Session, *, closing: Closing, now: datetime) -> list[Check]:
    """Return every check of a closing as it stands now."""
    waits = Check(
        CheckName.WAITING,
        stands=now < closing.wait_until,
        facts={"wait_until": closing.wait_until.isoformat()},
    )
    return [*account_checks(session, holder_id=closing.holder_id), waits]


def account_checks(session: Session, *, holder_id: UUID) -> list[Check]:
    """Return what stands, or would stand, against emptying an account's purses."""
    owed_fen = arrears.open_fen(session, holder_id=holder_id)
    main = ledger.purses_of(session, holder_id=holder_id)[AccountKind.MAIN_PURSE]
    short_fen = max(0, owed_fen - (main.balance_fen or 0))
    orders = _count(session, select(TopUp.id).where(
        TopUp.holder_id == holder_id, TopUp.state.in_(UNRESOLVED)
    ))  # fmt: skip
    returning = _count(session, select(ChannelRefund.id).where(
        ChannelRefund.holder_id == holder_id,
        ChannelRefund.to_purse,
        ChannelRefund.state.in_(UNSETTLED),
    ))  # fmt: skip
    reviews = _count(session, select(LateUpload.id)
        .outerjoin(Resolution, Resolution.upload_id == LateUpload.id)
        .where(
            LateUpload.holder_id == holder_id,
            LateUpload.needs_review,
            LateUpload.record_id.is_(None),
            Resolution.upload_id.is_(None),
    ))  # fmt: skip
    return [
        Check(CheckName.ARREARS, short_fen > 0, {"arrears_fen": owed_fen, "short_fen": short_fen}),
        Check(CheckName.UNPAID_ORDERS, orders > 0, {"count": orders}),
        Check(CheckName.REFUNDS_UNDER_WAY, returning > 0, {"count": returning}),
        Check(CheckName.REVIEWS, reviews > 0, {"count": reviews}),
    ]


def _count(session: Session, query: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def waive(
    session: Session,
    *,
    closing_id: UUID,
    check: CheckName,
    reason: str,
    actor: Actor,
    now: datetime,
) -> Closing:
    """Let a check pass; the same check again changes nothing.  Locks the closing.

    Raises:
        NotFound: there is no such closing.
        CheckNotWaivable: it has to be met.
        ClosingNotPossible: the purses were emptied already, or it was cancelled.
    """
    closing = lock(session, closing_id=closing_id)
    if check not in WAIVABLE:
        raise CheckNotWaivable(check=check.value)
    if check in waived_of(closing):
        return closing
    if closing.state is not ClosingState.STARTED:
        next_state(closing.state, ClosingEvent.PAY_OUT)
    entry = {"check": check.value, "reason": reason, "by": actor.name, "at": now.isoformat()}
    closing.waived = [*closing.waived, entry]
    operation_log.record(
        session,
        actor=actor,
        action="closing.waive",
        holder_id=closing.holder_id,
        subject_id=closing.id,
        now=now,
        check=check.value,
        reason=reason,
    )
    return closing


def waived_of(closing: Closing) -> list[str]:
    """Return the names of the checks that were waived."""
    return [entry["check"] for entry in closing.waived]


def cancel(session: Session, *, closing_id: UUID, actor: Actor, now: datetime) -> Closing:
    """Undo a closing that was a mistake: its cards are frozen until somebody unfreezes them.

    Locks the closing, then the main purse.  The same again changes nothing.

    Raises:
        NotFound: there is no such closing.
        ClosingNotPossible: money has moved by then.
    """
    closing = lock(session, closing_id=closing_id)
    if closing.state is ClosingState.CANCELLED:
        return closing
    closing.state = next_state(closing.state, ClosingEvent.CANCEL)
    lock_account(session, holder_id=closing.holder_id)
    change_cards(session, closing, CardEvent.CANCEL_CLOSING, actor=actor, now=now)
    tell_and_log(session, closing, "closing.cancel", "closing-cancelled", actor=actor, now=now)
    return closing


def tell_and_log(
    session: Session, closing: Closing, action: str, notice: str, *, actor: Actor, now: datetime
) -> None:
    """Tell the holder how far a closing is, and write it down."""
    notices.tell(
        session,
        holder_id=closing.holder_id,
        kind=notice,
        now=now,
        closing_id=str(closing.id),
        amount_fen=closing.paid_fen,
    )
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=closing.holder_id,
        subject_id=closing.id,
        now=now,
        after={"state": closing.state.value},
        paid_fen=closing.paid_fen,
        withdrawn_fen=closing.withdrawn_fen,
    )


def lock(session: Session, *, closing_id: UUID) -> Closing:
    """Return a closing, locked.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, Closing, closing_id)


def close_expired(session: Session, *, now: datetime) -> int:
    """Start to close temporary accounts whose last day is over (到期销户), 三(十一).

    It is told apart where the sponsor brought that day forward (提前离校).  Their cards have
    expired before; one that was never handed out, or is void, needs not.  Who is another kind of
    holder from today on is left until that is applied.
    """
    today = business_date(now)
    closing = select(Closing.id).where(Closing.holder_id == Holder.id, HOLDS)
    expiring = select(Card.id).where(Card.holder_id == Holder.id, Card.state.in_(EXPIRING))
    due = session.scalars(
        select(Holder.id).where(
            Holder.category.in_(TEMPORARY),
            Holder.valid_until < today,
            ~is_due(today),
            ~expiring.exists(),
            ~closing.exists(),
        )
    ).all()
    early = left_early(session, holder_ids=due)
    for holder_id in due:
        start(
            session,
            closing_id=new_id(),
            holder_id=holder_id,
            kind=ClosingKind.EARLY if holder_id in early else ClosingKind.EXPIRY,
            document=None,
            actor=operation_log.SYSTEM,
            now=now,
        )
    return len(due)


def find(session: Session, *, closing_id: UUID) -> Closing:
    """Return a closing.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Closing, closing_id)


def list_closings(
    session: Session,
    *,
    states: Collection[ClosingState],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Closing]:
    """Return closings in some states, newest first."""
    query = select(Closing).where(Closing.state.in_(states))
    return session.scalars(
        newest_first(query, Closing.started_at, before=before, limit=limit)
    ).all()
