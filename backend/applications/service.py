"""Applications (申请) for temporary cards: made, approved, withdrawn.

Source: regulation 三(三).  Document numbers are hashed at once; neither they nor the hashes of a
list that was refused are kept.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from backend.applications.models import (
    Applicant,
    Application,
    ApplicationState,
    Approval,
    ApprovalKind,
    Extension,
    Fault,
)
from backend.applications.rules import check_end, missing_approvals
from backend.cards.service import closed_accounts
from backend.clock import business_date
from backend.errors import DomainError, IdReused, Kind
from backend.holders.documents import (
    document_fault,
    document_index,
    kind_of,
    other_indexes,
)
from backend.holders.identity import tail_index
from backend.holders.models import Category, DocumentKind, Holder
from backend.holders.rules import document_tail
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first
from backend.sealing import Sealer, normal_document

MAKERS = (Role.CARD_CENTRE,)
TELL_OF_LEAVING = (Role.CARD_CENTRE, Role.LOGISTICS)
MAY_LOOK = (Role.CARD_CENTRE, Role.LOGISTICS, Role.FINANCE, Role.AUDITOR)
OA_APPROVAL = "oa_approval"
"""The kind of paper that the operation log names (OA 审批单)."""


class SponsorNotStaff(DomainError, code="sponsor-not-staff", kind=Kind.CONFLICT):
    """The sponsor's number is no member of staff's."""


class OaNumberUsed(DomainError, code="oa-number-used", kind=Kind.CONFLICT):
    """Another application or extension came by this flow of the OA."""


class DocumentsNotValid(DomainError, code="documents-not-valid", kind=Kind.INVALID):
    """Numbers that cannot be, or that stand twice.  Fact: `positions`, of the list, from 1."""


class ApplicationWithdrawn(DomainError, code="application-withdrawn", kind=Kind.CONFLICT):
    """The application was taken back."""


class ApplicationOpened(DomainError, code="application-opened", kind=Kind.CONFLICT):
    """The cards are opened already."""


class ApprovalRecorded(DomainError, code="approval-recorded", kind=Kind.CONFLICT):
    """This approval was recorded before, under another id."""


class ApprovalAhead(DomainError, code="approval-ahead", kind=Kind.CONFLICT):
    """The approval bears a day that is yet to come.  Fact: `today`."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody an application is for; without a document number they are registered (记名)."""

    name: str
    unit: str
    document_kind: DocumentKind | None
    document_number: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an application asks for."""

    oa_number: str
    sponsor_unit: str
    sponsor_number: str
    purpose: str
    category: Category
    permissions: Sequence[str]
    pays_surcharge: bool | None
    valid_from: date
    valid_until: date
    people: Sequence[Person]


@dataclass(frozen=True, slots=True)
class Paper:
    """An approval as the OA has it."""

    kind: ApprovalKind
    approver: str
    document: str
    decided_on: date


def make(
    session: Session,
    *,
    application_id: UUID,
    wanted: Wanted,
    sealer: Sealer,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Application, bool]:
    """Record an application; say whether this call was the first.

    Each person gets the holder number that they will have.  A retry changes nothing.  Locks the
    application's id.

    Raises:
        IdReused: the id came before with other content.
        PeriodNotPossible: the end is before the beginning, over, or years away.
        DocumentsNotValid: a number that cannot be, or stands twice.
        SponsorNotStaff: no member of staff has the sponsor's number.
        OaNumberUsed: the flow of the OA brought another application.
    """
    lock_id(session, application_id)
    content = sealer.index("application", repr(asdict(wanted)))
    earlier = first_answer(session, Application, application_id, content_index=content)
    if earlier is not None:
        return earlier, False
    sponsor_id, documents = check(session, wanted=wanted, now=now)
    application = Application(
        id=application_id,
        content_index=content,
        state=ApplicationState.WAITING,
        oa_number=wanted.oa_number,
        sponsor_unit=wanted.sponsor_unit,
        sponsor_id=sponsor_id,
        purpose=wanted.purpose,
        category=wanted.category,
        permissions=list(wanted.permissions),
        pays_surcharge=wanted.pays_surcharge,
        valid_from=wanted.valid_from,
        valid_until=wanted.valid_until,
        made_by=operator.operator_id,
        made_at=now,
        policy_ids=[],
    )
    session.add(application)
    session.flush()
    session.add_all(
        _applicant(application, place, person, document, sealer)
        for place, (person, document) in enumerate(
            zip(wanted.people, documents, strict=True), start=1
        )
    )
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.make",
        subject_id=application.id,
        now=now,
        after=application.state.value,
        oa_number=wanted.oa_number,
        category=wanted.category.value,
        permissions=list(wanted.permissions),
        people=len(wanted.people),
    )
    session.flush()
    return application, True


def check(session: Session, *, wanted: Wanted, now: datetime) -> tuple[UUID, list[str | None]]:
    """Return the sponsor and the people's normal document numbers; writes nothing.

    Raises:
        PeriodNotPossible, DocumentsNotValid, SponsorNotStaff, OaNumberUsed: as `make` does.
    """
    check_end(wanted.valid_until, first=max(wanted.valid_from, business_date(now)))
    documents = _documents(wanted.people)
    sponsor_id = session.scalars(
        select(Holder.id).where(
            Holder.holder_number == wanted.sponsor_number, Holder.category == Category.STAFF
        )
    ).one_or_none()
    if sponsor_id is None:
        raise SponsorNotStaff
    refuse_used_oa_number(session, wanted.oa_number)
    return sponsor_id, documents


def faults_ahead(
    session: Session, *, people: Sequence[Person], documents: Sequence[str | None], sealer: Sealer
) -> dict[int, Fault]:
    """Return for which people of a list, from 1, no card will be opened, and why.

    Whose account was closed is none of them: it will be opened again (复户).
    `documents` are their normal numbers, as `check` returns them.
    """
    own: dict[bytes, int] = {}
    others: dict[bytes, int] = {}
    for position, (person, document) in enumerate(zip(people, documents, strict=True), start=1):
        if document is not None:
            kind = person.document_kind or DocumentKind.UNSPECIFIED
            own[document_index(sealer, kind=kind, document=document)] = position
            found = other_indexes(sealer, kind=kind, document=document)
            others |= dict.fromkeys(found, position)
    known = session.execute(
        select(Holder.id, Holder.document_index).where(
            Holder.document_index.in_(own.keys() | others.keys())
        )
    ).all()
    closed = closed_accounts(session, holder_ids=[row.id for row in known])
    faults = {
        others[row.document_index]: Fault.NUMBER_KNOWN
        for row in known
        if row.document_index in others
    }
    for row in known:
        if row.document_index in own:
            faults.pop(own[row.document_index], None)
            if row.id not in closed:
                faults[own[row.document_index]] = Fault.HOLDER_KNOWN
    return faults


def _documents(people: Sequence[Person]) -> list[str | None]:
    """Return the normal numbers, None where no document was shown."""
    numbers = [
        normal_document(person.document_number) if person.document_number else None
        for person in people
    ]
    wrong = [
        place
        for place, (person, number) in enumerate(zip(people, numbers, strict=True), start=1)
        if number is not None
        and (not _is_of_kind(number, person.document_kind) or numbers.count(number) > 1)
    ]
    if wrong:
        raise DocumentsNotValid(positions=wrong)
    return numbers


def _is_of_kind(number: str, kind: DocumentKind | None) -> bool:
    """Say whether a number can be one; a resident's card has eighteen characters."""
    if kind is DocumentKind.RESIDENT_ID and kind_of(number) is not kind:
        return False
    return document_fault(number) is None


def _applicant(
    application: Application, place: int, person: Person, document: str | None, sealer: Sealer
) -> Applicant:
    number = f"L{secrets.randbelow(10**9):09d}"
    kind = person.document_kind or DocumentKind.UNSPECIFIED
    return Applicant(
        id=new_id(),
        application_id=application.id,
        position=place,
        name=person.name,
        unit=person.unit,
        holder_number=number,
        document_kind=person.document_kind,
        document_index=document_index(sealer, kind=kind, document=document) if document else None,
        other_indexes=[one.hex() for one in other_indexes(sealer, kind=kind, document=document)]
        if document
        else None,
        document_tail_index=tail_index(sealer, holder_number=number, tail=document_tail(document))
        if document
        else None,
    )


def refuse_used_oa_number(session: Session, oa_number: str) -> None:
    """Refuse a flow of the OA that brought something before, unless that was withdrawn.

    Raises:
        OaNumberUsed: it did.
    """
    used = session.scalar(
        select(
            or_(
                exists().where(
                    Application.oa_number == oa_number, Application.withdrawn_at.is_(None)
                ),
                exists().where(Extension.oa_number == oa_number),
            )
        )
    )
    if used:
        raise OaNumberUsed


def lock(session: Session, application_id: UUID) -> Application:
    """Return an application, locked until commit.

    Raises:
        NotFound: there is none.
    """
    return lock_row(session, Application, application_id)


def approve(
    session: Session,
    *,
    approval_id: UUID,
    application_id: UUID,
    paper: Paper,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[Approval, bool]:
    """Record an approval of the OA; with both the application is approved.

    Raises:
        NotFound: no such application.
        IdReused: the id came before with other content.
        ApplicationWithdrawn: it was taken back.
        ApprovalRecorded: this kind of approval is there.
        ApprovalAhead: it bears a later day than today.
    """
    application = lock(session, application_id)
    earlier = session.get(Approval, approval_id)
    if earlier is not None:
        if (earlier.application_id, earlier.extension_id, paper_of(earlier)) != (
            application_id, None, paper
        ):  # fmt: skip
            raise IdReused
        return earlier, False
    if application.state is ApplicationState.WITHDRAWN:
        raise ApplicationWithdrawn
    given = [approval.kind for approval in approvals_of(session, application_id)]
    if paper.kind in given:
        raise ApprovalRecorded
    approval = record_paper(
        session, approval_id, application_id, None, paper, operator=operator, now=now
    )
    before = application.state
    if not missing_approvals([*given, paper.kind]):
        application.state = ApplicationState.APPROVED
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.approve",
        subject_id=application.id,
        now=now,
        before=before.value,
        after=application.state.value,
        documents=[OA_APPROVAL],
        kind=paper.kind.value,
        document=paper.document,
        decided_on=paper.decided_on.isoformat(),
    )
    session.flush()
    return approval, True


def paper_of(approval: Approval) -> Paper:
    """Return an approval as it was recorded."""
    return Paper(approval.kind, approval.approver, approval.document, approval.decided_on)


def record_paper(
    session: Session,
    approval_id: UUID,
    application_id: UUID,
    extension_id: UUID | None,
    paper: Paper,
    *,
    operator: OperatorCaller,
    now: datetime,
) -> Approval:
    """Keep one approval.

    Raises:
        ApprovalAhead: it bears a later day than today.
    """
    today = business_date(now)
    if paper.decided_on > today:
        raise ApprovalAhead(today=today.isoformat())
    approval = Approval(
        id=approval_id,
        application_id=application_id,
        extension_id=extension_id,
        kind=paper.kind,
        approver=paper.approver,
        document=paper.document,
        decided_on=paper.decided_on,
        recorded_by=operator.operator_id,
        recorded_at=now,
    )
    session.add(approval)
    session.flush()
    return approval


def withdraw(
    session: Session, *, application_id: UUID, operator: OperatorCaller, now: datetime
) -> tuple[Application, bool]:
    """Take an application back before any card is opened (撤回); again changes nothing.

    Raises:
        NotFound: no such application.
        ApplicationOpened: too late: there are cards.
    """
    application = lock(session, application_id)
    if application.state is ApplicationState.WITHDRAWN:
        return application, False
    if application.state is ApplicationState.OPENED:
        raise ApplicationOpened
    before = application.state
    application.state, application.withdrawn_at = ApplicationState.WITHDRAWN, now
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.withdraw",
        subject_id=application.id,
        now=now,
        before=before.value,
        after=application.state.value,
    )
    session.flush()
    return application, True


def find(session: Session, *, application_id: UUID) -> Application:
    """Return an application.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, Application, application_id)


def people_of(session: Session, application_id: UUID) -> Sequence[Applicant]:
    """Return the people of an application, as its list has them."""
    return session.scalars(
        select(Applicant)
        .where(Applicant.application_id == application_id)
        .order_by(Applicant.position)
    ).all()


def approvals_of(session: Session, application_id: UUID) -> Sequence[Approval]:
    """Return the approvals of an application itself."""
    return session.scalars(
        select(Approval)
        .where(Approval.application_id == application_id, Approval.extension_id.is_(None))
        .order_by(Approval.recorded_at)
    ).all()


def list_applications(
    session: Session,
    *,
    state: ApplicationState | None,
    oa_number: str | None = None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Application]:
    """Return applications, newest first: all, or those of one state or one flow of the OA."""
    query = select(Application)
    if state is not None:
        query = query.where(Application.state == state)
    if oa_number is not None:
        query = query.where(Application.oa_number == oa_number)
    return session.scalars(
        newest_first(query, Application.made_at, before=before, limit=limit)
    ).all()


def find_by_holder(session: Session, *, holder_id: UUID) -> UUID | None:
    """Return the application by which somebody became a holder, None where there was none."""
    return session.scalar(select(Applicant.application_id).where(Applicant.holder_id == holder_id))


def counts_of(session: Session, application_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """Return how many people are on each application, and how many of them have a card."""
    found = session.execute(
        select(Applicant.application_id, func.count(), func.count(Applicant.holder_id))
        .where(Applicant.application_id.in_(application_ids))
        .group_by(Applicant.application_id)
    )
    return {application_id: (people, opened) for application_id, people, opened in found}
