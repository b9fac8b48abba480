"""Changes of a holder's data on proof (信息变更), and what the roster says against them.

The card centre proposes a change with the papers that were shown; a name or a document is changed
when a second person approves.  From then on the roster does not overwrite the field: it reports the
difference, and staff keep theirs, or two of them take its value over.

Source: regulation 三(十二).
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders.category_changes import ChangeWaiting
from backend.holders.documents import document_fault, document_index, every_index
from backend.holders.identity import tail_index
from backend.holders.models import (
    DataChange,
    DataField,
    DocumentKind,
    Holder,
    Identity,
    RosterConflict,
)
from backend.holders.roster import WakeCards, lock_roster
from backend.holders.rules import document_tail
from backend.ids import content_hash
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.second_person import is_decided
from backend.rows import find_row, first_answer, lock_row
from backend.sealing import Sealer, normal_document

ALONE = (DataField.UNIT,)
"""What one person changes without a second one."""
TAKEN_OVER = ("name", "unit", "valid_until")
"""Fields of which the roster's value can be taken over; others are changed on proof again."""


class DocumentInUse(DomainError, code="document-in-use", kind=Kind.CONFLICT):
    """The ID document is another holder's: one person is one holder (一人一卡)."""


class DocumentWrong(DomainError, code="document-wrong", kind=Kind.INVALID):
    """It is no number of an ID document, or its check digit is wrong."""


class ChangeDecided(DomainError, code="change-decided", kind=Kind.CONFLICT):
    """Somebody decided otherwise.  Fact: `approved`."""


class ConflictSettled(DomainError, code="conflict-settled", kind=Kind.CONFLICT):
    """Somebody settled it otherwise, or it cannot be taken over.  Fact: `accepted`."""


def propose(
    session: Session,
    *,
    change_id: UUID,
    holder_id: UUID,
    field: DataField,
    value: str,
    document_kind: DocumentKind | None,
    documents: Sequence[str],
    sealer: Sealer,
    actor: Actor,
    now: datetime,
) -> tuple[DataChange, bool]:
    """Propose a new value with its proof; say whether this call was the first.

    Of a document only its hashes are kept.  A unit is changed at once.  Locks the roster.

    Raises:
        NotFound: there is no such holder, or somebody else's change has this id.
        IdReused: `change_id` came before with other content.
        ChangeWaiting: one of this field waits already.
        DocumentWrong, DocumentInUse: of a document.
    """
    lock_roster(session)
    holder = find_row(session, Holder, holder_id)
    hashes: dict[str, Any] = {}
    if field is DataField.DOCUMENT:
        hashes = _hashes(holder, value, document_kind or DocumentKind.UNSPECIFIED, sealer)
    shown = hashes.get("document_index") or value
    content = content_hash(field, shown, document_kind, sorted(documents))
    earlier = first_answer(
        session, DataChange, change_id, owner={"holder_id": holder_id}, content_hash=content
    )
    if earlier is not None:
        return earlier, False
    waiting = session.scalar(
        select(DataChange.id).where(
            DataChange.holder_id == holder_id,
            DataChange.field == field,
            DataChange.decided_at.is_(None),
        )
    )
    if waiting is not None:
        raise ChangeWaiting(change_id=str(waiting))
    if field is DataField.DOCUMENT:
        _refuse_in_use(session, value, holder_id, sealer)
    change = DataChange(
        id=change_id,
        holder_id=holder_id,
        content_hash=content,
        field=field,
        old=None if field is DataField.DOCUMENT else getattr(holder, field.value),
        new=None if field is DataField.DOCUMENT else value,
        documents=list(documents),
        made_by=actor.name,
        made_at=now,
        decided_by=None,
        decided_at=None,
        approved=None,
        **hashes,
    )
    session.add(change)
    session.flush()
    _record(session, "holder.propose_data", change, actor=actor, now=now)
    if field in ALONE:
        _decide(session, change, approve=True, actor=actor, now=now)
    return change, True


def decide(
    session: Session, *, change_id: UUID, approve: bool, actor: Actor, now: datetime
) -> tuple[DataChange, bool]:
    """Approve or refuse a proposed change; say whether this call was the first.

    Raises:
        NotFound: there is no such change.
        ChangeDecided: it is decided, and otherwise.
        SecondPersonNeeded: who proposed it does not decide it.
        DocumentInUse: meanwhile the document became another holder's.
    """
    lock_roster(session)
    change = lock_row(session, DataChange, change_id)
    if is_decided(
        change.approved,
        approve=approve,
        otherwise=ChangeDecided,
        checker=actor.name,
        made_by=change.made_by,
    ):
        return change, False
    _decide(session, change, approve=approve, actor=actor, now=now)
    return change, True


def list_waiting(session: Session, *, limit: int) -> Sequence[DataChange]:
    """Return the changes that wait for a second person, oldest first."""
    return session.scalars(
        select(DataChange)
        .where(DataChange.decided_at.is_(None))
        .order_by(DataChange.made_at, DataChange.id)
        .limit(limit)
    ).all()


def list_changes(session: Session, *, holder_id: UUID) -> Sequence[DataChange]:
    """Return every change that was proposed for a holder, newest first."""
    return session.scalars(
        select(DataChange)
        .where(DataChange.holder_id == holder_id)
        .order_by(DataChange.made_at.desc(), DataChange.id.desc())
    ).all()


def list_conflicts(session: Session, *, limit: int) -> Sequence[RosterConflict]:
    """Return what the roster says against proven fields and nobody has settled, oldest first."""
    return session.scalars(
        select(RosterConflict)
        .where(RosterConflict.settled_at.is_(None))
        .order_by(RosterConflict.seen_at, RosterConflict.id)
        .limit(limit)
    ).all()


def open_conflicts_of(session: Session, *, holder_id: UUID) -> Sequence[RosterConflict]:
    """Return what the roster says against one holder's proven fields, by field."""
    return session.scalars(
        select(RosterConflict)
        .where(RosterConflict.holder_id == holder_id, RosterConflict.settled_at.is_(None))
        .order_by(RosterConflict.field)
    ).all()


def settle(
    session: Session,
    *,
    conflict_id: UUID,
    accept: bool,
    wake_cards: WakeCards,
    actor: Actor,
    now: datetime,
) -> tuple[RosterConflict, bool]:
    """Keep our value, or take the roster's over; say whether this call was the first.

    What two people proved one cannot undo: the first who wants to take over proposes it (提议), the
    second does.  To keep ours, one is enough, also where another proposed otherwise; a unit is
    changed by one person, so it is taken over by one.  A newer roster with another value ends the
    proposal.  What is taken over is no longer proven, and expired cards live again by a later last
    day.  Locks the roster.

    Raises:
        NotFound: there is no such conflict.
        ConflictSettled: it is settled, and otherwise; or the roster's value cannot be taken over.
    """
    lock_roster(session)
    conflict = lock_row(session, RosterConflict, conflict_id)
    if conflict.settled_at is not None:
        if conflict.accepted is not accept:
            raise ConflictSettled(accepted=bool(conflict.accepted))
        return conflict, False
    if accept and conflict.field not in TAKEN_OVER:
        raise ConflictSettled(accepted=False)
    if accept and conflict.field not in ALONE and conflict.made_by in (None, actor.name):
        return conflict, _propose_taking_over(session, conflict, actor=actor, now=now)
    conflict.settled_at, conflict.settled_by, conflict.accepted = now, actor.name, accept
    session.flush()
    if accept:
        _take_over(session, conflict, wake_cards=wake_cards, actor=actor, now=now)
    operation_log.record(
        session,
        actor=actor,
        action="holder.settle_conflict",
        holder_id=conflict.holder_id,
        subject_id=conflict.id,
        now=now,
        field=conflict.field,
        accepted=accept,
    )
    return conflict, True


def _propose_taking_over(
    session: Session, conflict: RosterConflict, *, actor: Actor, now: datetime
) -> bool:
    if conflict.made_by is not None:
        return False
    conflict.made_by, conflict.made_at = actor.name, now
    operation_log.record(
        session,
        actor=actor,
        action="holder.propose_settlement",
        holder_id=conflict.holder_id,
        subject_id=conflict.id,
        now=now,
        field=conflict.field,
    )
    return True


def _take_over(
    session: Session,
    conflict: RosterConflict,
    *,
    wake_cards: WakeCards,
    actor: Actor,
    now: datetime,
) -> None:
    holder = lock_row(session, Holder, conflict.holder_id, key_share=True)
    value = conflict.value
    if conflict.field == "valid_until":
        value = date.fromisoformat(str(value))
    setattr(holder, conflict.field, value)
    holder.proven = [field for field in holder.proven if field != conflict.field]
    session.flush()
    if conflict.field == "valid_until":
        batch = conflict.batch_id and str(conflict.batch_id)
        wake_cards(session, [holder.id], actor=actor, now=now, roster_batch=batch)


def _hashes(holder: Holder, value: str, kind: DocumentKind, sealer: Sealer) -> dict[str, Any]:
    document = normal_document(value)
    if document_fault(document):
        raise DocumentWrong
    return {
        "document_kind": kind,
        "document_index": document_index(sealer, kind=kind, document=document),
        "document_tail_index": tail_index(
            sealer, holder_number=holder.holder_number, tail=document_tail(document)
        ),
        "document_tail_number": holder.holder_number,
    }


def _refuse_in_use(session: Session, value: str, holder_id: UUID, sealer: Sealer) -> None:
    indexes = every_index(sealer, document=normal_document(value))
    owners = session.scalars(select(Holder.id).where(Holder.document_index.in_(indexes)))
    if set(owners) - {holder_id}:
        raise DocumentInUse


def _decide(
    session: Session, change: DataChange, *, approve: bool, actor: Actor, now: datetime
) -> None:
    change.decided_by, change.decided_at, change.approved = actor.name, now, approve
    if approve:
        holder = lock_row(session, Holder, change.holder_id, key_share=True)
        if change.field is DataField.DOCUMENT:
            _take_document(session, holder, change)
        else:
            setattr(holder, change.field.value, change.new)
        holder.note_proven(change.field.value)
    action = "holder.approve_data" if approve else "holder.refuse_data"
    _record(session, action, change, actor=actor, now=now)


def _take_document(session: Session, holder: Holder, change: DataChange) -> None:
    owner = session.scalar(
        select(Holder.id).where(
            Holder.document_index == change.document_index, Holder.id != holder.id
        )
    )
    if owner is not None:
        raise DocumentInUse
    holder.identity = Identity.REAL_NAME
    holder.document_kind = change.document_kind or DocumentKind.UNSPECIFIED
    holder.document_index = change.document_index
    holder.document_tail_index = change.document_tail_index
    holder.document_tail_number = change.document_tail_number


def _record(
    session: Session, action: str, change: DataChange, *, actor: Actor, now: datetime
) -> None:
    operation_log.record(
        session,
        actor=actor,
        action=action,
        holder_id=change.holder_id,
        subject_id=change.id,
        now=now,
        documents=change.documents,
        field=change.field.value,
    )
