"""A cashier's shift (班次): opening it, counting the drawer, handing the money in."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from backend.cash_desk.models import (
    CashReversal,
    CashShift,
    CashTopUp,
    CloseOutRuling,
    ShiftState,
)
from backend.cash_desk.rules import NOTHING, TRANSITIONS, Drawer, ShiftEvent, handed_in, total_of
from backend.clock import business_date
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import first_answer, lock_id, lock_row, newest_first

CASHIERS = (Role.LOGISTICS, Role.FINANCE)
SUPERVISORS = (Role.FINANCE, Role.CARD_CENTRE)
MAY_LOOK = (Role.LOGISTICS, Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
SEE_ALL = (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
"""Who sees everybody's shifts; a cashier of logistics sees the own ones."""


class ShiftUnfinished(DomainError, code="shift-unfinished", kind=Kind.CONFLICT):
    """The cashier has another shift that is not closed yet.  Fact: `shift_id`."""


class ShiftNotOpen(DomainError, code="shift-not-open", kind=Kind.CONFLICT):
    """The shift's drawer is counted: nothing comes in or goes out any more.  Fact: `state`."""


class ShiftOver(DomainError, code="shift-over", kind=Kind.CONFLICT):
    """The shift is of an earlier accounting day: close it out and open another.  Fact: `day`."""


class ShiftNotClosing(DomainError, code="shift-not-closing", kind=Kind.CONFLICT):
    """No count of this shift waits for a supervisor.  Fact: `state`."""


class CountDoesNotAddUp(DomainError, code="count-does-not-add-up", kind=Kind.CONFLICT):
    """Notes and coins are worth another amount than was counted.  Facts: `counted_fen`,
    `sum_fen`."""


class DifferenceUnexplained(DomainError, code="difference-unexplained", kind=Kind.CONFLICT):
    """The drawer is off, and nobody said why.  Facts: `difference_fen`, `expected_fen`."""


class CashierCannotSupervise(DomainError, code="cashier-cannot-supervise", kind=Kind.FORBIDDEN):
    """Reversing and approving are for another person than the cashier of the shift."""


def open_shift(
    session: Session,
    *,
    shift_id: UUID,
    desk: str,
    opening_float_fen: Fen,
    cashier: OperatorCaller,
    now: datetime,
) -> tuple[CashShift, bool]:
    """Open a shift; say whether this call was the first.

    Locks the shift's id, then the cashier: two attempts at once open one shift.

    Raises:
        NotFound: another cashier's shift has this id.
        IdReused: `shift_id` came before with other content.
        ShiftUnfinished: the cashier has one that is not closed.
    """
    lock_id(session, shift_id)
    earlier = first_answer(
        session,
        CashShift,
        shift_id,
        owner={"cashier_id": cashier.operator_id},
        desk=desk,
        opening_float_fen=opening_float_fen,
    )
    if earlier is not None:
        return earlier, False
    lock_id(session, cashier.operator_id)
    unfinished = current(session, cashier=cashier)
    if unfinished is not None:
        raise ShiftUnfinished(shift_id=str(unfinished.id))
    shift = CashShift(
        id=shift_id,
        cashier_id=cashier.operator_id,
        desk=desk,
        opening_float_fen=opening_float_fen,
        business_date=business_date(now),
        state=ShiftState.OPEN,
        opened_at=now,
        held=False,
    )
    session.add(shift)
    session.flush()
    _log(
        session,
        shift,
        "cash_shift.open",
        operator=cashier,
        now=now,
        desk=desk,
        opening_float_fen=opening_float_fen,
    )
    return shift, True


def current(session: Session, *, cashier: OperatorCaller) -> CashShift | None:
    """Return a cashier's shift that is not closed, or None; there is never more than one."""
    return session.scalars(
        select(CashShift).where(
            CashShift.cashier_id == cashier.operator_id, CashShift.state != ShiftState.CLOSED
        )
    ).one_or_none()


def find(session: Session, *, shift_id: UUID, operator: OperatorCaller) -> CashShift:
    """Return a shift that an operator may see.

    Raises:
        NotFound: there is none, or it is another cashier's.
    """
    shift = session.get(CashShift, shift_id)
    if shift is None or not may_see(operator, shift.cashier_id):
        raise NotFound
    return shift


def may_see(operator: OperatorCaller, cashier_id: UUID) -> bool:
    """Say whether an operator may see what a cashier did."""
    return operator.role in SEE_ALL or cashier_id == operator.operator_id


def lock(session: Session, shift_id: UUID) -> CashShift:
    """Return a shift, locked: nothing else is taken, reversed or counted in it until commit.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, CashShift, shift_id)


def lock_own(session: Session, *, shift_id: UUID, cashier: OperatorCaller) -> CashShift:
    """Return a cashier's own shift, locked.

    Raises:
        NotFound: there is none, or it is another cashier's.
    """
    shift = lock(session, shift_id)
    if shift.cashier_id != cashier.operator_id:
        raise NotFound
    return shift


def must_be_open(shift: CashShift, *, day: date) -> None:
    """Refuse what a shift's drawer is not open for.

    Raises:
        ShiftNotOpen: it is counted.
        ShiftOver: it is of another accounting day than this one.
    """
    if shift.state is not ShiftState.OPEN:
        raise ShiftNotOpen(state=shift.state.value)
    if shift.business_date != day:
        raise ShiftOver(day=shift.business_date.isoformat())


def close_out(
    session: Session,
    *,
    shift_id: UUID,
    counted_fen: Fen,
    counts: Sequence[dict[str, int]] | None,
    note: str | None,
    cashier: OperatorCaller,
    now: datetime,
) -> tuple[CashShift, bool]:
    """Count the drawer and hand the money in (交款); say whether this call was the first.

    A difference up to the policy `cash.difference_fen` is posted at once and the shift is closed;
    a larger one leaves it `closing`, with nothing posted, until a supervisor rules.  A shift of an
    earlier day is closed out the same way.  Locks the shift.

    Raises:
        NotFound: there is none, or it is another cashier's.
        IdReused: the shift was counted before, and otherwise.
        CountDoesNotAddUp: notes and coins are worth another amount.
        DifferenceUnexplained: there is a difference and no note.
    """
    shift = lock_own(session, shift_id=shift_id, cashier=cashier)
    said = [dict(count) for count in counts] if counts is not None else None
    if shift.state is not ShiftState.OPEN:
        if (shift.counted_fen, shift.counts, shift.note) != (counted_fen, said, note):
            raise IdReused
        return shift, False
    if said is not None:
        sum_fen = total_of([(count["value_fen"], count["count"]) for count in said])
        if sum_fen != counted_fen:
            raise CountDoesNotAddUp(counted_fen=counted_fen, sum_fen=sum_fen)
    expected_fen = drawer_of(session, shift).expected_fen
    difference_fen = Fen(counted_fen - expected_fen)
    if difference_fen and note is None:
        raise DifferenceUnexplained(difference_fen=difference_fen, expected_fen=expected_fen)
    policies = policies_at(session, now)
    most_fen = policies["cash.difference_fen"]
    shift.counted_fen, shift.expected_fen, shift.counts = counted_fen, expected_fen, said
    shift.note, shift.counted_at = note, now
    shift.held = abs(difference_fen) > most_fen
    if shift.held:
        _happen(shift, ShiftEvent.HOLD)
    else:
        _close(session, shift, ShiftEvent.CLOSE_OUT, now=now)
    session.flush()
    _log(
        session,
        shift,
        "cash_shift.close_out",
        operator=cashier,
        now=now,
        policy_ids=policies.used("cash.difference_fen"),
        counted_fen=counted_fen,
        expected_fen=expected_fen,
        difference_fen=difference_fen,
        state=shift.state.value,
    )
    return shift, True


def rule(
    session: Session,
    *,
    shift_id: UUID,
    ruling: CloseOutRuling,
    reason: str,
    supervisor: OperatorCaller,
    now: datetime,
) -> tuple[CashShift, bool]:
    """Rule on a count that is off by much (复核); say whether this call was the first.

    Approved, it is posted and the shift is closed; sent back, the shift is open again and its
    cashier counts anew.  The same ruling for the same reason by the same person again changes
    nothing while no newer count waits.  Locks the shift.

    Raises:
        NotFound: there is no such shift.
        CashierCannotSupervise: it is the supervisor's own shift.
        ShiftNotClosing: no count waits.
    """
    shift = lock(session, shift_id)
    if shift.cashier_id == supervisor.operator_id:
        raise CashierCannotSupervise
    if shift.state is not ShiftState.CLOSING:
        said = (shift.ruling, shift.ruling_reason, shift.ruled_by)
        if said != (ruling, reason, supervisor.operator_id):
            raise ShiftNotClosing(state=shift.state.value)
        return shift, False
    shift.ruling, shift.ruling_reason = ruling, reason
    shift.ruled_by, shift.ruled_at = supervisor.operator_id, now
    facts: dict[str, Any] = {
        "counted_fen": shift.counted_fen,
        "difference_fen": shift.difference_fen,
    }
    if ruling is CloseOutRuling.APPROVE:
        _close(session, shift, ShiftEvent.APPROVE, now=now)
        action = "cash_shift.approve"
    else:
        _happen(shift, ShiftEvent.RECOUNT)
        shift.counted_fen = shift.expected_fen = shift.counted_at = None
        shift.counts = shift.note = None
        action = "cash_shift.recount"
    session.flush()
    _log(session, shift, action, operator=supervisor, now=now, reason=reason, **facts)
    return shift, True


def _happen(shift: CashShift, event: ShiftEvent) -> None:
    shift.state = TRANSITIONS[shift.state, event]


def _close(session: Session, shift: CashShift, event: ShiftEvent, *, now: datetime) -> None:
    """Post what was counted; afterwards the shift has left nothing in the account `cash`.

    All but the float goes to the bank, or comes from it where even the float is not whole; what is
    then left, too much or too little, is the difference.
    """
    _happen(shift, event)
    shift.closed_at = now
    counted_fen, off_fen = shift.counted_fen or Fen(0), shift.difference_fen or Fen(0)
    handed_in_fen = handed_in(counted_fen, opening_float_fen=shift.opening_float_fen)
    cash, bank, difference = (
        ledger.school_account(session, kind)
        for kind in (AccountKind.CASH, AccountKind.BANK, AccountKind.CASH_DIFFERENCE)
    )
    ledger.post(
        session,
        [
            _signed(TransferKind.CASH_HANDED_IN, shift, (bank, cash), handed_in_fen),
            _signed(TransferKind.CASH_DIFFERENCE, shift, (cash, difference), off_fen),
        ],
        now=now,
    )


def _signed(kind: TransferKind, shift: CashShift, sides: tuple[UUID, UUID], fen: Fen) -> Movement:
    """Return a movement from the first side to the second; a negative amount goes the other way."""
    debit, credit = sides if fen >= 0 else sides[::-1]
    return Movement(kind, shift.id, debit, credit, Fen(abs(fen)), {"place": shift.desk})


def drawer_of(session: Session, shift: CashShift) -> Drawer:
    """Return what passed through a shift's drawer so far."""
    return drawers_of(session, [shift])[shift.id]


def drawers_of(session: Session, shifts: Collection[CashShift]) -> dict[UUID, Drawer]:
    """Return what passed through the drawers of some shifts so far, by the shift's id."""
    rows = session.execute(
        select(
            CashTopUp.shift_id,
            func.count(CashTopUp.id),
            func.sum(CashTopUp.amount_fen),
            func.count(CashReversal.id),
            func.coalesce(func.sum(CashReversal.amount_fen), 0),
        )
        .outerjoin(CashReversal, CashReversal.top_up_id == CashTopUp.id)
        .where(CashTopUp.shift_id.in_([shift.id for shift in shifts]))
        .group_by(CashTopUp.shift_id)
    ).all()
    moved = {row[0]: (row[1], Fen(int(row[2])), row[3], Fen(int(row[4]))) for row in rows}
    return {
        shift.id: Drawer(shift.opening_float_fen, *moved.get(shift.id, NOTHING)) for shift in shifts
    }


def list_shifts(
    session: Session,
    *,
    operator: OperatorCaller,
    state: ShiftState | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[CashShift]:
    """Return the shifts that an operator may see, in one state or in any, newest first."""
    query = select(CashShift).where(
        seen_by(operator, CashShift.cashier_id), CashShift.state == state if state else true()
    )
    return session.scalars(
        newest_first(query, CashShift.opened_at, before=before, limit=limit)
    ).all()


def seen_by(operator: OperatorCaller, cashier_id: Any) -> ColumnElement[bool]:
    """Return the condition under which an operator sees what the cashier in a column did."""
    return true() if operator.role in SEE_ALL else cashier_id == operator.operator_id


def difference(session: Session) -> Fen:
    """Return how far the account `cash` is from the drawers of shifts that are not closed: zero."""
    account = ledger.school_account(session, AccountKind.CASH)
    held = select(
        func.coalesce(func.sum(Transfer.amount_fen).filter(Transfer.debit_account_id == account), 0)
        - func.coalesce(
            func.sum(Transfer.amount_fen).filter(Transfer.credit_account_id == account), 0
        )
    ).where((Transfer.debit_account_id == account) | (Transfer.credit_account_id == account))
    unclosed = session.scalars(select(CashShift).where(CashShift.state != ShiftState.CLOSED)).all()
    drawers = drawers_of(session, unclosed).values()
    return Fen(int(session.scalar(held) or 0) - sum(drawer.takings_fen for drawer in drawers))


def _log(
    session: Session,
    shift: CashShift,
    action: str,
    *,
    operator: OperatorCaller,
    now: datetime,
    policy_ids: Sequence[UUID] = (),
    **facts: Any,
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        subject_id=shift.id,
        now=now,
        policy_ids=policy_ids,
        **facts,
    )
