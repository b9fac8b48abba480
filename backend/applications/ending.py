"""The end of temporary cards: reminded of, put off by a new approval (延期), brought forward."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.applications.models import (
    Applicant,
    Application,
    ApplicationState,
    EarlyLeaving,
    Extension,
)
from backend.applications.rules import check_end, is_near
from backend.applications.service import (
    OA_APPROVAL,
    Paper,
    lock,
    people_of,
    record_paper,
    refuse_used_oa_number,
)
from backend.cards import counter
from backend.cards.models import Card, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, is_account_closed
from backend.clock import business_date
from backend.db import transaction
from backend.errors import DomainError, Kind, NotFound
from backend.holders.login import HolderCaller
from backend.holders.models import Holder
from backend.ids import new_id
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at
from backend.rows import first_answer
from backend.sealing import Sealer

REMIND_DAYS = "application.remind_days"


class ApplicationNotOpened(DomainError, code="application-not-opened", kind=Kind.CONFLICT):
    """No card of this application is opened yet."""


class LeftEarly(DomainError, code="left-early", kind=Kind.CONFLICT):
    """This person's early leaving was told before.  Fact: `last_on`."""


class LeavingNotEarly(DomainError, code="leaving-not-early", kind=Kind.CONFLICT):
    """The card ends by itself no later than that day.  Fact: `ends_on`."""


def extend(
    session: Session,
    *,
    extension_id: UUID,
    application_id: UUID,
    oa_number: str,
    valid_until: date,
    papers: Sequence[Paper],
    sealer: Sealer,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Extension, bool]:
    """Put the end of an application's cards off, by a new approval; the same cards go on.

    Expired cards are active again.  Nothing changes for those who left early or whose account is
    closing.  `papers` are the unit's and the leader's approval.

    Raises:
        NotFound: no such application.
        IdReused: the id came before with other content.
        ApplicationNotOpened: there are no cards.
        PeriodNotPossible: the end is no later than before, over, or years away.
        OaNumberUsed: the flow of the OA brought something else.
        ApprovalAhead: an approval bears a later day than today.
    """
    content = sealer.index("extension", repr((application_id, oa_number, valid_until, papers)))
    application = lock(session, application_id)
    earlier = first_answer(session, Extension, extension_id, content_index=content)
    if earlier is not None:
        return earlier, False
    if application.state is not ApplicationState.OPENED:
        raise ApplicationNotOpened
    before = application.valid_until
    check_end(valid_until, first=max(date.fromordinal(before.toordinal() + 1), business_date(now)))
    refuse_used_oa_number(session, oa_number)
    extension = Extension(
        id=extension_id,
        application_id=application_id,
        content_index=content,
        oa_number=oa_number,
        valid_before=before,
        valid_until=valid_until,
        made_by=operator.operator_id,
        made_at=now,
    )
    session.add(extension)
    session.flush()
    for paper in papers:
        record_paper(
            session, new_id(), application_id, extension_id, paper, operator=operator, now=now
        )
    application.valid_until = valid_until
    for holder in staying(session, application_id):
        holder.valid_until = valid_until
        counter.wake(session, holder_id=holder.id, actor=operator.actor, now=now)
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.extend",
        subject_id=application.id,
        now=now,
        before={"valid_until": before.isoformat()},
        after={"valid_until": valid_until.isoformat()},
        documents=[OA_APPROVAL],
        oa_number=oa_number,
        extension_id=str(extension_id),
    )
    session.flush()
    return extension, True


def staying(session: Session, application_id: UUID) -> list[Holder]:
    """Return whom an extension is for: neither left early nor closing their account."""
    ids = [
        one.holder_id
        for one in people_of(session, application_id)
        if one.holder_id is not None and one.left_on is None
    ]
    holders = session.scalars(select(Holder).where(Holder.id.in_(ids)).order_by(Holder.id))
    return [holder for holder in holders if not is_account_closed(session, holder_id=holder.id)]


def leave_early(
    session: Session,
    *,
    leaving_id: UUID,
    application_id: UUID,
    holder_id: UUID,
    last_on: date,
    reason: str,
    who: OperatorCaller | HolderCaller,
    now: datetime,
    allowed_by: Sequence[UUID] = (),
) -> tuple[EarlyLeaving, bool]:
    """Note that somebody leaves before their day (提前离校): the card ends with `last_on`.

    The sponsor tells it, or an operator for them.  A card that was not to begin before that is
    void.

    Raises:
        NotFound: no such application, or nobody of it is this holder.
        IdReused: the id came before with other content.
        LeftEarly: another word of it came before.
        LeavingNotEarly: the card ends no later by itself.
    """
    application = lock(session, application_id)
    applicant = session.scalars(
        select(Applicant).where(
            Applicant.application_id == application_id, Applicant.holder_id == holder_id
        )
    ).one_or_none()
    if applicant is None:
        raise NotFound
    earlier = first_answer(
        session,
        EarlyLeaving,
        leaving_id,
        applicant_id=applicant.id,
        last_on=last_on,
        reason=reason,
    )
    if earlier is not None:
        return earlier, False
    if applicant.left_on is not None:
        raise LeftEarly(last_on=applicant.left_on.isoformat())
    holder = session.get_one(Holder, holder_id)
    if last_on >= holder.valid_until:
        raise LeavingNotEarly(ends_on=holder.valid_until.isoformat())
    before, holder.valid_until = holder.valid_until, last_on
    applicant.left_on = last_on
    leaving = EarlyLeaving(
        id=leaving_id,
        applicant_id=applicant.id,
        last_on=last_on,
        reason=reason,
        told_by=who.operator_id if isinstance(who, OperatorCaller) else None,
        sponsor_id=who.holder_id if isinstance(who, HolderCaller) else None,
        told_at=now,
    )
    session.add(leaving)
    if last_on < application.valid_from:
        _void_unbegun(session, holder_id, actor=who.actor, now=now)
    notices.tell(
        session,
        holder_id=holder_id,
        kind="card-ends-soon",
        now=now,
        valid_until=last_on.isoformat(),
    )
    operation_log.record(
        session,
        actor=who.actor,
        action="application.leave_early",
        holder_id=holder_id,
        subject_id=leaving_id,
        now=now,
        before={"valid_until": before.isoformat()},
        after={"valid_until": last_on.isoformat()},
        policy_ids=allowed_by,
        application_id=str(application_id),
    )
    session.flush()
    return leaving, True


def _void_unbegun(session: Session, holder_id: UUID, *, actor: Actor, now: datetime) -> None:
    pending = select(Card).where(Card.holder_id == holder_id, Card.state == CardState.PENDING)
    for card in session.scalars(pending).all():
        change_state(session, card=card, event=CardEvent.VOID, actor=actor, now=now)


def remind_due(*, now: datetime) -> int:
    """Remind holders and sponsors of ends that are near, once for each end; return how many.

    Each application is a transaction of its own.
    """
    today = business_date(now)
    with transaction() as session:
        policies = policies_at(session, now)
        due = [
            application.id
            for application in session.scalars(
                select(Application).where(
                    Application.state == ApplicationState.OPENED,
                    Application.valid_until >= today,
                    Application.reminded_of.is_distinct_from(Application.valid_until),
                )
            )
            if is_near(application.valid_until, today=today, days=policies[REMIND_DAYS])
        ]
    for application_id in due:
        with transaction() as session:
            _remind(session, application_id, policy_ids=policies.used(REMIND_DAYS), now=now)
    return len(due)


def _remind(
    session: Session, application_id: UUID, *, policy_ids: Sequence[UUID], now: datetime
) -> None:
    application = lock(session, application_id)
    if application.reminded_of == application.valid_until:
        return
    ends = application.valid_until.isoformat()
    people = staying(session, application_id)
    for holder in people:
        notices.tell(session, holder_id=holder.id, kind="card-ends-soon", now=now, valid_until=ends)
    if people:
        notices.tell(
            session,
            holder_id=application.sponsor_id,
            kind="sponsored-cards-end",
            now=now,
            valid_until=ends,
            people=len(people),
            oa_number=application.oa_number,
        )
    application.reminded_of = application.valid_until
    operation_log.record(
        session,
        actor=operation_log.SYSTEM,
        action="application.remind",
        subject_id=application.id,
        now=now,
        policy_ids=policy_ids,
        people=len(people),
    )


def extensions_of(session: Session, application_id: UUID) -> Sequence[Extension]:
    """Return the extensions of an application, oldest first."""
    return session.scalars(
        select(Extension)
        .where(Extension.application_id == application_id)
        .order_by(Extension.made_at)
    ).all()
