"""Arrears of closed accounts: who owes, and writing off (核销欠费) what nobody will pay any more.

An open account pays its arrears out of what is topped up.  A closed one takes no money: what it
owes is paid in cash at the desk (`cash_desk.arrears_payments`), or given up here by two people.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.arrears.models import Arrears
from backend.arrears.service import ArrearsDiffer, TopUpPays
from backend.cards.service import is_account_closed
from backend.cases.models import WriteOff
from backend.errors import DomainError, Kind
from backend.holders.models import Holder
from backend.ledger import service as ledger
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row

MAY_LOOK = (Role.FINANCE, Role.CARD_CENTRE, Role.AUDITOR)
MAY_ACT = (Role.FINANCE,)


class WriteOffWaits(DomainError, code="write-off-waits", kind=Kind.CONFLICT):
    """Another write-off of this account waits for the second person.  Fact: `write_off_id`."""


class WriteOffDecided(DomainError, code="write-off-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `approved`."""


@dataclass(frozen=True, slots=True)
class Debtor:
    """Somebody whose account is closing or closed and owes."""

    id: UUID
    """The holder's."""
    arrears_fen: Fen
    opened_at: datetime
    """Since when; debtors are sorted by it."""


def list_debtors(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Debtor]:
    """Return whose closing or closed accounts owe, the latest first."""
    since = func.min(Arrears.opened_at)
    query = (
        select(Arrears.holder_id, func.sum(arrears.OPEN_FEN), since)
        .where(
            Arrears.settled_at.is_(None),
            func.is_account_closed(Arrears.holder_id),
        )
        .group_by(Arrears.holder_id)
    )
    if before is not None:
        at, holder_id = before
        query = query.having((since < at) | ((since == at) & (Arrears.holder_id < holder_id)))
    rows = session.execute(query.order_by(since.desc(), Arrears.holder_id.desc()).limit(limit))
    return [Debtor(holder_id, Fen(int(owed)), since) for holder_id, owed, since in rows]


def write_offs_of(session: Session, *, holder_id: UUID) -> Sequence[WriteOff]:
    """Return what was proposed for an account, newest first."""
    return session.scalars(
        select(WriteOff)
        .where(WriteOff.holder_id == holder_id)
        .order_by(WriteOff.made_at.desc(), WriteOff.id.desc())
    ).all()


def waiting(session: Session, *, holder_ids: Collection[UUID]) -> dict[UUID, WriteOff]:
    """Return the write-offs of some accounts that wait for the second person, by holder."""
    found = session.scalars(
        select(WriteOff).where(WriteOff.holder_id.in_(holder_ids), WriteOff.approved.is_(None))
    )
    return {one.holder_id: one for one in found}


def find(session: Session, *, write_off_id: UUID) -> WriteOff:
    """Return a write-off.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, WriteOff, write_off_id)


def propose(
    session: Session,
    *,
    write_off_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    reason: str,
    document: str,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[WriteOff, bool]:
    """Propose to give up all that a closed account owes; say whether this call was first.

    `amount_fen` is what the maker saw that it owes.  Locks the write-off's id, then the main purse.

    Raises:
        NotFound: the id stands for somebody else's, or there is no such holder.
        IdReused: `write_off_id` came before with other content.
        TopUpPays: the account is open.
        WriteOffWaits: another one waits.
        ArrearsDiffer: another amount is owed.
    """
    lock_id(session, write_off_id)
    earlier = first_answer(
        session,
        WriteOff,
        write_off_id,
        owner={"made_by": maker.operator_id},
        holder_id=holder_id,
        amount_fen=amount_fen,
        reason=reason,
        document=document,
    )
    if earlier is not None:
        return earlier, False
    find_row(session, Holder, holder_id)
    _must_be_owed(session, holder_id=holder_id, amount_fen=amount_fen)
    write_off = WriteOff(
        id=write_off_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        reason=reason,
        document=document,
        made_by=maker.operator_id,
        made_at=now,
    )
    session.add(write_off)
    session.flush()
    _log(session, write_off, "arrears.write_off_make", maker, now=now)
    return write_off, True


def decide(
    session: Session,
    *,
    write_off_id: UUID,
    approve: bool,
    checker: OperatorCaller,
    now: datetime,
) -> tuple[WriteOff, bool]:
    """Write off what somebody else proposed, or refuse it; say whether this call was first.

    Locks the write-off, then the main purse; the database itself refuses one person for both.

    Raises:
        NotFound: there is no such write-off.
        WriteOffDecided: it was decided otherwise.
        SecondPersonNeeded: the caller proposed it.
        TopUpPays: the account was opened again meanwhile.
        ArrearsDiffer: another amount is owed by now: refuse it, and propose anew.
    """
    write_off = lock_row(session, WriteOff, write_off_id)
    if is_decided(
        write_off.approved,
        approve=approve,
        otherwise=WriteOffDecided,
        checker=checker.operator_id,
        made_by=write_off.made_by,
    ):
        return write_off, False
    if approve:
        _lock_closed(session, holder_id=write_off.holder_id)
        arrears.write_off(
            session,
            write_off_id=write_off.id,
            holder_id=write_off.holder_id,
            amount_fen=write_off.amount_fen,
            now=now,
        )
    write_off.approved, write_off.approved_by = approve, checker.operator_id
    write_off.decided_at = now
    session.flush()
    action = "arrears.write_off_approve" if approve else "arrears.write_off_refuse"
    _log(session, write_off, action, checker, now=now)
    return write_off, True


def _must_be_owed(session: Session, *, holder_id: UUID, amount_fen: Fen) -> None:
    _lock_closed(session, holder_id=holder_id)
    if other := waiting(session, holder_ids=[holder_id]).get(holder_id):
        raise WriteOffWaits(write_off_id=str(other.id))
    owed_fen = arrears.open_fen(session, holder_id=holder_id)
    if amount_fen != owed_fen:
        raise ArrearsDiffer(arrears_fen=owed_fen)


def _lock_closed(session: Session, *, holder_id: UUID) -> None:
    """Lock the main purse of a closed account: nothing is paid, and none is opened, until commit.

    Raises:
        TopUpPays: it is open.
    """
    ledger.lock_purse(session, holder_id=holder_id)
    if not is_account_closed(session, holder_id=holder_id):
        raise TopUpPays


def _log(
    session: Session, write_off: WriteOff, action: str, operator: OperatorCaller, *, now: datetime
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        holder_id=write_off.holder_id,
        subject_id=write_off.id,
        now=now,
        documents=[write_off.document],
        amount_fen=write_off.amount_fen,
        reason=write_off.reason,
    )
