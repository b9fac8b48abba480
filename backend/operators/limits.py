"""How often, and up to which sum, one operator may do something on one day (每日限额).

Counted in the database, under the operator's row: two requests at one moment count one another.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.clock import business_date, start_of_day
from backend.errors import DomainError, Kind
from backend.operation_log.models import LogEntry
from backend.operation_log.service import DONE
from backend.operators.models import Operator
from backend.operators.service import OperatorCaller


class OperatorLimit(DomainError, code="operator-limit", kind=Kind.CONFLICT):
    """This operator has done as much of it today as one may.

    Facts: `limit`, which; `most`, times a day, or fen a day where its name says so.
    """


def lock_day(session: Session, caller: OperatorCaller) -> None:
    """Let nobody else count what this operator does until this transaction ends."""
    session.execute(
        select(Operator.id)
        .where(Operator.id == caller.operator_id)
        .with_for_update(key_share=True)  # rows that only name the operator need not wait
    )


def count(
    session: Session,
    *,
    caller: OperatorCaller,
    action: str,
    limit: str,
    most: int,
    policy_ids: Sequence[UUID],
    now: datetime,
) -> None:
    """Refuse one more of an action that the operation log has often enough today.

    Locks the operator's row; the caller then writes the entry that counts next time.

    Raises:
        OperatorLimit: it was done `most` times since midnight in Shanghai.
    """
    lock_day(session, caller)
    done = session.scalar(
        select(func.count()).where(
            LogEntry.actor == caller.actor.name,
            LogEntry.at >= start_of_day(business_date(now)),
            LogEntry.action == action,
            LogEntry.outcome == DONE,
        )
    )
    if (done or 0) >= most:
        raise OperatorLimit(limit=limit, most=most).decided_by(policy_ids)


def check_sum(
    *, limit: str, already_fen: int, amount_fen: int, most_fen: int, policy_ids: Sequence[UUID]
) -> None:
    """Refuse an amount with which the operator's day would exceed its sum.

    The caller has locked the day and added up what this operator did today.

    Raises:
        OperatorLimit: it would be more than `most_fen`.
    """
    if already_fen + amount_fen > most_fen:
        raise OperatorLimit(limit=limit, most=most_fen).decided_by(policy_ids)
