"""Who works here, and as what (权限变更): one person makes a change, another approves it.

Suspending is the exception: it takes one person and holds at once, as reporting a card lost does.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.operation_log import service as operation_log
from backend.operators import rules, service
from backend.operators.models import ChangeKind, Operator, OperatorChange, OperatorState, Role
from backend.operators.second_person import is_decided
from backend.operators.service import OperatorCaller
from backend.rows import find_row, first_answer, lock_id, lock_row


class OwnAccess(DomainError, code="own-access", kind=Kind.CONFLICT):
    """Nobody changes or decides on his own access."""


class UsernameTaken(DomainError, code="username-taken", kind=Kind.CONFLICT):
    """Another operator has this user name."""


class OperatorChangeWaits(DomainError, code="operator-change-waits", kind=Kind.CONFLICT):
    """Another change of this operator waits for the second person.  Fact: `change_id`."""


class OperatorChangeNotPossible(
    DomainError, code="operator-change-not-possible", kind=Kind.CONFLICT
):
    """The operator's state is against it.  Facts: `change`, `state`."""


class OperatorChangeDecided(DomainError, code="operator-change-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `approved`."""


class LastAdministrator(DomainError, code="last-administrator", kind=Kind.CONFLICT):
    """Without this system administrator nobody could manage operators any more."""


def appoint(
    session: Session,
    *,
    operator_id: UUID,
    username: str,
    name: str,
    role: Role,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[OperatorChange, bool]:
    """Propose somebody new; the change has the operator's id.  Say whether this call was first.

    Raises:
        NotFound: somebody else made something else under this id.
        IdReused: `operator_id` came before with other content.
        UsernameTaken: an operator or another appointment has the user name.
    """
    return _make(
        session,
        OperatorChange(
            id=operator_id,
            operator_id=operator_id,
            kind=ChangeKind.APPOINT,
            username=username,
            name=name,
            role=role,
            made_by=maker.operator_id,
            made_at=now,
        ),
        maker,
        now=now,
    )


def change(
    session: Session,
    *,
    change_id: UUID,
    operator_id: UUID,
    kind: ChangeKind,
    role: Role | None,
    maker: OperatorCaller,
    now: datetime,
) -> tuple[OperatorChange, bool]:
    """Propose a change of somebody who is there, or suspend them; say whether this call was first.

    Raises:
        NotFound: there is no such operator, or the id stands for a change of another one.
        IdReused: `change_id` came before with other content, or from somebody else.
        OwnAccess: it is the caller's own access.
        OperatorChangeNotPossible: the operator's state is against it.
        OperatorChangeWaits: another change waits for the second person.
        LastAdministrator: nobody could manage operators any more.
    """
    made = OperatorChange(
        id=change_id,
        operator_id=operator_id,
        kind=kind,
        role=role if kind is ChangeKind.CHANGE_ROLE else None,
        made_by=maker.operator_id,
        made_at=now,
    )
    return _make(session, made, maker, now=now)


def _make(
    session: Session, made: OperatorChange, maker: OperatorCaller, *, now: datetime
) -> tuple[OperatorChange, bool]:
    lock_id(session, made.operator_id)
    lock_id(session, made.id)
    earlier = first_answer(
        session,
        OperatorChange,
        made.id,
        owner={"operator_id": made.operator_id},
        kind=made.kind,
        username=made.username,
        name=made.name,
        role=made.role,
        made_by=made.made_by,
    )
    if earlier is not None:
        return earlier, False
    if made.operator_id == maker.operator_id:
        raise OwnAccess
    if made.kind is ChangeKind.APPOINT:
        _username_must_be_free(session, made)
    else:
        _must_be_possible(session, made)
    if made.kind is ChangeKind.SUSPEND:
        _withdraw_waiting(session, made, now=now)
        made.approved, made.decided_at = True, now
        session.add(made)
        _apply(session, made, now=now)
    else:
        waiting = _waiting(session, made.operator_id)
        if waiting is not None:
            raise OperatorChangeWaits(change_id=str(waiting.id))
        session.add(made)
    _log(session, made, "operator.change_make", maker, now=now)
    return made, True


def _username_must_be_free(session: Session, made: OperatorChange) -> None:
    if service.id_of(session, username=made.username or "") is not None:
        raise UsernameTaken
    waiting = select(OperatorChange.id).where(
        OperatorChange.username == made.username,
        OperatorChange.approved.is_(None),
        OperatorChange.id != made.id,
    )
    if session.scalar(waiting) is not None:
        raise UsernameTaken


def _waiting(session: Session, operator_id: UUID) -> OperatorChange | None:
    return session.scalars(
        select(OperatorChange).where(
            OperatorChange.operator_id == operator_id, OperatorChange.approved.is_(None)
        )
    ).one_or_none()


def _withdraw_waiting(session: Session, made: OperatorChange, *, now: datetime) -> None:
    """Let what waits go no further: whoever is suspended gets nothing by an older proposal."""
    waiting = _waiting(session, made.operator_id)
    if waiting is not None:
        waiting.approved, waiting.decided_at = False, now
        session.flush()


def _must_be_possible(session: Session, made: OperatorChange) -> Operator:
    """Lock the operator, and every administrator before one of them goes; refuse what cannot be."""
    operator = find_row(session, Operator, made.operator_id)
    administrators = session.scalars(
        select(Operator)
        .where((Operator.role == Role.SYSTEM_ADMINISTRATOR) | (Operator.id == made.operator_id))
        .order_by(Operator.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if operator.state not in rules.FROM[made.kind]:
        raise OperatorChangeNotPossible(change=made.kind.value, state=operator.state.value)
    goes = operator.role is Role.SYSTEM_ADMINISTRATOR and (
        made.kind is ChangeKind.SUSPEND
        or (made.kind is ChangeKind.CHANGE_ROLE and made.role is not operator.role)
    )
    if goes and not any(
        other.role is Role.SYSTEM_ADMINISTRATOR
        and other.state is OperatorState.ACTIVE
        and other.id != operator.id
        for other in administrators
    ):
        raise LastAdministrator
    return operator


def decide(
    session: Session,
    *,
    change_id: UUID,
    operator_id: UUID,
    approve: bool,
    checker: OperatorCaller,
    now: datetime,
) -> tuple[OperatorChange, bool]:
    """Approve a change, which puts it in force, or refuse it; say whether this call was first.

    The database itself refuses one person for both, and anybody for himself.

    Raises:
        NotFound: there is no such change of this operator.
        OperatorChangeDecided: it was decided otherwise.
        SecondPersonNeeded: the caller made it.
        OwnAccess: it is about the caller.
        UsernameTaken: somebody else has it by now.
        OperatorChangeNotPossible: the operator's state is against it by now.
        LastAdministrator: nobody could manage operators any more.
    """
    lock_id(session, operator_id)
    made = lock_row(session, OperatorChange, change_id, operator_id=operator_id)
    if is_decided(
        made.approved,
        approve=approve,
        otherwise=OperatorChangeDecided,
        checker=checker.operator_id,
        made_by=made.made_by,
    ):
        return made, False
    if operator_id == checker.operator_id:
        raise OwnAccess
    if approve:
        if made.kind is ChangeKind.APPOINT:
            _username_must_be_free(session, made)
        else:
            _must_be_possible(session, made)
        _apply(session, made, now=now)
    made.approved, made.approved_by, made.decided_at = approve, checker.operator_id, now
    action = "operator.change_approve" if approve else "operator.change_refuse"
    _log(session, made, action, checker, now=now)
    return made, True


def _apply(session: Session, made: OperatorChange, *, now: datetime) -> None:
    operator = session.get(Operator, made.operator_id)
    if operator is None:
        session.add(
            Operator(
                id=made.operator_id,
                username=made.username,
                name=made.name,
                role=made.role,
                state=OperatorState.INVITED,
                last_totp_step=0,
            )
        )
        return
    operator.role = made.role or operator.role
    operator.state = rules.TO.get(made.kind, operator.state)
    if operator.state is not OperatorState.ACTIVE:
        operator.password_hash = operator.totp_sealed = None
    service.end_sessions(session, operator_id=operator.id, now=now)


def _log(
    session: Session,
    made: OperatorChange,
    action: str,
    operator: OperatorCaller,
    *,
    now: datetime,
) -> None:
    operation_log.record(
        session,
        actor=operator.actor,
        action=action,
        subject_id=made.operator_id,
        now=now,
        change=made.kind.value,
        change_id=str(made.id),
        role=made.role and made.role.value,
    )


def list_operators(session: Session) -> Sequence[Operator]:
    """Return everybody who works here or did, by user name."""
    return session.scalars(select(Operator).order_by(Operator.username)).all()


def list_changes(
    session: Session, *, waiting: bool = False, limit: int
) -> Sequence[OperatorChange]:
    """Return changes, newest first; those that wait for a second person, where only they count."""
    query = select(OperatorChange).order_by(OperatorChange.made_at.desc()).limit(limit)
    if waiting:
        query = query.where(OperatorChange.approved.is_(None))
    return session.scalars(query).all()
