"""Opening arrears (欠费) and collecting them from what comes into a purse.

The school's account `arrears` pays the merchant at once and runs negative by what holders owe; the
rows here say who owes it and for what.  The two always agree: `difference` is zero.
"""

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


def open_fen(session: Session, *, holder_id: UUID) -> Fen:
    """Return what a holder owes."""
    owed = session.scalar(
        select(func.coalesce(func.sum(Arrears.amount_fen - Arrears.paid_fen), 0)).where(
            Arrears.holder_id == holder_id, Arrears.settled_at.is_(None)
        )
    )
    return Fen(int(owed or 0))


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
    left_fen, paid_fen = purse.balance_fen or Fen(0), Fen(0)
    for arrears in session.scalars(
        select(Arrears)
        .where(Arrears.holder_id == holder_id, Arrears.settled_at.is_(None))
        .order_by(Arrears.opened_at, Arrears.id)
        .execution_options(populate_existing=True)
    ).all():
        part_fen = Fen(min(left_fen, arrears.amount_fen - arrears.paid_fen))
        if not part_fen:
            break
        account = ledger.school_account(session, AccountKind.ARREARS)
        # Under an id of its own: one charge's arrears may be paid in many parts.
        movement = Movement(
            TransferKind.ARREARS, new_id(), purse.id, account, part_fen, arrears.facts
        )
        ledger.post(session, [movement], now=now)
        arrears.paid_fen = Fen(arrears.paid_fen + part_fen)
        if arrears.paid_fen == arrears.amount_fen:
            arrears.settled_at = now
        left_fen, paid_fen = Fen(left_fen - part_fen), Fen(paid_fen + part_fen)
    session.flush()
    if paid_fen:
        notices.tell(
            session,
            holder_id=holder_id,
            kind="arrears-settled",
            now=now,
            amount_fen=paid_fen,
            arrears_fen=open_fen(session, holder_id=holder_id),
        )
    return paid_fen


def difference(session: Session) -> Fen:
    """Return how far what holders owe is from what the school's account has laid out: zero."""
    account = ledger.school_account(session, AccountKind.ARREARS)
    laid_out = select(
        func.coalesce(func.sum(Transfer.amount_fen).filter(Transfer.debit_account_id == account), 0)
        - func.coalesce(
            func.sum(Transfer.amount_fen).filter(Transfer.credit_account_id == account), 0
        )
    ).where((Transfer.debit_account_id == account) | (Transfer.credit_account_id == account))
    owed = select(func.coalesce(func.sum(Arrears.amount_fen - Arrears.paid_fen), 0))
    return Fen(int(session.scalar(laid_out) or 0) - int(session.scalar(owed) or 0))
