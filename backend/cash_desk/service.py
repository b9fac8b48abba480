"""Cash over the desk (现金充值): taking it, and taking it back."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cash_desk import shifts
from backend.cash_desk.finding import refusal_for
from backend.cash_desk.models import CashPurpose, CashReversal, CashShift, CashTopUp
from backend.cash_desk.shifts import CashierCannotSupervise
from backend.clock import business_date
from backend.errors import DomainError, Kind, NotFound
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.holders.models import Holder
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators import limits
from backend.operators.service import OperatorCaller
from backend.policies.service import Policies, policies_at
from backend.rows import find_row, first_answer, lock_id, newest_first

POLICIES = (
    "cash.least_fen",
    "cash.most_fen",
    "cash.shift_most_fen",
    "operator.cash_day_fen",
    "top_up.most_balance_fen",
)


class ReversalDayOver(DomainError, code="reversal-day-over", kind=Kind.CONFLICT):
    """Cash is taken back on the accounting day on which it came only.  Fact: `day`."""


class CashSpent(DomainError, code="cash-spent", kind=Kind.CONFLICT):
    """The holder has spent some of what would be taken back.  Facts: `balance_fen`, `short_fen`."""


class CashReversed(DomainError, code="cash-reversed", kind=Kind.CONFLICT):
    """The cash top-up was taken back before, under another id.  Fact: `reversal_id`."""


def take(
    session: Session,
    *,
    top_up_id: UUID,
    shift_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    note: str | None,
    cashier: OperatorCaller,
    now: datetime,
) -> tuple[CashTopUp, bool]:
    """Credit cash that lies in the drawer, with a receipt; say whether this call was the first.

    What comes in pays arrears first.  Locks the top-up's id, the shift, the holder's main purse,
    and last the account `cash`, so that receipts are numbered one after the other.

    Raises:
        NotFound: another cashier's top-up has this id, or there is no such shift of this cashier,
            or no such holder.
        IdReused: `top_up_id` came before with other content.
        ShiftNotOpen, ShiftOver: the drawer takes nothing any more.
        AccountClosed, CardExpired, NotPermitted: the account takes no money; a lost card does.
        BelowLeast: too little.
        LimitExceeded: too much, too high a balance, or too full a drawer.
        OperatorLimit: the cashier has taken as much today as one person may, over all drawers.
    """
    earlier = earlier_receipt(
        session,
        top_up_id,
        CashPurpose.TOP_UP,
        shift_id=shift_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        note=note,
        cashier=cashier,
    )
    if earlier is not None:
        return earlier, False
    day = business_date(now)
    shift, purse = lock_drawer(
        session, shift_id=shift_id, holder_id=holder_id, cashier=cashier, day=day
    )
    refusal = refusal_for(session, holder_id=holder_id)
    if refusal is not None:
        raise refusal
    policies = policies_at(session, now)
    check_limits(session, shift, purse, amount_fen, policies, cashier=cashier, day=day)
    cash, number = next_number(session, day=day)
    top_up = CashTopUp(
        id=top_up_id,
        shift_id=shift.id,
        cashier_id=cashier.operator_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        business_date=day,
        number=number,
        note=note,
        taken_at=now,
        policy_ids=[str(id_) for id_ in policies.used(*POLICIES)],
    )
    facts: dict[str, Any] = {"place": shift.desk, "receipt_number": top_up.receipt_number}
    movement = Movement(TransferKind.CASH_TOP_UP, top_up_id, cash, purse.id, amount_fen, facts)
    ledger.post(session, [movement], now=now)
    arrears.collect(session, holder_id=holder_id, now=now)
    top_up.balance_fen = ledger.balance_of(session, holder_id=holder_id)
    session.add(top_up)
    session.flush()
    notices.tell(
        session,
        holder_id=holder_id,
        kind="cash-top-up",
        now=now,
        top_up_id=str(top_up_id),
        amount_fen=amount_fen,
        balance_fen=top_up.balance_fen,
        **facts,
    )
    operation_log.record(
        session,
        actor=cashier.actor,
        action="cash_top_up.take",
        holder_id=holder_id,
        subject_id=top_up_id,
        now=now,
        amount_fen=amount_fen,
        receipt_number=top_up.receipt_number,
        place=shift.desk,
    )
    return top_up, True


def earlier_receipt(
    session: Session,
    receipt_id: UUID,
    purpose: CashPurpose,
    *,
    shift_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    note: str | None,
    cashier: OperatorCaller,
) -> CashTopUp | None:
    """Return what the same request took before under its id, which is locked; None: nothing yet.

    Raises:
        NotFound: the id is another cashier's.
        IdReused: it came before with other content, or for another purpose.
    """
    lock_id(session, receipt_id)
    return first_answer(
        session,
        CashTopUp,
        receipt_id,
        owner={"cashier_id": cashier.operator_id},
        shift_id=shift_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        note=note,
        purpose=purpose,
    )


def lock_drawer(
    session: Session, *, shift_id: UUID, holder_id: UUID, cashier: OperatorCaller, day: date
) -> tuple[CashShift, Account]:
    """Lock a cashier's open shift and day, then a holder's main purse; return shift and purse.

    Raises:
        NotFound: there is no such shift of this cashier, or no such holder.
        ShiftNotOpen, ShiftOver: the drawer takes nothing any more.
    """
    shift = shifts.lock_own(session, shift_id=shift_id, cashier=cashier)
    find_row(session, Holder, holder_id)
    shifts.must_be_open(shift, day=day)
    limits.lock_day(session, cashier)
    return shift, ledger.lock_purse(session, holder_id=holder_id)


def check_limits(
    session: Session,
    shift: CashShift,
    purse: Account | None,
    amount_fen: Fen,
    policies: Policies,
    *,
    cashier: OperatorCaller,
    day: date,
) -> None:
    """Refuse too much cash at once, in one drawer or of one person; into a purse also too little.

    Raises:
        BelowLeast: too little for a purse.
        LimitExceeded: too much, too high a balance, or too full a drawer.
        OperatorLimit: the cashier has taken as much that day as one person may, over all drawers.
    """
    takings_fen = shifts.drawer_of(session, shift).takings_fen
    if purse is not None and amount_fen < policies["cash.least_fen"]:
        raise BelowLeast(limit="cash_least", limit_fen=policies["cash.least_fen"]).decided_by(
            policies.used("cash.least_fen")
        )
    for limit, key, exceeded in (
        ("cash_most", "cash.most_fen", amount_fen > policies["cash.most_fen"]),
        (
            "top_up_balance",
            "top_up.most_balance_fen",
            purse is not None
            and (purse.balance_fen or 0) + amount_fen > policies["top_up.most_balance_fen"],
        ),
        (
            "cash_shift",
            "cash.shift_most_fen",
            takings_fen + amount_fen > policies["cash.shift_most_fen"],
        ),
    ):
        if exceeded:
            raise LimitExceeded(limit=limit, limit_fen=policies[key]).decided_by(policies.used(key))
    limits.check_sum(
        limit="cash_day_fen",
        already_fen=_taken_fen(session, cashier, day=day),
        amount_fen=amount_fen,
        most_fen=policies["operator.cash_day_fen"],
        policy_ids=policies.used("operator.cash_day_fen"),
    )


def _taken_fen(session: Session, cashier: OperatorCaller, *, day: date) -> int:
    """Return what a cashier has taken on a day, also what was taken back."""
    taken = select(func.coalesce(func.sum(CashTopUp.amount_fen), 0)).where(
        CashTopUp.cashier_id == cashier.operator_id, CashTopUp.business_date == day
    )
    return int(session.scalar(taken) or 0)


def next_number(session: Session, *, day: date) -> tuple[UUID, int]:
    """Return the account `cash`, locked, and the next receipt number of a day.

    A transaction that fails after this has drawn no number: the next one gets it.
    """
    cash = session.scalars(
        select(Account.id).where(Account.kind == AccountKind.CASH).with_for_update()
    ).one()
    last = session.scalar(select(func.max(CashTopUp.number)).where(CashTopUp.business_date == day))
    return cash, (last or 0) + 1


def reverse(
    session: Session,
    *,
    reversal_id: UUID,
    top_up_id: UUID,
    reason: str,
    supervisor: OperatorCaller,
    now: datetime,
) -> tuple[CashReversal, bool]:
    """Take a cash top-up back (冲正): the holder gets the notes, the purse gives the money up.

    What paid arrears of a closed account is owed again.
    Says whether this call was the first.  The whole amount, once, on the same accounting day, and
    while the drawer that it lies in is not counted.  Locks the reversal's id, the shift, then the
    purse.

    Raises:
        NotFound: another supervisor's reversal has this id, or there is no such top-up.
        IdReused: `reversal_id` came before with other content.
        CashierCannotSupervise: it is the supervisor's own top-up.
        CashReversed: it was taken back under another id.
        ReversalDayOver: it is of an earlier day.
        ShiftNotOpen: its drawer is counted.
        CashSpent: the holder has spent some of it.
    """
    lock_id(session, reversal_id)
    earlier = first_answer(
        session,
        CashReversal,
        reversal_id,
        owner={"supervisor_id": supervisor.operator_id},
        top_up_id=top_up_id,
        reason=reason,
    )
    if earlier is not None:
        return earlier, False
    top_up = find_row(session, CashTopUp, top_up_id)
    if top_up.cashier_id == supervisor.operator_id:
        raise CashierCannotSupervise
    shift = shifts.lock(session, top_up.shift_id)
    other = reversal_of(session, top_up_id=top_up_id)
    if other is not None:
        raise CashReversed(reversal_id=str(other.id))
    if top_up.business_date != business_date(now):
        raise ReversalDayOver(day=top_up.business_date.isoformat())
    shifts.must_be_open(shift, day=top_up.business_date)
    facts: dict[str, Any] = {"place": shift.desk, "receipt_number": top_up.receipt_number}
    purse = ledger.lock_purse(session, holder_id=top_up.holder_id)
    kind, source = TransferKind.CASH_TOP_UP_REVERSAL, purse.id
    if top_up.arrears_parts:
        kind = TransferKind.ARREARS_CASH_REVERSAL
        source = ledger.school_account(session, AccountKind.ARREARS)
        arrears.take_payment_back(session, parts=top_up.arrears_parts)
    elif (purse.balance_fen or 0) < top_up.amount_fen:
        raise CashSpent(
            balance_fen=purse.balance_fen,
            short_fen=Fen(top_up.amount_fen - (purse.balance_fen or 0)),
        )
    cash = ledger.school_account(session, AccountKind.CASH)
    movement = Movement(kind, reversal_id, source, cash, top_up.amount_fen, facts)
    ledger.post(session, [movement], now=now)
    reversal = CashReversal(
        id=reversal_id,
        top_up_id=top_up_id,
        cashier_id=top_up.cashier_id,
        business_date=top_up.business_date,
        supervisor_id=supervisor.operator_id,
        amount_fen=top_up.amount_fen,
        balance_fen=ledger.balance_of(session, holder_id=top_up.holder_id),
        reason=reason,
        reversed_at=now,
    )
    session.add(reversal)
    session.flush()
    notices.tell(
        session,
        holder_id=top_up.holder_id,
        kind="cash-top-up-reversed",
        now=now,
        top_up_id=str(top_up_id),
        amount_fen=top_up.amount_fen,
        balance_fen=reversal.balance_fen,
        **facts,
    )
    operation_log.record(
        session,
        actor=supervisor.actor,
        action="cash_top_up.reverse",
        holder_id=top_up.holder_id,
        subject_id=top_up_id,
        now=now,
        reversal_id=str(reversal_id),
        amount_fen=top_up.amount_fen,
        reason=reason,
        receipt_number=top_up.receipt_number,
        place=shift.desk,
    )
    return reversal, True


def find_top_up(session: Session, *, top_up_id: UUID, operator: OperatorCaller) -> CashTopUp:
    """Return a cash top-up that an operator may see.

    Raises:
        NotFound: there is none, or another cashier took it.
    """
    top_up = session.get(CashTopUp, top_up_id)
    if top_up is None or not shifts.may_see(operator, top_up.cashier_id):
        raise NotFound
    return top_up


def reversal_of(session: Session, *, top_up_id: UUID) -> CashReversal | None:
    """Return how a cash top-up was taken back, None where it stands."""
    return session.scalars(
        select(CashReversal).where(CashReversal.top_up_id == top_up_id)
    ).one_or_none()


def reversals_of(session: Session, top_ups: Collection[CashTopUp]) -> dict[UUID, CashReversal]:
    """Return how some cash top-ups were taken back, by the top-up's id; what stands is left out."""
    found = session.scalars(
        select(CashReversal).where(CashReversal.top_up_id.in_([top_up.id for top_up in top_ups]))
    )
    return {reversal.top_up_id: reversal for reversal in found}


def find_reversal(
    session: Session, *, top_up_id: UUID, reversal_id: UUID, operator: OperatorCaller
) -> CashReversal:
    """Return a reversal that an operator may see.

    Raises:
        NotFound: there is none of this top-up, or another cashier took the money.
    """
    reversal = session.get(CashReversal, reversal_id)
    if (
        reversal is None
        or reversal.top_up_id != top_up_id
        or not shifts.may_see(operator, reversal.cashier_id)
    ):
        raise NotFound
    return reversal


def list_top_ups(
    session: Session,
    *,
    operator: OperatorCaller,
    shift_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[CashTopUp]:
    """Return the cash top-ups that an operator may see, of one shift or of all, newest first."""
    query = select(CashTopUp).where(shifts.seen_by(operator, CashTopUp.cashier_id))
    if shift_id is not None:
        query = query.where(CashTopUp.shift_id == shift_id)
    return session.scalars(
        newest_first(query, CashTopUp.taken_at, before=before, limit=limit)
    ).all()


def list_reversals(
    session: Session,
    *,
    operator: OperatorCaller,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[CashReversal]:
    """Return the reversals that an operator may see, newest first."""
    query = select(CashReversal).where(shifts.seen_by(operator, CashReversal.cashier_id))
    return session.scalars(
        newest_first(query, CashReversal.reversed_at, before=before, limit=limit)
    ).all()


def desks_of(session: Session, shift_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return at which desks some shifts are."""
    rows = session.execute(select(CashShift.id, CashShift.desk).where(CashShift.id.in_(shift_ids)))
    return {row.id: row.desk for row in rows}


def receipt_numbers(session: Session, top_up_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the receipt numbers of some cash top-ups."""
    found = session.scalars(select(CashTopUp).where(CashTopUp.id.in_(top_up_ids)))
    return {top_up.id: top_up.receipt_number for top_up in found}
