"""Opening arrears (欠费) and collecting them from what comes into a purse.

The school's account `arrears` pays the merchant at once and runs negative by what holders owe; the
rows here say who owes it and for what.  The two always agree: `difference` is zero.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.arrears.models import Arrears
from backend.errors import DomainError, Kind
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices


class ArrearsOpen(DomainError, code="arrears-open", kind=Kind.CONFLICT):
    """The holder owes money from a time without network.  Fact: `arrears_fen`."""


class ArrearsDiffer(DomainError, code="arrears-differ", kind=Kind.CONFLICT):
    """The holder owes less, or not what two people looked at.  Fact: `arrears_fen`."""


class TopUpPays(DomainError, code="top-up-pays", kind=Kind.CONFLICT):
    """The account is open: what is topped up pays its arrears first."""


OPEN_FEN = Arrears.amount_fen - Arrears.paid_fen - Arrears.written_off_fen
"""What is still owed of one charge."""


def open_fen(session: Session, *, holder_id: UUID) -> Fen:
    """Return what a holder owes."""
    owed = session.scalar(
        select(func.coalesce(func.sum(OPEN_FEN), 0)).where(
            Arrears.holder_id == holder_id, Arrears.settled_at.is_(None)
        )
    )
    return Fen(int(owed or 0))


def list_of(session: Session, *, holder_id: UUID) -> Sequence[Arrears]:
    """Return everything that a holder owes or owed, the oldest first."""
    return session.scalars(
        select(Arrears)
        .where(Arrears.holder_id == holder_id)
        .order_by(Arrears.opened_at, Arrears.id)
    ).all()


def open_arrears(
    session: Session,
    *,
    holder_id: UUID,
    charge_id: UUID,
    amount_fen: Fen,
    facts: dict[str, Any],
    now: datetime,
) -> None:
    """Note what a charge left unpaid, and tell the holder.

    The caller posts it from the school's account `arrears`, and holds the lock on the main purse.
    """
    session.add(
        Arrears(
            id=new_id(),
            holder_id=holder_id,
            charge_id=charge_id,
            amount_fen=amount_fen,
            paid_fen=Fen(0),
            facts=facts,
            opened_at=now,
        )
    )
    session.flush()
    notices.tell(
        session,
        holder_id=holder_id,
        kind="arrears-opened",
        now=now,
        charge_id=str(charge_id),
        amount_fen=amount_fen,
        arrears_fen=open_fen(session, holder_id=holder_id),
        **facts,
    )


def collect(session: Session, *, holder_id: UUID, now: datetime) -> Fen:
    """Pay a holder's arrears out of the main purse, the oldest first; return how much was paid.

    To be called wherever money comes into a main purse.  A subsidy pays no arrears: it is for what
    will be eaten.  Harmless when nothing is owed or the purse is empty.  Locks the main purse.
    """
    purse = ledger.lock_purse(session, holder_id=holder_id)
    account = ledger.school_account(session, AccountKind.ARREARS)
    paid_fen = Fen(0)
    for arrears, part_fen in _oldest(session, holder_id=holder_id, fen=purse.balance_fen or 0):
        # Under an id of its own: one charge's arrears may be paid in many parts.
        movement = Movement(
            TransferKind.ARREARS, new_id(), purse.id, account, part_fen, arrears.facts
        )
        ledger.post(session, [movement], now=now)
        arrears.paid_fen = Fen(arrears.paid_fen + part_fen)
        _settle(arrears, now=now)
        paid_fen = Fen(paid_fen + part_fen)
    session.flush()
    if paid_fen:
        _tell_settled(session, holder_id=holder_id, paid_fen=paid_fen, now=now)
    return paid_fen


def _oldest(session: Session, *, holder_id: UUID, fen: int) -> list[tuple[Arrears, Fen]]:
    """Return which arrears an amount settles, the oldest first, and how much of each."""
    parts = []
    for arrears in session.scalars(
        select(Arrears)
        .where(Arrears.holder_id == holder_id, Arrears.settled_at.is_(None))
        .order_by(Arrears.opened_at, Arrears.id)
        .execution_options(populate_existing=True)
    ).all():
        part_fen = Fen(min(fen, arrears.open_fen))
        if not part_fen:
            break
        parts.append((arrears, part_fen))
        fen -= part_fen
    return parts


def _settle(arrears: Arrears, *, now: datetime) -> None:
    if not arrears.open_fen:
        arrears.settled_at = now


def _tell_settled(session: Session, *, holder_id: UUID, paid_fen: Fen, now: datetime) -> None:
    notices.tell(
        session,
        holder_id=holder_id,
        kind="arrears-settled",
        now=now,
        amount_fen=paid_fen,
        arrears_fen=open_fen(session, holder_id=holder_id),
    )


def pay_past_purse(
    session: Session, *, holder_id: UUID, amount_fen: Fen, now: datetime
) -> list[dict[str, Any]]:
    """Note that arrears of a closed account were paid, the oldest first, and tell the holder.

    The caller holds the lock on the main purse, and posts the money to the school's account
    `arrears`.  Returns `arrears_id` and `amount_fen` of each part, for `take_payment_back`.

    Raises:
        ArrearsDiffer: the holder owes less.
    """
    owed_fen = open_fen(session, holder_id=holder_id)
    if amount_fen > owed_fen:
        raise ArrearsDiffer(arrears_fen=owed_fen)
    parts = _oldest(session, holder_id=holder_id, fen=amount_fen)
    for arrears, part_fen in parts:
        arrears.paid_fen = Fen(arrears.paid_fen + part_fen)
        _settle(arrears, now=now)
    session.flush()
    _tell_settled(session, holder_id=holder_id, paid_fen=amount_fen, now=now)
    return [{"arrears_id": str(one.id), "amount_fen": part_fen} for one, part_fen in parts]


def take_payment_back(session: Session, *, parts: Sequence[dict[str, Any]]) -> None:
    """Undo a payment past the purse: its parts are owed again.

    The caller holds the lock on the main purse, and posts the money back.
    """
    for part in parts:
        arrears = session.get_one(Arrears, UUID(part["arrears_id"]), populate_existing=True)
        arrears.paid_fen = Fen(arrears.paid_fen - part["amount_fen"])
        arrears.settled_at = None
    session.flush()


def write_off(
    session: Session, *, write_off_id: UUID, holder_id: UUID, amount_fen: Fen, now: datetime
) -> None:
    """Give up all that a closed account owes (核销), tell the holder, and post the school's loss.

    The caller holds the lock on the main purse, and has two people's word.

    Raises:
        ArrearsDiffer: the holder owes another amount by now.
    """
    owed_fen = open_fen(session, holder_id=holder_id)
    if amount_fen != owed_fen:
        raise ArrearsDiffer(arrears_fen=owed_fen)
    for arrears, part_fen in _oldest(session, holder_id=holder_id, fen=amount_fen):
        arrears.written_off_fen = part_fen
        _settle(arrears, now=now)
    session.flush()
    loss = ledger.school_account(session, AccountKind.WRITTEN_OFF)
    account = ledger.school_account(session, AccountKind.ARREARS)
    kind = TransferKind.ARREARS_WRITTEN_OFF
    ledger.post(session, [Movement(kind, write_off_id, loss, account, amount_fen)], now=now)
    notices.tell(
        session,
        holder_id=holder_id,
        kind="arrears-written-off",
        now=now,
        amount_fen=amount_fen,
        arrears_fen=Fen(0),
    )


def difference(session: Session) -> Fen:
    """Return how far what holders owe is from what the school's account has laid out: zero."""
    account = ledger.school_account(session, AccountKind.ARREARS)
    laid_out = select(
        func.coalesce(func.sum(Transfer.amount_fen).filter(Transfer.debit_account_id == account), 0)
        - func.coalesce(
            func.sum(Transfer.amount_fen).filter(Transfer.credit_account_id == account), 0
        )
    ).where((Transfer.debit_account_id == account) | (Transfer.credit_account_id == account))
    owed = select(func.coalesce(func.sum(OPEN_FEN), 0))
    return Fen(int(session.scalar(laid_out) or 0) - int(session.scalar(owed) or 0))
