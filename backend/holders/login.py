"""Sessions (登录): a platform account comes in, and leaves at once when told to."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders.models import Binding, BindingState, HolderSession
from backend.http.auth import Unauthenticated
from backend.ids import new_id
from backend.operation_log.models import LogChannel
from backend.operation_log.service import UNBOUND, Actor
from backend.policies.service import Policies
from backend.sealing import Sealer, token_hash
from payments import PlatformAccount

IDLE = timedelta(days=7)
LONGEST = timedelta(days=30)
TOUCH_EVERY = timedelta(minutes=1)


class NotBound(DomainError, code="not-bound", kind=Kind.FORBIDDEN):
    """The platform account is not bound to a holder, or only half (实名绑定未完成)."""


class StepUpRequired(DomainError, code="step-up-required", kind=Kind.FORBIDDEN):
    """Log in again first.  Fact: `within_minutes`, how fresh the login has to be."""


class LoginCodeRefused(DomainError, code="login-code-refused", kind=Kind.CONFLICT):
    """The platform does not accept the login code: wrong, used, or too old."""


@dataclass(frozen=True, slots=True)
class HolderCaller:
    """Who calls with a holder's token."""

    session_id: UUID
    token: str
    platform: str
    account_index: bytes
    account_sealed: bytes
    logged_in_at: datetime
    binding: str
    """`none`, `identity_verified` or `active`."""
    bound_to: UUID | None

    @property
    def holder_id(self) -> UUID:
        """The holder, for everything that needs a finished binding.

        Raises:
            NotBound: the binding is missing or not finished.
        """
        if self.bound_to is None or self.binding != BindingState.ACTIVE:
            raise NotBound(binding=self.binding)
        return self.bound_to

    @property
    def actor(self) -> Actor:
        """This caller in the operation log."""
        return Actor(
            LogChannel.MINI_PROGRAM, f"holder:{self.bound_to}" if self.bound_to else UNBOUND
        )


def must_be_fresh(policies: Policies, *, logged_in_at: datetime, now: datetime) -> list[UUID]:
    """Refuse what a phone left unlocked must not do before its platform says anew whose it is.

    Returns the row of policies that says how fresh, for what is decided then.

    Raises:
        StepUpRequired: the login is older than `restore.step_up_minutes`.
    """
    minutes = policies["restore.step_up_minutes"]
    if now > logged_in_at + timedelta(minutes=minutes):
        raise StepUpRequired(within_minutes=minutes).decided_by(
            policies.used("restore.step_up_minutes")
        )
    return policies.used("restore.step_up_minutes")


def log_in(
    session: Session, *, platform: str, account: PlatformAccount, sealer: Sealer, now: datetime
) -> tuple[str, HolderSession]:
    """Open a session for a platform account and return its token, which is stored nowhere."""
    token = secrets.token_urlsafe(32)
    opened = HolderSession(
        id=new_id(),
        token_hash=token_hash(token),
        platform=platform,
        account_index=sealer.index("platform-account", f"{platform}:{account.account_id}"),
        account_sealed=sealer.seal("platform-account", account.account_id),
        created_at=now,
        used_at=now,
        ended_at=None,
        identity_sealed=None,
        identity_sealed_at=None,
    )
    session.add(opened)
    return token, opened


def authenticate(session: Session, token: str, now: datetime) -> HolderCaller:
    """Return who calls with a holder's token.

    Raises:
        Unauthenticated: the token is unknown, ended, idle for 7 days or older than 30.
    """
    row = session.execute(
        select(HolderSession, Binding.state, Binding.holder_id)
        .outerjoin(
            Binding,
            and_(
                Binding.account_index == HolderSession.account_index,
                Binding.state != BindingState.ENDED,
            ),
        )
        .where(HolderSession.token_hash == token_hash(token))
    ).one_or_none()
    if row is None:
        raise Unauthenticated
    found, state, holder_id = row
    if found.ended_at or now >= min(found.used_at + IDLE, found.created_at + LONGEST):
        raise Unauthenticated
    if now >= found.used_at + TOUCH_EVERY:
        found.used_at = now
    return HolderCaller(
        session_id=found.id,
        token=token,
        platform=found.platform,
        account_index=found.account_index,
        account_sealed=found.account_sealed,
        logged_in_at=found.created_at,
        binding=state.value if state else "none",
        bound_to=holder_id,
    )


def log_out(session: Session, *, session_id: UUID, now: datetime) -> None:
    """End one session."""
    session.execute(
        update(HolderSession).where(HolderSession.id == session_id).values(ended_at=now)
    )


def end_sessions(session: Session, *, account_index: bytes, now: datetime) -> None:
    """End every session of a platform account: their tokens are dead when this commits."""
    session.execute(
        update(HolderSession)
        .where(HolderSession.account_index == account_index, HolderSession.ended_at.is_(None))
        .values(ended_at=now, identity_sealed=None)
    )
