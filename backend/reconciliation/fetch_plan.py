"""Which bills are to be fetched, and when; the network is `fetching.py`."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as insert_new
from sqlalchemy.orm import Session

from backend.clock import business_date
from backend.reconciliation.models import BillFetch
from backend.reconciliation.rules import days_to_fetch, first_try_at, is_overdue, next_try_at
from backend.topups.models import TopUp

LEASE = timedelta(minutes=5)


def lock_fetch(session: Session, *, channel: str, day: date, now: datetime) -> BillFetch:
    """Return the row that keeps two imports of one channel and day in a row, locked."""
    session.execute(
        insert_new(BillFetch)
        .values(channel=channel, day=day, next_try_at=max(first_try_at(day), now), tries=0)
        .on_conflict_do_nothing()
    )
    return session.get_one(BillFetch, (channel, day), with_for_update=True, populate_existing=True)


def plan_fetches(session: Session, *, channel: str, now: datetime) -> None:
    """Note which bills are to be fetched: yesterday's, and those that were missed."""
    first = session.scalar(select(func.min(TopUp.created_at)).where(TopUp.channel == channel))
    days = days_to_fetch(first and business_date(first), now)
    session.execute(
        insert_new(BillFetch).on_conflict_do_nothing(),
        [
            {"channel": channel, "day": day, "next_try_at": first_try_at(day), "tries": 0}
            for day in days
        ],
    )


def claim_fetch(session: Session, *, channel: str, now: datetime) -> date | None:
    """Claim the next bill that is due, for five minutes; a worker that dies leaves it to others."""
    fetch = session.scalars(
        select(BillFetch)
        .where(BillFetch.channel == channel, BillFetch.next_try_at <= now)
        .order_by(BillFetch.day.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if fetch is None:
        return None
    fetch.next_try_at = now + LEASE
    return fetch.day


def note_not_fetched(
    session: Session, *, channel: str, day: date, answer: str, now: datetime
) -> bool:
    """Note why a try brought no bill, and when the next one is; say whether to raise the alarm.

    The alarm is raised once a day, from the evening on or where waiting does not help.
    """
    fetch = lock_fetch(session, channel=channel, day=day, now=now)
    fetch.tries += 1
    fetch.answer = answer
    fetch.next_try_at = next_try_at(now)
    if day < days_to_fetch(date.min, now)[0]:
        fetch.next_try_at = None
    raised = fetch.alarmed_at is not None and business_date(fetch.alarmed_at) == business_date(now)
    if raised or not is_overdue(day, now):
        return False
    fetch.alarmed_at = now
    return True


def note_refused(session: Session, *, channel: str, day: date, now: datetime) -> None:
    """Note that what was fetched could not be read: tried again on the next morning."""
    fetch = lock_fetch(session, channel=channel, day=day, now=now)
    fetch.tries += 1
    fetch.answer = "refused"
    fetch.next_try_at = first_try_at(business_date(now))
    fetch.alarmed_at = now


def overdue_fetches(session: Session) -> Sequence[BillFetch]:
    """Return the bills that are missing and that somebody should look after, oldest first."""
    return session.scalars(
        select(BillFetch).where(BillFetch.alarmed_at.is_not(None)).order_by(BillFetch.day)
    ).all()
