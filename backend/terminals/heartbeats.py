"""What terminals tell of themselves, what they are asked to do, and when somebody should look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.rows import lock_row
from backend.terminals.models import Terminal
from backend.terminals.service import TerminalCaller, note_seen

SILENT_AFTER = timedelta(minutes=5)
QUEUE_STUCK_AFTER = timedelta(minutes=15)
SET_CLOCK = timedelta(seconds=5)
"""A clock that is off by more than this is to be set; codes and signatures still hold."""
CLOCK_OFF = timedelta(seconds=15)
"""A clock that is off by more than this endangers both."""


class Command(StrEnum):
    """What a terminal is asked to do, in the order in which to do it."""

    SET_CLOCK = "set-clock"
    """校时: take `server_time`."""
    SYNC = "sync"
    """上送: upload what waits."""
    FETCH_BUNDLE = "fetch-bundle"
    """更新脱机数据包: there is a newer one."""


class AlarmKind(StrEnum):
    """Why somebody should look after a terminal (告警)."""

    SILENT = "silent"
    """失联: not heard of for five minutes."""
    CLOCK_OFF = "clock-off"
    """时钟偏差: by more than 15 seconds."""
    QUEUE_STUCK = "queue-stuck"
    """上送积压: for more than 15 minutes."""
    SEQUENCE_GAP = "sequence-gap"
    """序号缺口: numbers are missing among what it uploaded."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong with a terminal; the facts are the terminal's own."""

    terminal: Terminal
    kind: AlarmKind
    since: datetime


def note_heartbeat(
    session: Session,
    *,
    caller: TerminalCaller,
    now: datetime,
    queue_length: int | None = None,
    last_sequence: int | None = None,
    clock: datetime | None = None,
    bundle_sequence: int | None = None,
    software: str | None = None,
) -> Terminal:
    """Note that a terminal is alive and what it tells; what it leaves out stays as it was told.

    Locks the terminal.  Sent again it says the same; only the clock seems late by the time between.
    """
    terminal = session.get_one(Terminal, caller.terminal_id, with_for_update=True)
    note_seen(terminal, now=now)
    terminal.software = software or terminal.software
    if queue_length is not None:
        terminal.queue_length = queue_length
        terminal.queue_since = (terminal.queue_since or now) if queue_length else None
    if last_sequence is not None:
        terminal.last_sequence = last_sequence
    if clock is not None:
        offset = clock - now
        terminal.clock_offset_seconds = round(offset.total_seconds())
        terminal.clock_off_since = (
            (terminal.clock_off_since or now) if abs(offset) > CLOCK_OFF else None
        )
    if bundle_sequence is not None and bundle_sequence != terminal.bundle_sequence:
        newest = bundle_sequence == terminal.bundle_latest_sequence
        terminal.bundle_sequence = bundle_sequence
        terminal.bundle_confirmed_at = now
        terminal.bundle_issued_at = terminal.bundle_latest_issued_at if newest else None
    return terminal


def commands_for(terminal: Terminal) -> list[Command]:
    """Return what a terminal is asked to do, by what it told last."""
    wanted = {
        Command.SET_CLOCK: abs(terminal.clock_offset_seconds or 0) > SET_CLOCK.total_seconds(),
        Command.SYNC: bool(terminal.queue_length),
        Command.FETCH_BUNDLE: terminal.bundle_latest_sequence is not None
        and (
            terminal.bundle_sequence is None
            or terminal.bundle_sequence < terminal.bundle_latest_sequence
        ),
    }
    return [command for command in Command if wanted[command]]


def note_bundle(session: Session, *, terminal_id: UUID, sequence: int, issued_at: datetime) -> None:
    """Note the newest bundle that a terminal was given; an older one than known changes nothing.

    Locks the terminal.

    Raises:
        NotFound: there is no such terminal.
    """
    terminal = lock_row(session, Terminal, terminal_id)
    known = terminal.bundle_latest_sequence
    if known is None or sequence > known:
        terminal.bundle_latest_sequence, terminal.bundle_latest_issued_at = sequence, issued_at


def note_gap(session: Session, terminal_id: UUID, *, missing: Sequence[int], now: datetime) -> None:
    """Note which numbers are missing among what a terminal uploaded; none closes the gap.

    A gap that changes is still the same gap: it began when the first number was missed.  Locks the
    terminal.

    Raises:
        NotFound: there is no such terminal.
    """
    terminal = lock_row(session, Terminal, terminal_id)
    terminal.missing_sequences = sorted(set(missing)) or None
    terminal.gap_since = (terminal.gap_since or now) if missing else None


def list_alarms(session: Session, *, now: datetime) -> list[Alarm]:
    """Return what is wrong with terminals now, the oldest first.

    Of terminals out of service only gaps are told: what is missing is missing for good reason or
    bad, and somebody has to find out.
    """
    found = session.scalars(
        select(Terminal).where(
            or_(Terminal.credential.is_not(None), Terminal.gap_since.is_not(None))
        )
    )
    alarms = [alarm for terminal in found for alarm in _alarms_of(terminal, now)]
    return sorted(alarms, key=lambda alarm: (alarm.since, alarm.terminal.place, alarm.kind))


def _alarms_of(terminal: Terminal, now: datetime) -> list[Alarm]:
    since: dict[AlarmKind, datetime | None] = {AlarmKind.SEQUENCE_GAP: terminal.gap_since}
    if terminal.credential is not None:
        since[AlarmKind.SILENT] = _older(terminal.last_seen_at, now - SILENT_AFTER)
        since[AlarmKind.CLOCK_OFF] = terminal.clock_off_since
        since[AlarmKind.QUEUE_STUCK] = _older(terminal.queue_since, now - QUEUE_STUCK_AFTER)
    return [Alarm(terminal, kind, at) for kind, at in since.items() if at is not None]


def _older(moment: datetime | None, limit: datetime) -> datetime | None:
    return moment if moment is not None and moment <= limit else None
