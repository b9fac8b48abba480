"""Reviews (复核) of late uploads: listing what waits for a person, and deciding it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session

from backend.cases.models import Resolution, Ruling
from backend.cases.rules import possible_rulings
from backend.charges import late as charges
from backend.errors import DomainError, Kind, NotFound
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import newest_first
from backend.terminals.models import Terminal
from backend.terminals.service import caller_of
from backend.uploads import service as uploads
from backend.uploads.models import LateUpload
from backend.uploads.rules import UploadKind

MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR)
MAY_RESOLVE = (Role.CARD_CENTRE, Role.FINANCE)
OPEN, RESOLVED = "open", "resolved"
STATES = (OPEN, RESOLVED)


class ReviewResolved(DomainError, code="review-resolved", kind=Kind.CONFLICT):
    """Somebody has decided otherwise, or for another reason.  Fact: `decision`."""


class RulingNotPossible(DomainError, code="ruling-not-possible", kind=Kind.CONFLICT):
    """This review cannot end so.  Fact: `decisions`, how it can."""


@dataclass(frozen=True, slots=True)
class Review:
    """A late upload that a person has to look at, and how it ended."""

    upload: LateUpload
    resolution: Resolution | None

    @property
    def id(self) -> UUID:
        """The upload's id."""
        return self.upload.id

    @property
    def received_at(self) -> datetime:
        """When it came; reviews are sorted by it."""
        return self.upload.received_at

    @property
    def state(self) -> str:
        """`open` or `resolved`."""
        return RESOLVED if self.resolution else OPEN

    @property
    def rulings(self) -> tuple[Ruling, ...]:
        """What may be decided; nothing once it is."""
        if self.resolution is not None:
            return ()
        return possible_rulings(
            recorded=self.upload.record_id is not None,
            holder_known=self.upload.holder_id is not None,
            conflicts=self.upload.conflicts,
        )


def kinds_for(role: Role) -> Collection[UploadKind]:
    """Return what a role may see: finance sees money, not where people go."""
    return (UploadKind.CHARGE,) if role is Role.FINANCE else tuple(UploadKind)


def _reviews(role: Role) -> Select[LateUpload, Resolution]:
    return (
        select(LateUpload, Resolution)
        .outerjoin(Resolution, Resolution.upload_id == LateUpload.id)
        .where(LateUpload.needs_review, LateUpload.kind.in_(kinds_for(role)))
    )


def _in_state(state: str | None) -> ColumnElement[bool]:
    if state is None:
        return true()
    return Resolution.upload_id.is_(None) if state == OPEN else Resolution.upload_id.is_not(None)


def list_reviews(
    session: Session,
    *,
    role: Role,
    state: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Review]:
    """Return reviews in one state, or all, newest first."""
    query = _reviews(role).where(_in_state(state))
    rows = session.execute(newest_first(query, LateUpload.received_at, before=before, limit=limit))
    return [Review(row.LateUpload, row.Resolution) for row in rows]


def count_open(session: Session, *, role: Role) -> int:
    """Return how many reviews wait for somebody."""
    waiting = _reviews(role).where(_in_state(OPEN)).with_only_columns(func.count())
    return session.scalar(waiting) or 0


def find(session: Session, *, review_id: UUID, role: Role) -> Review:
    """Return one review.

    Raises:
        NotFound: there is none, or it is not for this role.
    """
    row = session.execute(_reviews(role).where(LateUpload.id == review_id)).one_or_none()
    if row is None:
        raise NotFound
    return Review(row.LateUpload, row.Resolution)


def find_by_reference(session: Session, *, reference: str, role: Role) -> Sequence[Review]:
    """Return the reviews of what a terminal was answered with this reference."""
    rows = session.execute(_reviews(role).where(LateUpload.reference == reference))
    return [Review(row.LateUpload, row.Resolution) for row in rows]


def resolve(
    session: Session,
    *,
    review_id: UUID,
    ruling: Ruling,
    reason: str,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Review, bool]:
    """Decide a review, once; say whether this call was the first.

    The same decision for the same reason again gets the first answer.  What is charged is posted
    now, to the holder with arrears where the purses hold too little, or to the school's risk
    account.  Locks as a late upload does: the terminal's uploads, the id, then the purse.

    Raises:
        NotFound: there is none, or it is not for this role.
        ReviewResolved: it is decided, and otherwise.
        RulingNotPossible: this review cannot end so.
    """
    terminal_id = find(session, review_id=review_id, role=operator.role).upload.terminal_id
    uploads.lock(session, terminal_id=terminal_id, upload_id=review_id)
    session.expire_all()
    review = find(session, review_id=review_id, role=operator.role)
    if review.resolution is not None:
        if (review.resolution.ruling, review.resolution.reason) != (ruling, reason):
            raise ReviewResolved(decision=review.resolution.ruling.value)
        return review, False
    if ruling not in review.rulings:
        raise RulingNotPossible(decisions=[possible.value for possible in review.rulings])
    upload = review.upload
    if ruling in (Ruling.CHARGE_HOLDER, Ruling.CHARGE_RISK):
        terminal = caller_of(session, session.get_one(Terminal, upload.terminal_id))
        charged, _ = charges.post(
            session,
            upload,
            terminal=terminal,
            to_risk=ruling is Ruling.CHARGE_RISK,
            policies=charges.policies_then(
                session, upload, window=uploads.window_of(policies_at(session, now))
            ),
            content=None,
            now=now,
        )
        upload.record_id = charged.id
    resolution = Resolution(
        upload_id=upload.id,
        ruling=ruling,
        reason=reason,
        operator_id=operator.operator_id,
        resolved_at=now,
    )
    session.add(resolution)
    operation_log.record(
        session,
        actor=operator.actor,
        action="review.resolve",
        holder_id=upload.holder_id,
        subject_id=upload.id,
        reference=upload.reference,
        now=now,
        decision=ruling.value,
        kind=upload.kind.value,
        amount_fen=upload.amount_fen,
        conflicts=upload.conflicts,
    )
    session.flush()
    return Review(upload, resolution), True
