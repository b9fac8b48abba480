"""Fetching bills: every call to a channel, always between transactions, never inside one."""

import logging
from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy.exc import SQLAlchemyError

from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.operation_log.service import SYSTEM, Actor
from backend.reconciliation import fetch_plan, importing, matching
from backend.reconciliation.importing import BillEmpty, DayNotOver, Imported
from backend.reconciliation.models import BillSource, BillState
from backend.reconciliation.rules import is_kept, is_over
from backend.refunds.handling import ChannelSilent
from backend.sealing import Sealer
from backend.topups import asking
from payments import BillNotReady, Channel, ChannelBusy, ChannelError, ChannelUnknown

NOT_READY = "not-ready"
TOO_OLD = "too-old"
DAMAGED = ("hash", "hash-type", "content")
"""Reasons of `ChannelUnknown`: a file came, and is not the one that the platform vouches for."""
MOST_AT_ONCE = 40
"""All bills that can be missing of one channel, and some more."""

log = logging.getLogger(__name__)


class BillNotThere(DomainError, code="bill-not-ready", kind=Kind.CONFLICT):
    """The platform has not written the bill yet.  Fact: `answer`."""


class DayTooOld(DomainError, code="bill-day-too-old", kind=Kind.INVALID):
    """The platforms give bills of the last three months only.  Fact: `day`."""


class BillDamaged(DomainError, code="bill-damaged", kind=Kind.UNAVAILABLE):
    """A file came that is not the one which the platform announced.  Fact: `answer`."""


def fetch_due(*, channels: Mapping[str, Channel], sealer: Sealer, now: datetime) -> int:
    """Fetch and import every bill that is due; return how many were tried.

    Killed at any point it leaves a claim that runs out: the same bill is then fetched again, and
    its import is the first one or the same.
    """
    tried = 0
    for channel in channels.values():
        with transaction() as session:
            fetch_plan.plan_fetches(session, channel=channel.name, now=now)
        for _ in range(MOST_AT_ONCE):
            with transaction() as session:
                day = fetch_plan.claim_fetch(session, channel=channel.name, now=now)
            if day is None:
                break
            tried += 1
            _try(channel, day, sealer=sealer, now=now)
    _look_again(now=now)
    return tried


def _try(channel: Channel, day: date, *, sealer: Sealer, now: datetime) -> None:
    try:
        imported = fetch(channel, day, sealer=sealer, actor=SYSTEM, now=now)
    except (BillNotThere, BillEmpty, BillDamaged) as error:
        _note(channel, day, str(error.facts["answer"]), now=now)
    except DayTooOld:
        _note(channel, day, TOO_OLD, now=now)
    except ChannelSilent as error:
        _note(channel, day, str(error.__cause__), now=now)
    except SQLAlchemyError:  # its claim runs out and it is tried again; the other days do not wait
        log.exception("bill of %s on %s: it could not be stored", channel.name, day)
    else:
        if imported.bill.state is BillState.REFUSED:
            log.error(
                "bill of %s on %s refused: %s in line %s",
                channel.name, day, imported.bill.fault, imported.bill.fault_line,
            )  # fmt: skip
            with transaction() as session:
                fetch_plan.note_refused(session, channel=channel.name, day=day, now=now)


def _note(channel: Channel, day: date, answer: str, *, now: datetime) -> None:
    with transaction() as session:
        alarm = fetch_plan.note_not_fetched(
            session, channel=channel.name, day=day, answer=answer, now=now
        )
    level = logging.ERROR if alarm else logging.INFO
    log.log(level, "bill of %s on %s is not there: %s", channel.name, day, answer)


def fetch(channel: Channel, day: date, *, sealer: Sealer, actor: Actor, now: datetime) -> Imported:
    """Fetch a bill now and import it, whether it is due or not.

    Raises:
        DayNotOver: that day has no bill yet.
        DayTooOld: nobody gives it any more.
        BillNotThere: it is not written yet.
        BillDamaged: the file is not the one that was announced.
        ChannelSilent: no trustworthy answer; its cause says which.
        BillEmpty: it tells of no trade, and we know of one.
    """
    if not is_over(day, now):
        raise DayNotOver(day=day.isoformat())
    if not is_kept(day, now):
        raise DayTooOld(day=day.isoformat())
    try:
        content = channel.fetch_bill(day)
    except BillNotReady:
        raise BillNotThere(answer=NOT_READY) from None
    except ChannelUnknown as error:
        if error.reason in DAMAGED:
            raise BillDamaged(answer=error.reason) from error
        raise ChannelSilent from error
    except ChannelError as error:
        raise ChannelSilent from error
    return take_in(
        channel, day, content, source=BillSource.FETCHED, sealer=sealer, actor=actor, now=now
    )


def take_in(
    channel: Channel,
    day: date,
    content: bytes,
    *,
    source: BillSource,
    sealer: Sealer,
    actor: Actor,
    now: datetime,
) -> Imported:
    """Import a file, then ask the channel about the orders that it calls paid and we do not.

    Raises:
        DayNotOver: that day has no bill yet.
        BillEmpty: it tells of no trade, and we know of one, or a person brought no bytes.
    """
    with transaction() as session:
        imported = importing.import_bill(
            session,
            channel=channel,
            day=day,
            content=content,
            source=source,
            sealer=sealer,
            actor=actor,
            now=now,
        )
    for question in imported.unpaid:
        try:
            asking.ask(question, channel=channel, sealer=sealer, via="bill", now=now)
        except ChannelBusy:  # the query job asks within a minute
            log.warning("%s is busy: the orders of its bill wait", channel.name)
            break
    if imported.unpaid:
        with transaction() as session:
            matching.match_again(session, bill_id=imported.bill.id)
    return imported


def _look_again(*, now: datetime) -> None:
    """Match anew what was settled since, by whomever."""
    with transaction() as session:
        waiting = matching.waiting_bills(session, now=now)
    for bill_id in waiting:
        with transaction() as session:
            matching.match_again(session, bill_id=bill_id)
