"""Refunds by the holder (原路退款): what can go back, and asking for it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.arrears.service import ArrearsOpen
from backend.cards.models import CardKind, CardState
from backend.cards.service import AccountClosed, CardFrozen, find_card, is_account_closed
from backend.clock import business_date, start_of_day
from backend.errors import DomainError, Kind
from backend.holders.models import Holder, Permission
from backend.holders.permissions import NotPermitted
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.policies.service import Policies, policies_at
from backend.refunds import service as refunds
from backend.refunds.models import ChannelRefund
from backend.rows import find_row, first_answer, lock_id, newest_first
from backend.topups.models import HolderRefund, TopUp, TopUpState
from backend.topups.refund_rules import Part, Rest, Source, explain, split, stands_against

REASON = "校园卡余额退款"
POLICIES = (
    "refund.enabled",
    "refund.wechat_days",
    "refund.alipay_days",
    "refund.least_fen",
    "refund.per_day",
)


class RefundsOff(DomainError, code="refunds-off", kind=Kind.CONFLICT):
    """The school gives nothing back from the phone: the card centre does."""


class TooManyRefunds(DomainError, code="too-many-refunds", kind=Kind.CONFLICT):
    """As many as are allowed were asked for today.  Fact: `per_day`."""


class RefundNotPossible(DomainError, code="refund-not-possible", kind=Kind.CONFLICT):
    """More than can go back, or less than the least.  Facts: `refundable_fen`, `least_fen`."""


@dataclass(frozen=True, slots=True)
class Refundable:
    """What of a holder's balance can go back, where to, and why the rest stays."""

    balance_fen: Fen
    """Of both purses."""
    refundable_fen: Fen
    least_fen: Fen
    parts: list[Part]
    """How all of it would be split, newest top-up first."""
    rests: list[Rest]
    refusal: DomainError | None
    """Why nothing goes back now, whatever the amount."""
    policies: Policies
    sources: dict[UUID, TopUp]
    open_sources: list[Source]


def refundable(
    session: Session, *, holder_id: UUID, channels: Collection[str], now: datetime
) -> Refundable:
    """Return what can go back.  Whoever acts on it holds the lock on the main purse."""
    purses = ledger.purses_of(session, holder_id=holder_id)
    main = purses[AccountKind.MAIN_PURSE]
    main_fen = main.balance_fen or 0
    subsidy_fen = purses[AccountKind.SUBSIDY_PURSE].balance_fen or 0
    policies = policies_at(session, now)
    windows = {
        name: timedelta(days=policies[f"refund.{name}_days"]) for name in ("wechat", "alipay")
    }
    paid = {top_up.id: top_up for top_up in _paid(session, holder_id)}
    open_sources, closed = [], []
    for source in _sources(session, list(paid.values())):
        kept = stands_against(source, windows=windows, channels=channels, now=now)
        if kept is None:
            open_sources.append(source)
        else:
            closed.append((kept, source.left_fen))
    parts = split(main_fen, open_sources)
    refundable_fen = Fen(sum(part.amount_fen for part in parts))
    return Refundable(
        balance_fen=Fen(main_fen + subsidy_fen),
        refundable_fen=refundable_fen,
        least_fen=Fen(policies["refund.least_fen"]),
        parts=parts,
        rests=explain(
            main_fen=main_fen,
            subsidy_fen=subsidy_fen,
            refundable_fen=refundable_fen,
            closed=closed,
            cash_fen=_cash_fen(session, main),
        ),
        refusal=_refusal(session, holder_id=holder_id, policies=policies, now=now),
        policies=policies,
        sources=paid,
        open_sources=open_sources,
    )


def _paid(session: Session, holder_id: UUID) -> Sequence[TopUp]:
    return session.scalars(
        select(TopUp).where(TopUp.holder_id == holder_id, TopUp.state == TopUpState.PAID)
    ).all()


def _sources(session: Session, paid: Sequence[TopUp]) -> list[Source]:
    back = refunds.given_back(
        session, [(top_up.channel, top_up.trade_no) for top_up in paid if top_up.trade_no]
    )
    found = []
    for top_up in paid:
        given = back.get((top_up.channel, top_up.trade_no or ""), refunds.NOTHING)
        found.append(
            Source(
                top_up_id=top_up.id,
                channel=top_up.channel,
                trade_no=top_up.trade_no,
                amount_fen=top_up.amount_fen,
                paid_at=top_up.paid_at or top_up.created_at,
                refunded_fen=given.refunded_fen,
                refunds=given.refunds,
            )
        )
    return found


def _cash_fen(session: Session, purse: Account) -> Fen:
    return Fen(
        ledger.came_in(session, account_id=purse.id, kind=TransferKind.CASH_TOP_UP)
        - ledger.went_out(session, account_id=purse.id, kind=TransferKind.CASH_TOP_UP_REVERSAL)
    )


def _refusal(
    session: Session, *, holder_id: UUID, policies: Policies, now: datetime
) -> DomainError | None:
    if not policies["refund.enabled"]:
        return RefundsOff().decided_by(policies.used("refund.enabled"))
    if stands := _card_refusal(session, holder_id):
        return stands
    if Permission.FINANCE in session.get_one(Holder, holder_id).denied:
        return NotPermitted(permission=Permission.FINANCE.value)
    arrears_fen = arrears.open_fen(session, holder_id=holder_id)
    if arrears_fen:
        return ArrearsOpen(arrears_fen=arrears_fen)
    today = session.scalar(
        select(func.count())
        .select_from(HolderRefund)
        .where(
            HolderRefund.holder_id == holder_id,
            HolderRefund.requested_at >= start_of_day(business_date(now)),
        )
    )
    if (today or 0) >= policies["refund.per_day"]:
        return TooManyRefunds(per_day=policies["refund.per_day"]).decided_by(
            policies.used("refund.per_day")
        )
    return None


def _card_refusal(session: Session, holder_id: UUID) -> DomainError | None:
    """Say why a card or its account stands against it.

    A lost or expired card keeps nobody from the own money: it goes where it came from.
    """
    if is_account_closed(session, holder_id=holder_id):
        return AccountClosed()
    virtual = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    frozen = virtual is not None and virtual.state is CardState.FROZEN
    return CardFrozen() if frozen else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a holder asked to have back, and its parts."""

    refund: HolderRefund
    parts: Sequence[ChannelRefund]


def ask(
    session: Session,
    *,
    refund_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    channels: Collection[str],
    actor: Actor,
    now: datetime,
) -> tuple[Asked, bool]:
    """Take an amount out of the main purse to be sent back, and say whether this call was first.

    From the commit on no charge can spend it.  Locks the refund's id, then the main purse, so two
    refunds, or a refund and a charge, never take the same fen.

    Raises:
        NotFound: somebody else's refund has this id.
        IdReused: `refund_id` came before with another amount.
        RefundsOff, CardFrozen, AccountClosed, NotPermitted, ArrearsOpen, TooManyRefunds:
            nothing goes back now.
        RefundNotPossible: more than can go back, or less than the least.
    """
    lock_id(session, refund_id)
    earlier = first_answer(
        session, HolderRefund, refund_id, owner={"holder_id": holder_id}, amount_fen=amount_fen
    )
    if earlier is not None:
        return with_parts(session, [earlier])[0], False
    purse = ledger.lock_purse(session, holder_id=holder_id)
    able = refundable(session, holder_id=holder_id, channels=channels, now=now)
    if able.refusal is not None:
        raise able.refusal
    if not able.least_fen <= amount_fen <= able.refundable_fen:
        raise RefundNotPossible(
            refundable_fen=able.refundable_fen, least_fen=able.least_fen
        ).decided_by(able.policies.used(*POLICIES))
    refund = HolderRefund(
        id=refund_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        requested_at=now,
        policy_ids=[str(id_) for id_ in able.policies.used(*POLICIES)],
    )
    session.add(refund)
    parts = split(amount_fen, able.open_sources)
    through = sorted({part.channel for part in parts})
    due = ledger.school_account(session, AccountKind.REFUNDS_DUE)
    facts = {"channel": through[0]} if len(through) == 1 else {}
    ledger.post(
        session,
        [Movement(TransferKind.REFUND, refund_id, purse.id, due, amount_fen, facts)],
        now=now,
    )
    owed = [
        owe(
            session,
            part,
            able.sources[part.top_up_id],
            reason=REASON,
            holder_id=holder_id,
            subject_id=refund_id,
            now=now,
        )
        for part in parts
    ]
    notices.tell(
        session,
        holder_id=holder_id,
        kind="refund-requested",
        now=now,
        refund_id=str(refund_id),
        amount_fen=amount_fen,
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
    )
    operation_log.record(
        session,
        actor=actor,
        action="refund.request",
        holder_id=holder_id,
        subject_id=refund_id,
        now=now,
        amount_fen=amount_fen,
        channels=through,
    )
    return Asked(refund, owed), True


def owe(
    session: Session,
    part: Part,
    top_up: TopUp,
    *,
    reason: str,
    holder_id: UUID,
    subject_id: UUID,
    now: datetime,
    to_purse: bool = True,
) -> ChannelRefund:
    """Owe a part of what a top-up paid, to be sent back the way it came."""
    return refunds.owe(
        session,
        channel=top_up.channel,
        out_trade_no=top_up.out_trade_no,
        trade_no=top_up.trade_no or "",
        paid_fen=top_up.amount_fen,
        amount_fen=part.amount_fen,
        reason=reason,
        holder_id=holder_id,
        subject_id=subject_id,
        now=now,
        to_purse=to_purse,
    )


def with_parts(session: Session, asked: Sequence[HolderRefund]) -> list[Asked]:
    """Return refunds with their parts."""
    parts = refunds.of_subjects(session, [refund.id for refund in asked])
    return [Asked(refund, parts[refund.id]) for refund in asked]


def find(session: Session, *, refund_id: UUID, holder_id: UUID) -> Asked:
    """Return a holder's own refund.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    found = find_row(session, HolderRefund, refund_id, holder_id=holder_id)
    return with_parts(session, [found])[0]


def list_refunds(
    session: Session, *, holder_id: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[HolderRefund]:
    """Return what a holder asked to have back, newest first."""
    query = select(HolderRefund).where(HolderRefund.holder_id == holder_id)
    return session.scalars(
        newest_first(query, HolderRefund.requested_at, before=before, limit=limit)
    ).all()


def refunded_fen(session: Session, top_ups: Collection[TopUp]) -> dict[UUID, Fen]:
    """Return how much of each top-up has gone back or is on its way."""
    return {source.top_up_id: source.refunded_fen for source in _sources(session, list(top_ups))}
