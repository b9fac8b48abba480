"""Opening the cards of an approved application (开卡), a person at a time."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Date, cast, exists, func, select
from sqlalchemy.orm import Session

from backend.applications.models import Applicant, Application, ApplicationState, Fault
from backend.applications.rules import check_end, missing_approvals
from backend.applications.service import (
    ApplicationOpened,
    ApplicationWithdrawn,
    approvals_of,
    lock,
    people_of,
)
from backend.cards.models import Card, CardKind, CardState
from backend.cards.reopening import reopen
from backend.cards.rules import CardEvent
from backend.cards.service import (
    change_state,
    is_account_closed,
    list_cards,
    open_accounts,
    open_accounts_to_issue,
)
from backend.clock import SHANGHAI, business_date
from backend.db import transaction
from backend.errors import DomainError, IdReused, Kind
from backend.holders import category_changes, permissions
from backend.holders.models import DocumentKind, Holder, Identity, Permission
from backend.ids import new_id
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import Policies, policies_at
from backend.refunds import payout_lines

PAID = "application.paid_categories"


class ApplicationNotApproved(DomainError, code="application-not-approved", kind=Kind.CONFLICT):
    """An approval is missing.  Fact: `missing`, whose."""


class ReceiptNeeded(DomainError, code="receipt-needed", kind=Kind.CONFLICT):
    """These cards are paid for: the number of the receipt is missing."""


class ReceiptNumberUsed(DomainError, code="receipt-number-used", kind=Kind.CONFLICT):
    """The receipt paid for another application."""


def open_cards(
    *,
    application_id: UUID,
    opening_id: UUID,
    receipt_number: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> bool:
    """Open account and card for everybody of an application; say whether this call was the first.

    Each person is a transaction of their own.  A retry goes on with those who have no card yet, and
    opens nothing twice.  Somebody who is a holder already is left out, with the fault on record;
    whose account was closed gets it back, as what was applied for (复户).

    Raises:
        NotFound: no such application.
        IdReused: the id came before, with another receipt.
        ApplicationOpened: it was opened under another id.
        ApplicationWithdrawn, ApplicationNotApproved: as they say.
        PeriodNotPossible: its last day is over.
        ReceiptNeeded, ReceiptNumberUsed: the fee, which finance collects.
    """
    with transaction() as session:
        first = _begin(
            session,
            application_id=application_id,
            opening_id=opening_id,
            receipt_number=receipt_number,
            operator=operator,
            now=now,
        )
        ids = [one.id for one in people_of(session, application_id) if one.holder_id is None]
    for id_ in ids:
        with transaction() as session:
            _open(session, applicant_id=id_, operator=operator, now=now)
    return first


def _begin(
    session: Session,
    *,
    application_id: UUID,
    opening_id: UUID,
    receipt_number: str | None,
    operator: OperatorCaller,
    now: datetime,
) -> bool:
    application = lock(session, application_id)
    if application.opening_id is not None:
        if application.opening_id != opening_id:
            raise ApplicationOpened
        if application.receipt_number != receipt_number:
            raise IdReused
        return False
    if session.scalar(select(exists().where(Application.opening_id == opening_id))):
        raise IdReused
    if application.state is ApplicationState.WITHDRAWN:
        raise ApplicationWithdrawn
    missing = missing_approvals([one.kind for one in approvals_of(session, application_id)])
    if missing:
        raise ApplicationNotApproved(missing=[kind.value for kind in missing])
    check_end(application.valid_until, first=business_date(now))
    policies = policies_at(session, now)
    if receipt_number is None and is_paid_for(application, policies):
        raise ReceiptNeeded().decided_by(policies.used(PAID))
    if receipt_number is not None and session.scalar(
        select(exists().where(Application.receipt_number == receipt_number))
    ):
        raise ReceiptNumberUsed
    before = application.state
    application.state = ApplicationState.OPENED
    application.opening_id, application.opened_at = opening_id, now
    application.receipt_number = receipt_number
    application.policy_ids = [str(id_) for id_ in policies.used(PAID)]
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.open",
        subject_id=application.id,
        now=now,
        before=before.value,
        after=application.state.value,
        receipt_number=receipt_number,
        policy_ids=policies.used(PAID),
        opening_id=str(opening_id),
    )
    session.flush()
    return True


def is_paid_for(application: Application, policies: Policies) -> bool:
    """Say whether finance collects a fee for these cards (工本费), so that a receipt is needed."""
    return application.category.value in policies[PAID]


def _open(session: Session, *, applicant_id: UUID, operator: OperatorCaller, now: datetime) -> None:
    applicant = session.get_one(
        Applicant, applicant_id, with_for_update=True, populate_existing=True
    )
    if applicant.holder_id is not None:
        return
    application = session.get_one(Application, applicant.application_id)
    begun = application.valid_from <= business_date(now)
    holder = _known(session, applicant)
    if holder is None and _is_known_otherwise(session, applicant):
        applicant.fault = Fault.NUMBER_KNOWN
        return
    if holder is not None:
        if not _may_come_back(session, holder):
            applicant.fault = Fault.HOLDER_KNOWN
            return
        _let_come_back(session, application, applicant, holder, operator=operator, now=now)
    else:
        holder = _holder(application, applicant)
        session.add(holder)
        session.flush()
        opening = open_accounts if begun else open_accounts_to_issue
        opening(session, [holder.id], actor=operator.actor, now=now)
    policies = policies_at(session, now)
    _permit(session, application, holder, policies=policies, operator=operator, now=now)
    applicant.holder_id, applicant.fault = holder.id, None
    notices.tell(session, holder_id=holder.id, kind="card-issued", now=now)
    operation_log.record(
        session,
        actor=operator.actor,
        action="application.open_card",
        holder_id=holder.id,
        subject_id=applicant.id,
        now=now,
        after={"category": holder.category.value, "valid_until": holder.valid_until.isoformat()},
        documents=["id_document"] if applicant.document_index else [],
        receipt_number=application.receipt_number,
        policy_ids=[
            *(UUID(id_) for id_ in application.policy_ids),
            *permissions.rows_for(policies, holder.category),
        ],
        application_id=str(application.id),
    )
    session.flush()


def fault_of(session: Session, applicant: Applicant) -> Fault | None:
    """Return why somebody would get no card if the cards were opened now, None where they would."""
    holder = _known(session, applicant)
    if holder is not None:
        return None if _may_come_back(session, holder) else Fault.HOLDER_KNOWN
    return Fault.NUMBER_KNOWN if _is_known_otherwise(session, applicant) else None


def _known(session: Session, applicant: Applicant) -> Holder | None:
    if applicant.document_index is None:
        return None
    known = select(Holder).where(Holder.document_index == applicant.document_index)
    return session.scalars(known).one_or_none()


def _is_known_otherwise(session: Session, applicant: Applicant) -> bool:
    """Say whether a holder has the number under another kind of document.

    Two documents of one person have two numbers, and their hashes have nothing in common: nobody
    can find that here.
    """
    indexes = [bytes.fromhex(index) for index in applicant.other_indexes or ()]
    return bool(indexes) and bool(
        session.scalar(select(exists().where(Holder.document_index.in_(indexes))))
    )


def _may_come_back(session: Session, holder: Holder) -> bool:
    """Say whether a holder's account is closed, with nothing of it owed or waiting (复户)."""
    states = {card.state for card in list_cards(session, holder_id=holder.id)}
    return (
        CardState.CLOSING not in states
        and is_account_closed(session, holder_id=holder.id)
        and not payout_lines.is_owed(session, holder_id=holder.id)
        and not category_changes.is_waiting(session, holder_id=holder.id)
    )


def _let_come_back(
    session: Session,
    application: Application,
    applicant: Applicant,
    holder: Holder,
    *,
    operator: OperatorCaller,
    now: datetime,
) -> None:
    """Make somebody who was here before the kind of holder that was applied for, and open again."""
    category_changes.schedule(
        session,
        change_id=new_id(),
        holder_id=holder.id,
        category=application.category,
        employment=None,
        unit=applicant.unit,
        holder_number=applicant.holder_number,
        from_day=business_date(now),
        valid_until=application.valid_until,
        document_number=application.oa_number,
        actor=operator.actor,
        now=now,
    )
    holder.pays_surcharge = application.pays_surcharge
    begun = application.valid_from <= business_date(now)
    reopen(
        session,
        holder_id=holder.id,
        state=CardState.ACTIVE if begun else CardState.PENDING,
        actor=operator.actor,
        now=now,
        oa_number=application.oa_number,
    )


def _holder(application: Application, applicant: Applicant) -> Holder:
    """Return the person as a holder; without a document registered (记名), so no phone, 五(一)."""
    shown = applicant.document_index is not None
    return Holder(
        id=new_id(),
        holder_number=applicant.holder_number,
        name=applicant.name,
        category=application.category,
        unit=applicant.unit,
        identity=Identity.REAL_NAME if shown else Identity.REGISTERED,
        document_kind=applicant.document_kind or DocumentKind.UNSPECIFIED,
        document_index=applicant.document_index,
        document_tail_index=applicant.document_tail_index,
        pays_surcharge=application.pays_surcharge,
        valid_until=application.valid_until,
        per_charge_limit_fen=None,
        per_day_limit_fen=None,
        raised_limits=None,
        payment_paused=False,
    )


def _permit(
    session: Session,
    application: Application,
    holder: Holder,
    *,
    policies: Policies,
    operator: OperatorCaller,
    now: datetime,
) -> None:
    """Let the card do what was applied for: exceptions where the category says otherwise."""
    permissions.work_out(session, policies=policies, now=now, holder_ids=[holder.id])
    session.refresh(holder)
    for permission in Permission:
        allowed = permission.value in application.permissions
        if allowed == (permission.value in holder.denied):
            permissions.make_override(
                session,
                override_id=new_id(),
                holder_id=holder.id,
                permission=permission,
                allowed=allowed,
                reason=application.purpose,
                document_number=application.oa_number,
                until=None,
                actor=operator.actor,
                now=now,
            )


def begin_due(*, now: datetime) -> int:
    """Make the cards active that were opened ahead and begin today; return how many.

    Only an application that is older than its first day opens a card ahead: of somebody who came
    back (复户) the earlier ones say nothing, nor of a card that the counter has to hand out.
    """
    today = business_date(now)
    opened_on = cast(func.timezone(SHANGHAI.key, Card.created_at), Date)
    with transaction() as session:
        due = session.scalars(
            select(Card)
            .join(Holder, Holder.id == Card.holder_id)
            .join(Applicant, Applicant.holder_id == Holder.id)
            .join(Application, Application.id == Applicant.application_id)
            .where(
                Card.kind == CardKind.PHYSICAL,
                Card.state == CardState.PENDING,
                Application.valid_from <= today,
                Application.valid_from > opened_on,
                Holder.valid_until >= today,
            )
            .distinct()
        ).all()
        for card in due:
            change_state(
                session, card=card, event=CardEvent.ACTIVATE, actor=operation_log.SYSTEM, now=now
            )
    return len(due)
