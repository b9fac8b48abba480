"""Operators (操作员): log in with password and one-time code, once per code."""

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from threading import BoundedSemaphore
from uuid import UUID

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind, ServiceUnavailable
from backend.http.auth import Unauthenticated, caller
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel, LogEntry
from backend.operation_log.service import Actor
from backend.operators.models import (
    Operator,
    OperatorSession,
    OperatorState,
    OperatorTry,
    Role,
)
from backend.operators.rules import CONFIRMED_FOR
from backend.sealing import Sealer, token_hash

IDLE = timedelta(minutes=15)
LONGEST = timedelta(hours=8)
TOTP_STEP_SECONDS = 30
LOGGED_AS = "operator:"
"""Before an operator's id, in the operation log."""
LATE_SECONDS = 5
"""A code of the step before is taken for so long into the next: people type slowly."""
TRIES = 5
TRIES_WITHIN = timedelta(minutes=15)
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
HASHED_AT_ONCE = 4
"""By one process: each takes 19 MiB, and whoever sends many logins must not take all there is."""
HASHING_SECONDS = 5
_hashing = BoundedSemaphore(HASHED_AT_ONCE)


@contextmanager
def hashing() -> Iterator[PasswordHasher]:
    """Wait for one of the few places at which passwords are hashed.

    Raises:
        ServiceUnavailable: all are taken for too long.
    """
    if not _hashing.acquire(timeout=HASHING_SECONDS):
        raise ServiceUnavailable
    try:
        yield HASHER
    finally:
        _hashing.release()


@cache
def nobody() -> str:
    """Return the hash that an unknown user name is checked against: time tells nothing."""
    return HASHER.hash(secrets.token_hex())


class OperatorNotKnown(DomainError, code="operator-not-known", kind=Kind.UNAUTHENTICATED):
    """User name, password and one-time code do not belong together."""


class OperatorLocked(DomainError, code="operator-locked", kind=Kind.RATE_LIMITED):
    """Too many failed logins under this user name.  Fact: `retry_after`, seconds."""


class RoleNotAllowed(DomainError, code="role-not-allowed", kind=Kind.FORBIDDEN):
    """The operator's role does not cover this.  Fact: `roles`, which do."""


class ConfirmationNeeded(DomainError, code="confirmation-needed", kind=Kind.FORBIDDEN):
    """A one-time code has to be shown anew.  Fact: `within_minutes`."""


class TotpWrong(DomainError, code="totp-wrong", kind=Kind.INVALID):
    """That is not the code of now, or it was used."""


@dataclass(frozen=True, slots=True)
class OperatorCaller:
    """Who calls with an operator's token."""

    operator_id: UUID
    session_id: UUID
    username: str
    role: Role
    confirmed_at: datetime

    def must_have_confirmed(self, now: datetime) -> None:
        """Refuse what moves money or shows names unless a one-time code was shown just now.

        Raises:
            ConfirmationNeeded: the last one is older than five minutes.
        """
        if now >= self.confirmed_at + CONFIRMED_FOR:
            raise ConfirmationNeeded(within_minutes=int(CONFIRMED_FOR.total_seconds()) // 60)

    def must_be(self, *roles: Role) -> None:
        """Refuse what other roles are for.

        Raises:
            RoleNotAllowed: this operator has another role.
        """
        if self.role not in roles:
            raise RoleNotAllowed(roles=[role.value for role in roles])

    @property
    def actor(self) -> Actor:
        """This operator in the operation log."""
        return Actor(LogChannel.COUNTER, f"{LOGGED_AS}{self.operator_id}")


def caller_in(*roles: Role) -> OperatorCaller:
    """Return the operator who calls, where the role covers it.

    Raises:
        RoleNotAllowed: this operator has another role.
    """
    who: OperatorCaller = caller()
    who.must_be(*roles)
    return who


def add_operator(
    session: Session,
    *,
    username: str,
    role: Role,
    password: str,
    totp_secret: str,
    sealer: Sealer,
    name: str | None = None,
) -> Operator:
    """Add a person of the staff who may sign in at once: for the demo and for tests.

    Everybody else is appointed by two people and sets the secrets alone: see `changes`.
    """
    operator = Operator(
        id=new_id(),
        username=username,
        name=name or username,
        role=role,
        state=OperatorState.ACTIVE,
        password_hash=HASHER.hash(password),
        totp_sealed=sealer.seal("totp", totp_secret),
        last_totp_step=0,
    )
    session.add(operator)
    return operator


def check_tries(session: Session, *, username: str, sealer: Sealer, now: datetime) -> None:
    """Refuse a user name under which too many logins failed.

    Raises:
        OperatorLocked: five failed within 15 minutes.
    """
    index = sealer.index("operator", username)
    failed, oldest = session.execute(
        select(func.count(), func.min(OperatorTry.at)).where(
            OperatorTry.username_index == index, OperatorTry.at > now - TRIES_WITHIN
        )
    ).one()
    if failed >= TRIES:
        raise OperatorLocked(retry_after=max(1, int((oldest + TRIES_WITHIN - now).total_seconds())))


def count_failure(session: Session, *, username: str, sealer: Sealer, now: datetime) -> None:
    """Count a failed login, in a transaction of its own."""
    session.add(OperatorTry(id=new_id(), username_index=sealer.index("operator", username), at=now))


def log_in(
    session: Session, *, username: str, password: str, totp: str, sealer: Sealer, now: datetime
) -> tuple[str, OperatorSession, Operator]:
    """Open a session for an operator and return its token.

    Locks the operator's row: one code logs in once, whoever tries at the same moment.

    Raises:
        OperatorNotKnown: says nothing of which part is wrong.
    """
    operator = session.scalars(
        select(Operator).where(Operator.username == username).with_for_update()
    ).one_or_none()
    if operator is not None and operator.state is not OperatorState.ACTIVE:
        operator = None
    known = (operator and operator.password_hash) or nobody()
    with hashing() as hasher:
        try:
            hasher.verify(known, password)
        except Argon2Error as error:
            raise OperatorNotKnown from error
        if operator is None or not _use_code(operator, totp, sealer=sealer, now=now):
            raise OperatorNotKnown
        if hasher.check_needs_rehash(known):
            operator.password_hash = hasher.hash(password)
    token, opened = open_session(session, operator_id=operator.id, now=now)
    return token, opened, operator


def open_session(
    session: Session, *, operator_id: UUID, now: datetime
) -> tuple[str, OperatorSession]:
    """Open a session for whoever has shown who they are, and return its token."""
    token = secrets.token_urlsafe(32)
    opened = OperatorSession(
        id=new_id(),
        token_hash=token_hash(token),
        operator_id=operator_id,
        created_at=now,
        confirmed_at=now,
        used_at=now,
        ended_at=None,
    )
    session.add(opened)
    operation_log.record(
        session,
        actor=Actor(LogChannel.COUNTER, f"{LOGGED_AS}{operator_id}"),
        action="operator.log_in",
        subject_id=opened.id,
        now=now,
    )
    return token, opened


def confirm(
    session: Session, *, caller: OperatorCaller, totp: str, sealer: Sealer, now: datetime
) -> datetime:
    """Note that whoever is signed in shows a one-time code anew; return until when that is good.

    Locks the operator's row, as `log_in` does.

    Raises:
        TotpWrong: it is not the code of now, or it was used.
    """
    operator = session.get_one(Operator, caller.operator_id, with_for_update=True)
    if not _use_code(operator, totp, sealer=sealer, now=now):
        raise TotpWrong
    session.execute(
        update(OperatorSession)
        .where(OperatorSession.id == caller.session_id)
        .values(confirmed_at=now)
    )
    operation_log.record(
        session,
        actor=caller.actor,
        action="operator.confirm",
        subject_id=caller.session_id,
        now=now,
    )
    return now + CONFIRMED_FOR


def _use_code(operator: Operator, totp: str, *, sealer: Sealer, now: datetime) -> bool:
    """Use a one-time code up; say whether it was right and had not been used."""
    step = matching_step(operator.totp_sealed, totp, sealer=sealer, now=now)
    if step is None or step <= operator.last_totp_step:
        return False
    operator.last_totp_step = step
    return True


def matching_step(
    totp_sealed: bytes | None, totp: str, *, sealer: Sealer, now: datetime
) -> int | None:
    """Return the step whose code this is: the present one, or the one just past."""
    secret = sealer.unseal("totp", totp_sealed) if totp_sealed else None
    if secret is None:
        return None
    moment = int(now.timestamp())
    steps = [moment // TOTP_STEP_SECONDS]
    if moment % TOTP_STEP_SECONDS < LATE_SECONDS:
        steps.append(steps[0] - 1)
    code = pyotp.TOTP(secret)
    return next(
        (s for s in steps if secrets.compare_digest(code.at(s * TOTP_STEP_SECONDS), totp)), None
    )


def authenticate(session: Session, token: str, now: datetime) -> OperatorCaller:
    """Return which operator calls.

    Raises:
        Unauthenticated: the token is unknown, ended, idle for 15 minutes or 8 hours old, or its
            operator may not sign in any more.
    """
    row = session.execute(
        select(OperatorSession, Operator)
        .join(Operator, Operator.id == OperatorSession.operator_id)
        .where(OperatorSession.token_hash == token_hash(token))
    ).one_or_none()
    if row is None:
        raise Unauthenticated
    opened, operator = row
    if operator.state is not OperatorState.ACTIVE:
        raise Unauthenticated
    if opened.ended_at or now >= min(opened.used_at + IDLE, opened.created_at + LONGEST):
        raise Unauthenticated
    opened.used_at = now
    return OperatorCaller(
        operator.id, opened.id, operator.username, operator.role, opened.confirmed_at
    )


def log_out(session: Session, *, session_id: UUID, now: datetime) -> None:
    """End one session."""
    session.execute(
        update(OperatorSession).where(OperatorSession.id == session_id).values(ended_at=now)
    )


def end_sessions(session: Session, *, operator_id: UUID, now: datetime) -> None:
    """End every session of an operator: the tokens are dead when this commits."""
    session.execute(
        update(OperatorSession)
        .where(OperatorSession.operator_id == operator_id, OperatorSession.ended_at.is_(None))
        .values(ended_at=now)
    )


def id_in_log(actor: str) -> UUID | None:
    """Return which operator the log means by an actor; None for anybody else, and for nonsense.

    >>> id_in_log("operator:x"), id_in_log("system")
    (None, None)
    """
    try:
        return UUID(actor.removeprefix(LOGGED_AS)) if actor.startswith(LOGGED_AS) else None
    except ValueError:
        return None


def names_in_log(session: Session, entries: Collection[LogEntry]) -> dict[str, str]:
    """Return the user names of the operators among those who acted, by what the log calls them."""
    ids = {id_ for id_ in (id_in_log(entry.actor) for entry in entries) if id_}
    return {f"{LOGGED_AS}{id_}": name for id_, name in usernames(session, ids).items()}


def usernames(session: Session, operator_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the user names of some operators."""
    rows = session.execute(
        select(Operator.id, Operator.username).where(Operator.id.in_(operator_ids))
    )
    return {row.id: row.username for row in rows}


def id_of(session: Session, *, username: str) -> UUID | None:
    """Return the id of the operator with this user name, or None."""
    return session.scalar(select(Operator.id).where(Operator.username == username))
