"""Taking late uploads (脱机上送), each once, and reading again the code that was shown.

What follows from one is for `gates.late` and `charges.late`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.cards import late as cards
from backend.cards.late import Bearer, Standing
from backend.cards.rules import NEEDED_FOR
from backend.holders.models import Holder
from backend.ids import content_hash, new_reference
from backend.operation_log import service as operation_log
from backend.policies.service import Policies, policies_at
from backend.rows import first_answer
from backend.terminals import heartbeats
from backend.terminals.models import Terminal
from backend.terminals.service import TerminalCaller
from backend.uploads.models import LateUpload
from backend.uploads.rules import (
    Conflict,
    Outcome,
    UploadKind,
    clock_conflicts,
    in_order,
    needs_person,
)
from qr import (
    CardCode,
    CodeError,
    CodeExpired,
    CodeNotYetValid,
    CodeWrongScope,
    KeyRing,
    Scope,
    Verifier,
)

MOST_MISSING = 1000
"""How many missing numbers are told one by one; all of them are counted."""
LOCK = text("SELECT lock_id(:terminal_id), lock_id(:id)")
MISSING = text("""
    WITH own AS (
        SELECT DISTINCT sequence FROM late_uploads
         WHERE terminal_id = :terminal_id AND enrolled_at = :enrolled_at
    ), start AS (
        -- A device that was enrolled anew either counts on where it was, or from 1 again.
        SELECT CASE WHEN (SELECT min(sequence) FROM own) > coalesce(max(sequence), 0)
                    THEN coalesce(max(sequence), 0) ELSE 0 END AS before
          FROM late_uploads WHERE terminal_id = :terminal_id AND enrolled_at < :enrolled_at
    ), steps AS (
        SELECT sequence, lag(sequence, 1, (SELECT before FROM start)) OVER (ORDER BY sequence)
               AS before
          FROM own
    )
    SELECT before + 1 AS first, sequence - 1 AS last FROM steps
     WHERE sequence > before + 1 ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a terminal says that it decided without network."""

    id: UUID
    sequence: int
    code: str
    accepted: bool
    reason: str | None
    decided_at: datetime
    bundle_sequence: int | None
    said: Mapping[str, Any]
    """All of it, with what only this kind has: direction, or amount and note."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of a terminal, and by what its items are judged."""

    terminal: TerminalCaller
    key_ring: KeyRing
    issuer: str
    received_at: datetime
    window: timedelta
    """How far a device's time may be from ours: as long as it may work on its own (脱机时限)."""
    policy_ids: Sequence[UUID]
    """The rows that say so."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the code of an item turned out to be, read by our own keys."""

    code: CardCode | None
    """None where it is not genuine."""
    bearer: Bearer | None
    fault: str | None
    """What was wrong with it at the device's time, as `CodeError.code`."""


def open_batch(
    session: Session, *, terminal: TerminalCaller, key_ring: KeyRing, issuer: str, now: datetime
) -> Batch:
    """Return what the items of one call have in common."""
    policies = policies_at(session, now)
    used = policies.used("offline.bundle_hours")
    return Batch(terminal, key_ring, issuer, now, window_of(policies), used)


def window_of(policies: Policies) -> timedelta:
    """Return how long a scanner may work on its own."""
    return timedelta(hours=policies["offline.bundle_hours"])


def lock(session: Session, *, terminal_id: UUID, upload_id: UUID) -> None:
    """Lock a terminal's uploads, then the id of one: nothing else happens to it until commit."""
    session.execute(LOCK, {"terminal_id": terminal_id, "id": upload_id})


def take(
    session: Session, claim: Claim, batch: Batch, *, kind: UploadKind
) -> tuple[LateUpload, bool]:
    """Return the row of an item, and whether it is new: then the caller completes and adds it.

    A number that another item of this device has is an alarm; the item is kept all the same, for a
    person.  Locks the terminal's uploads, then the id: of two uploaders one waits, and so does an
    online decision under the same id.

    Raises:
        IdReused: the id came before with other content, or from another terminal.
    """
    terminal, now = batch.terminal, batch.received_at
    lock(session, terminal_id=terminal.terminal_id, upload_id=claim.id)
    content = content_hash(terminal.terminal_id, kind.value, sorted(claim.said.items()))
    earlier = first_answer(session, LateUpload, claim.id, content_hash=content)
    if earlier is not None:
        return earlier, False
    device = session.get_one(Terminal, terminal.terminal_id)
    late = LateUpload(
        id=claim.id,
        kind=kind,
        terminal_id=terminal.terminal_id,
        enrolled_at=device.enrolled_at or now,
        sequence=claim.sequence,
        content_hash=content,
        place=terminal.place,
        accepted=claim.accepted,
        reason=claim.reason,
        bundle_sequence=claim.bundle_sequence,
        decided_at=claim.decided_at,
        received_at=now,
        conflicts=[],
        policy_ids=[str(id_) for id_ in batch.policy_ids],
        needs_review=False,
        reference=new_reference(),
    )
    taken = select(LateUpload.id).where(
        LateUpload.terminal_id == late.terminal_id,
        LateUpload.enrolled_at == late.enrolled_at,
        LateUpload.sequence == late.sequence,
        LateUpload.outcome != Outcome.SEQUENCE_REUSED,
    )
    if session.execute(taken).one_or_none() is not None:
        late.conflicts = [Conflict.SEQUENCE_REUSED]
        operation_log.record(
            session,
            actor=terminal.actor,
            action="terminal.reuse_sequence",
            subject_id=terminal.terminal_id,
            reference=late.reference,
            now=now,
            sequence=claim.sequence,
        )
    return late, True


def read(session: Session, late: LateUpload, claim: Claim, batch: Batch, *, need: Scope) -> Seen:
    """Read an item's code again, by keys and clock of the device's time; note whose it is."""
    seen = _read(session, claim, batch, need=need)
    late.code_fault = seen.fault
    if seen.code is not None:
        late.code_key = seen.code.key
    if seen.bearer is not None:
        late.holder_id = seen.bearer.holder_id
    return seen


def _read(session: Session, claim: Claim, batch: Batch, *, need: Scope) -> Seen:
    keys = batch.key_ring.public_keys(claim.decided_at)
    verifier = Verifier(keys, issuer=batch.issuer)
    fault = None
    try:
        code = verifier.verify(claim.code, need=need, now=claim.decided_at)
    except (CodeNotYetValid, CodeExpired, CodeWrongScope) as error:
        fault, code = error.code, verifier.genuine(claim.code)
    except CodeError as error:
        return Seen(None, None, error.code)
    return Seen(code, cards.bearer_of(session, code), fault)


def conflicts_of(session: Session, late: LateUpload, seen: Seen, *, scope: Scope) -> list[Conflict]:
    """Use the code of an accepted item up, and return what stands against it and its card.

    What a scanner refused uses nothing up: no refusal may stand in the way of what happened.
    """
    conflicts = []
    if seen.fault is not None:
        conflicts.append(Conflict.FORGED)
    if seen.code is None:
        return conflicts
    if seen.bearer is None:
        return [*conflicts, Conflict.CARD_UNKNOWN]
    user = cards.use_up(
        session,
        code=seen.code,
        bearer=seen.bearer,
        scope=scope,
        decision_id=late.id,
        now=late.received_at,
    )
    if user != late.id:
        conflicts.append(Conflict.DOUBLE_USE)
    standing = cards.standing_at(session, seen.code, seen.bearer, at=late.decided_at)
    if standing is Standing.LOST:
        conflicts.append(Conflict.AFTER_LOSS)
    elif standing is Standing.REVOKED:
        conflicts.append(Conflict.REVOKED)
    holder = session.get(Holder, late.holder_id) if late.holder_id else None
    if holder is not None and NEEDED_FOR[scope] in holder.denied:
        conflicts.append(Conflict.NOT_PERMITTED)  # by today's permissions: the scanner had older
    return conflicts


def conflicts_of_clock(late: LateUpload, batch: Batch) -> list[Conflict]:
    """Return what is wrong with the time that the device tells."""
    return clock_conflicts(
        decided_at=late.decided_at, received_at=late.received_at, window=batch.window
    )


def close(
    session: Session,
    late: LateUpload,
    conflicts: list[Conflict],
    *,
    outcome: Outcome,
    record_id: UUID | None,
) -> None:
    """Complete a new item and keep it: what was answered once is the answer for ever."""
    found = in_order([*(Conflict(word) for word in late.conflicts), *conflicts])
    late.conflicts = [conflict.value for conflict in found]
    late.needs_review = needs_person(found)
    late.outcome = Outcome.SEQUENCE_REUSED if Conflict.SEQUENCE_REUSED in found else outcome
    late.record_id = record_id
    session.add(late)
    session.flush()


def reason_of(late: LateUpload) -> str | None:
    """Return why an item ended otherwise than it was meant, in a word that never changes."""
    if late.outcome in (Outcome.UNDER_REVIEW, Outcome.CHARGED_TO_RISK, Outcome.SEQUENCE_REUSED):
        return str(late.conflicts[0])
    return None


@dataclass(frozen=True, slots=True)
class Gaps:
    """Which numbers of a terminal's device are missing among what it told (序号缺口)."""

    highest: int
    count: int
    missing: list[int]
    """The first of them."""


def missing_sequences(session: Session, terminal_id: UUID) -> Gaps:
    """Return the numbers that are missing below the highest that a terminal's device has told.

    An item that is still on its way is missing too: a gap that stays is what matters (F3).
    """
    device = session.get_one(Terminal, terminal_id)
    told = {"terminal_id": terminal_id, "enrolled_at": device.enrolled_at}
    highest = session.execute(
        text(
            "SELECT coalesce(max(sequence), 0) FROM late_uploads"
            " WHERE terminal_id = :terminal_id AND enrolled_at = :enrolled_at"
        ),
        told,
    ).scalar_one()
    ranges = [range(row.first, row.last + 1) for row in session.execute(MISSING, told)]
    missing: list[int] = []
    for numbers in ranges:
        missing += numbers[: MOST_MISSING - len(missing)]
    return Gaps(highest, sum(len(numbers) for numbers in ranges), missing)


def note_gaps(session: Session, terminal_id: UUID, *, now: datetime) -> None:
    """Note on the terminal which numbers are missing by now: a gap is an alarm (F3).

    Locks the terminal first, so that of two uploaders the later one sees all that was told.
    """
    session.get_one(Terminal, terminal_id, with_for_update=True)
    missing = missing_sequences(session, terminal_id).missing
    heartbeats.note_gap(session, terminal_id, missing=missing, now=now)
