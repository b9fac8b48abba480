"""Ending what was kept of passages for long enough (通行记录到期删除): counts by the day stay.

Where somebody was and when is the most personal thing that the system has.  A gate that repeats a
passage after so long is told a new decision.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.operation_log import service as operation_log

AT_ONCE = 5_000
COUNT_AND_DELETE = text("""
    WITH gone AS (
        DELETE FROM passages WHERE id IN (
            SELECT id FROM passages WHERE decided_at < :before ORDER BY decided_at LIMIT :most
               FOR UPDATE SKIP LOCKED
        ) RETURNING terminal_id, direction, decision, decided_at
    ), counted AS (
        INSERT INTO passage_counts AS known (day, terminal_id, direction, decision, passages)
        SELECT (decided_at AT TIME ZONE 'Asia/Shanghai')::date, terminal_id, direction, decision,
               count(*)
          FROM gone GROUP BY 1, 2, 3, 4
        ON CONFLICT (day, terminal_id, direction, decision)
        DO UPDATE SET passages = known.passages + excluded.passages
    )
    SELECT count(*) FROM gone
""")
UNLINK = text("""
    UPDATE late_uploads SET holder_id = NULL
     WHERE kind = 'passage' AND received_at < :before AND holder_id IS NOT NULL
       AND NOT needs_review
""")
"""What gates told late keeps its place in the order of the device, without the person."""


def forget_old(
    session: Session, *, before: datetime, policy_ids: Sequence[UUID], now: datetime
) -> int:
    """Delete passages from before a moment, a part of them at once; return how many.

    Run again, it deletes the next ones, and nothing is counted twice.
    """
    gone: int = session.execute(COUNT_AND_DELETE, {"before": before, "most": AT_ONCE}).scalar_one()
    session.execute(UNLINK, {"before": before})
    if gone:
        operation_log.record(
            session,
            actor=operation_log.SYSTEM,
            action="passage.forget",
            now=now,
            policy_ids=policy_ids,
            before_moment=before.isoformat(),
            passages=gone,
        )
    return gone
