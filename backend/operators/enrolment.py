"""How a person comes to password and second factor (启用): with a token, good once, 15 minutes.

Nobody else ever knows the two: whoever hands the token out sees neither.
"""

import secrets
from datetime import datetime
from uuid import UUID

import pyotp
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.operators import rules, service
from backend.operators.changes import OperatorChangeNotPossible, OwnAccess
from backend.operators.models import Operator, OperatorEnrolment, OperatorState, Role
from backend.operators.service import LOGGED_AS, OperatorCaller, TotpWrong
from backend.rows import lock_row
from backend.sealing import Sealer, token_hash

ISSUER = "Campus Card"
"""Beside the user name in the person's authenticator."""


class OperatorEnrolmentRefused(DomainError, code="operator-enrolment-refused", kind=Kind.INVALID):
    """The token is unknown, used, replaced or older than 15 minutes."""


class PasswordWeak(DomainError, code="password-weak", kind=Kind.INVALID):
    """Too short, too well known, or too easy to guess.  Fact: `why`."""


class AlreadyFounded(Exception):
    """There is somebody of this role already: the rest are appointed by two people."""


def issue(
    session: Session, *, operator_id: UUID, issuer: OperatorCaller | None, now: datetime
) -> tuple[str, OperatorEnrolment]:
    """Give a token out for somebody whose access two people approved; a newer one ends the older.

    Locks the operator.

    Raises:
        NotFound: there is no such operator.
        OwnAccess: it is the issuer's own access.
        OperatorChangeNotPossible: the operator has both already, or is suspended.
    """
    operator = lock_row(session, Operator, operator_id)
    if issuer is not None and issuer.operator_id == operator_id:
        raise OwnAccess
    if operator.state is not OperatorState.INVITED:
        raise OperatorChangeNotPossible(change="enrol", state=operator.state.value)
    session.execute(
        update(OperatorEnrolment)
        .where(OperatorEnrolment.operator_id == operator_id, OperatorEnrolment.ended_at.is_(None))
        .values(ended_at=now)
    )
    token = secrets.token_urlsafe(24)
    issued = OperatorEnrolment(
        id=new_id(),
        operator_id=operator_id,
        token_hash=token_hash(token),
        issued_by=issuer and issuer.operator_id,
        expires_at=now + rules.ENROLMENT,
    )
    session.add(issued)
    operation_log.record(
        session,
        actor=issuer.actor if issuer else operation_log.SYSTEM,
        action="operator.invite",
        subject_id=operator_id,
        now=now,
    )
    return token, issued


def found(
    session: Session, *, username: str, name: str, role: Role, now: datetime
) -> tuple[str, OperatorEnrolment]:
    """Add the first person of a role that may appoint or approve others, and give out their token.

    As long as that person has not signed in, it can be done again: the newer token counts.

    Raises:
        AlreadyFounded: somebody of this role has set a password before.
    """
    session.execute(text("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE"))
    of_role = session.scalars(select(Operator).where(Operator.role == role)).all()
    if any(operator.state is not OperatorState.INVITED for operator in of_role):
        raise AlreadyFounded
    operator = next((known for known in of_role if known.username == username), None)
    if operator is None:
        if of_role or service.id_of(session, username=username) is not None:
            raise AlreadyFounded
        operator = Operator(
            id=new_id(),
            username=username,
            name=name,
            role=role,
            state=OperatorState.INVITED,
            last_totp_step=0,
        )
        session.add(operator)
        session.flush()
    return issue(session, operator_id=operator.id, issuer=None, now=now)


def choose(
    session: Session, *, token: str, password: str, sealer: Sealer, now: datetime
) -> tuple[Operator, str]:
    """Keep a password for later, and return a new secret for the authenticator.

    Done again, it is another secret, so that none is ever shown twice.  Locks the enrolment.

    Raises:
        OperatorEnrolmentRefused: the token is not good, or not any more.
        PasswordWeak: the password is not.
        ServiceUnavailable: too many passwords are being hashed.
    """
    enrolment, operator = _find(session, token, now)
    why = rules.password_fault(password, username=operator.username)
    if why is not None:
        raise PasswordWeak(why=why)
    with service.hashing() as hasher:
        enrolment.password_hash = hasher.hash(password)
    secret = pyotp.random_base32()
    enrolment.totp_sealed = sealer.seal("totp", secret)
    return operator, secret


def finish(session: Session, *, token: str, totp: str, sealer: Sealer, now: datetime) -> Operator:
    """Put password and secret in force once the authenticator shows the right code.

    Raises:
        OperatorEnrolmentRefused: the token is not good, or not any more.
        TotpWrong: it is not the code of the secret that was shown last.
    """
    enrolment, operator = _find(session, token, now)
    step = service.matching_step(enrolment.totp_sealed, totp, sealer=sealer, now=now)
    if step is None:
        raise TotpWrong
    operator.password_hash, operator.totp_sealed = enrolment.password_hash, enrolment.totp_sealed
    operator.last_totp_step, operator.state = step, OperatorState.ACTIVE
    enrolment.password_hash = enrolment.totp_sealed = None
    enrolment.ended_at = now
    operation_log.record(
        session,
        actor=Actor(LogChannel.COUNTER, f"{LOGGED_AS}{operator.id}"),
        action="operator.enrol",
        subject_id=operator.id,
        now=now,
    )
    return operator


def secret_uri(operator: Operator, secret: str) -> str:
    """Return what an authenticator reads from the QR code."""
    return pyotp.TOTP(secret, name=operator.username, issuer=ISSUER).provisioning_uri()


def _find(session: Session, token: str, now: datetime) -> tuple[OperatorEnrolment, Operator]:
    enrolment = session.scalars(
        select(OperatorEnrolment)
        .where(OperatorEnrolment.token_hash == token_hash(token))
        .with_for_update()
    ).one_or_none()
    if enrolment is None or enrolment.ended_at or now >= enrolment.expires_at:
        raise OperatorEnrolmentRefused
    operator = session.get_one(Operator, enrolment.operator_id, with_for_update=True)
    if operator.state is not OperatorState.INVITED:
        raise OperatorEnrolmentRefused
    return enrolment, operator
