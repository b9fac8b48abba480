"""The ledger's door: the only Python that moves money, through the only SQL that does."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg.errors import CheckViolation
from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.errors import DomainError, Kind
from backend.ids import new_id
from backend.ledger.models import Account, AccountKind, Transfer, TransferKind
from backend.money import Fen


class InsufficientBalance(DomainError, code="insufficient-balance", kind=Kind.CONFLICT):
    """A purse would fall below zero.  Facts: `balance_fen`, `short_fen`."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A transfer that is asked for."""

    kind: TransferKind
    subject_id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount_fen: Fen
    facts: dict[str, Any] = field(default_factory=dict)


POST_TRANSFER = text(
    "SELECT post_transfer(:kind, :subject_id, :debit, :credit, :amount_fen,"
    " CAST(:facts AS jsonb), :now, :business_date)"
)


def post(session: Session, movements: Sequence[Movement], *, now: datetime) -> None:
    """Post movements that stand or fall together; those of zero fen are left out.

    Locks each purse it touches in the order given, so whoever moves both purses of a holder locks
    the main purse first (`lock_purse`).

    Raises:
        InsufficientBalance: a purse would fall below zero.
    """
    asked = [
        {
            "kind": movement.kind.value,
            "subject_id": movement.subject_id,
            "debit": movement.debit_account_id,
            "credit": movement.credit_account_id,
            "amount_fen": movement.amount_fen,
            "facts": json.dumps(movement.facts, ensure_ascii=False),
            "now": now,
            "business_date": business_date(now),
        }
        for movement in movements
        if movement.amount_fen
    ]
    if not asked:
        return
    try:
        session.execute(POST_TRANSFER, asked)  # in one journey to the database and back
    except IntegrityError as error:
        if (
            isinstance(error.orig, CheckViolation)
            and error.orig.diag.constraint_name == "ck_accounts_purse_not_negative"
        ):
            raise InsufficientBalance from error
        raise


def open_purses(session: Session, *, holder_id: UUID) -> None:
    """Open the two empty purses (钱包) of a new holder."""
    session.add_all(
        Account(id=new_id(), kind=kind, holder_id=holder_id, balance_fen=Fen(0))
        for kind in (AccountKind.MAIN_PURSE, AccountKind.SUBSIDY_PURSE)
    )


def lock_purse(session: Session, *, holder_id: UUID) -> Account:
    """Return a holder's main purse, locked: nobody else moves this holder's money until commit."""
    return session.scalars(
        select(Account)
        .where(Account.holder_id == holder_id, Account.kind == AccountKind.MAIN_PURSE)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def lock_purses(session: Session, *, holder_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Lock the main purses of several holders, in one order, and return their subsidy purses."""
    session.execute(
        select(Account.id)
        .where(Account.holder_id.in_(holder_ids), Account.kind == AccountKind.MAIN_PURSE)
        .order_by(Account.holder_id)
        .with_for_update()
    )
    found = session.execute(
        select(Account.holder_id, Account.id).where(
            Account.holder_id.in_(holder_ids), Account.kind == AccountKind.SUBSIDY_PURSE
        )
    )
    return {row.holder_id: row.id for row in found}


def purses_of(session: Session, *, holder_id: UUID) -> dict[AccountKind, Account]:
    """Return a holder's two purses by kind."""
    found = session.scalars(
        select(Account)
        .where(Account.holder_id == holder_id)
        .execution_options(populate_existing=True)
    )
    return {account.kind: account for account in found}


def balance_of(session: Session, *, holder_id: UUID) -> Fen:
    """Return what a holder has in both purses."""
    purses = purses_of(session, holder_id=holder_id).values()
    return Fen(sum(purse.balance_fen or 0 for purse in purses))


def spent_on(session: Session, *, holder_id: UUID, day: date) -> Fen:
    """Return what a holder spent on one accounting day, less what was given back that day."""
    spent = session.execute(
        text(
            "SELECT coalesce(sum(CASE WHEN a.id = t.debit_account_id THEN t.amount_fen"
            " ELSE -t.amount_fen END), 0)::bigint FROM accounts a"
            " JOIN transfers t ON a.id IN (t.debit_account_id, t.credit_account_id)"
            " WHERE a.holder_id = :holder_id AND t.business_date = :day"
            " AND t.kind IN ('charge', 'surcharge', 'charge_reversal', 'surcharge_reversal')"
        ),
        {"holder_id": holder_id, "day": day},
    ).scalar_one()
    return Fen(spent)


def came_in(session: Session, *, account_id: UUID, kind: TransferKind) -> Fen:
    """Return all that ever came into an account by one kind of transfer."""
    return _sum_of(session, Transfer.credit_account_id == account_id, kind)


def went_out(session: Session, *, account_id: UUID, kind: TransferKind) -> Fen:
    """Return all that ever went out of an account by one kind of transfer."""
    return _sum_of(session, Transfer.debit_account_id == account_id, kind)


def _sum_of(session: Session, side: ColumnElement[bool], kind: TransferKind) -> Fen:
    total = select(func.coalesce(func.sum(Transfer.amount_fen), 0))
    return Fen(int(session.scalar(total.where(side, Transfer.kind == kind)) or 0))


def school_account(session: Session, kind: AccountKind, name: str | None = None) -> UUID:
    """Return the id of one of the school's own accounts, such as a channel's."""
    condition = Account.name.is_(None) if name is None else Account.name == name
    return session.scalars(select(Account.id).where(Account.kind == kind, condition)).one()


def merchant_account(session: Session, *, merchant_id: UUID) -> UUID:
    """Return the id of a merchant's account."""
    return session.scalars(select(Account.id).where(Account.merchant_id == merchant_id)).one()


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement as its holder reads it: the parts of a charge are one line."""

    id: UUID
    kind: str
    amount_fen: Fen
    """Positive when money came in."""
    purse: str
    facts: dict[str, Any]
    at: datetime
    business_date: date
    surcharge_fen: Fen


LINES = """
    SELECT t.subject_id AS id,
           CASE t.kind WHEN 'surcharge' THEN 'charge'
                       WHEN 'surcharge_reversal' THEN 'charge_reversal' ELSE t.kind END AS kind,
           sum(CASE WHEN a.id = t.credit_account_id THEN t.amount_fen
                    ELSE -t.amount_fen END)::bigint AS amount_fen,
           CASE WHEN count(DISTINCT a.kind) > 1 THEN 'both'
                ELSE replace(min(a.kind), '_purse', '') END AS purse,
           (array_agg(t.facts))[1] AS facts,
           min(t.posted_at) AS at,
           min(t.business_date) AS business_date,
           coalesce(sum(t.amount_fen)
                    FILTER (WHERE t.kind IN ('surcharge', 'surcharge_reversal')), 0)::bigint
               AS surcharge_fen
      FROM accounts a
      JOIN transfers t ON a.id IN (t.debit_account_id, t.credit_account_id)
     WHERE a.holder_id = :holder_id
       AND t.business_date >= :first AND t.business_date < :after
     GROUP BY t.subject_id, 2
"""


def statement(
    session: Session,
    *,
    holder_id: UUID,
    first: date,
    after: date,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[StatementLine]:
    """Return a holder's lines (流水) of the days from `first` up to `after`, newest first.

    `before` is the place of the last line of the page before, or None for the first page.
    """
    rows = session.execute(
        text(
            f"SELECT * FROM ({LINES}) line"
            " WHERE CAST(:at AS timestamptz) IS NULL OR (at, id) < (:at, :id)"
            " ORDER BY at DESC, id DESC LIMIT :limit"
        ),
        {
            "holder_id": holder_id,
            "first": first,
            "after": after,
            "at": before[0] if before else None,
            "id": before[1] if before else None,
            "limit": limit,
        },
    )
    return [StatementLine(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def totals(session: Session, *, holder_id: UUID, first: date, after: date) -> tuple[Fen, Fen]:
    """Return what came in and what went out of a holder's purses from `first` up to `after`."""
    row = session.execute(
        text(
            "SELECT coalesce(sum(amount_fen) FILTER (WHERE amount_fen > 0), 0)::bigint,"
            " coalesce(-sum(amount_fen) FILTER (WHERE amount_fen < 0), 0)::bigint"
            f" FROM ({LINES}) line"
        ),
        {"holder_id": holder_id, "first": first, "after": after},
    ).one()
    return Fen(row[0]), Fen(row[1])


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """What `prove-ledger` found."""

    transfers: int
    purses: int
    wrong_purses: int
    """Purses whose stored balance is not the sum of their transfers."""
    strange_accounts: int
    """Accounts that transfers name and that do not exist."""
    difference_fen: Fen
    """The sum over all accounts; double entry makes it zero."""
    by_kind: dict[str, Fen]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.wrong_purses or self.strange_accounts or self.difference_fen)


def prove(session: Session) -> LedgerProof:
    """Recompute every balance and the trial balance from the transfers alone (M1, M3).

    Reads one snapshot: the caller runs it in a REPEATABLE READ transaction.
    """
    sums = (
        "WITH side AS (SELECT debit_account_id AS id, -amount_fen AS fen FROM transfers"
        " UNION ALL SELECT credit_account_id, amount_fen FROM transfers),"
        " total AS (SELECT id, sum(fen)::bigint AS fen FROM side GROUP BY id) "
    )
    wrong, purses = session.execute(
        text(
            sums + "SELECT count(*) FILTER (WHERE a.balance_fen <> coalesce(t.fen, 0)), count(*)"
            " FROM accounts a LEFT JOIN total t USING (id) WHERE a.balance_fen IS NOT NULL"
        )
    ).one()
    strange = session.execute(
        text(sums + "SELECT count(*) FROM total LEFT JOIN accounts a USING (id) WHERE a.id IS NULL")
    ).scalar_one()
    kinds = session.execute(
        text(
            sums + "SELECT a.kind, sum(coalesce(a.balance_fen, t.fen, 0))::bigint"
            " FROM accounts a LEFT JOIN total t USING (id) GROUP BY a.kind ORDER BY a.kind"
        )
    ).all()
    transfers = session.execute(select(func.count()).select_from(text("transfers"))).scalar_one()
    by_kind = {str(kind): Fen(fen) for kind, fen in kinds}
    return LedgerProof(
        transfers=transfers,
        purses=purses,
        wrong_purses=wrong,
        strange_accounts=strange,
        difference_fen=Fen(sum(by_kind.values())),
        by_kind=by_kind,
    )
