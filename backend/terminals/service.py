"""Terminals (终端): enrolled once, known by a token that can be rolled and revoked."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import rfc3339
from backend.errors import DomainError, Kind, NotFound
from backend.http.auth import Unauthenticated
from backend.ids import new_id
from backend.ledger.models import Account
from backend.merchants.models import Merchant, Stall
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.sealing import token_hash
from backend.terminals.models import Reader, Terminal, TerminalKind

ENROLMENT_LIFE = timedelta(minutes=15)
SEEN_EVERY = timedelta(seconds=30)
SILENT_AFTER = timedelta(minutes=5)
"""After so long without a word, somebody should look."""


class EnrolmentRefused(DomainError, code="enrolment-refused", kind=Kind.FORBIDDEN):
    """The enrolment token is unknown, used, or older than 15 minutes."""


class TerminalNotAllowed(DomainError, code="terminal-not-allowed", kind=Kind.FORBIDDEN):
    """This kind of terminal does not do that.  Fact: `kind`."""


@dataclass(frozen=True, slots=True)
class TerminalCaller:
    """Who calls with a terminal's token."""

    terminal_id: UUID
    kind: TerminalKind
    place: str
    reader: Reader
    merchant_id: UUID | None
    merchant: str | None
    stall: str | None
    is_canteen: bool
    merchant_account_id: UUID | None

    def must_be(self, kind: TerminalKind) -> None:
        """Refuse what another kind of terminal is for.

        Raises:
            TerminalNotAllowed: this terminal is of another kind.
        """
        if self.kind is not kind:
            raise TerminalNotAllowed(kind=self.kind.value)

    @property
    def actor(self) -> Actor:
        """This terminal in the operation log."""
        channel = LogChannel.KIOSK if self.kind is TerminalKind.KIOSK else LogChannel.TERMINAL
        return Actor(channel, f"terminal:{self.terminal_id}")


def register(
    session: Session,
    *,
    kind: TerminalKind,
    place: str,
    reader: Reader,
    stall: Stall | None,
    actor: Actor,
    now: datetime,
) -> Terminal:
    """Register a place where a terminal will stand.  It can do nothing until it is enrolled."""
    terminal = Terminal(
        id=new_id(),
        kind=kind,
        place=place,
        stall_id=stall.id if stall else None,
        reader=reader,
    )
    session.add(terminal)
    session.flush()
    operation_log.record(
        session,
        actor=actor,
        action="terminal.register",
        subject_id=terminal.id,
        now=now,
        kind=kind.value,
        place=place,
    )
    return terminal


def invite(session: Session, *, terminal_id: UUID, actor: Actor, now: datetime) -> str:
    """Return a token with which a device can enrol as this terminal, once, within 15 minutes.

    Raises:
        NotFound: there is no such terminal, or it is revoked.
    """
    terminal = session.get(Terminal, terminal_id, with_for_update=True)
    if terminal is None or terminal.revoked_at is not None:
        raise NotFound
    token = secrets.token_urlsafe(24)
    terminal.enrolment_hash = token_hash(token)
    terminal.enrolment_expires_at = now + ENROLMENT_LIFE
    operation_log.record(
        session, actor=actor, action="terminal.invite", subject_id=terminal.id, now=now
    )
    return token


def enrol(
    session: Session, *, enrolment_token: str, software: str, now: datetime
) -> tuple[Terminal, str]:
    """Make a device the terminal that its one-time token names; return its token from now on.

    An older token of the same terminal is dead at once.

    Raises:
        EnrolmentRefused: the token is unknown, used or too old.
    """
    terminal = session.scalars(
        select(Terminal)
        .where(Terminal.enrolment_hash == token_hash(enrolment_token))
        .with_for_update()
    ).one_or_none()
    if (
        terminal is None
        or terminal.revoked_at is not None
        or terminal.enrolment_expires_at is None
        or now >= terminal.enrolment_expires_at
    ):
        raise EnrolmentRefused
    terminal.enrolment_hash = terminal.enrolment_expires_at = None
    terminal.software = software
    terminal.enrolled_at = terminal.last_seen_at = now
    token = _new_token(terminal)
    operation_log.record(
        session,
        actor=Actor(LogChannel.TERMINAL, f"terminal:{terminal.id}"),
        action="terminal.enrol",
        subject_id=terminal.id,
        now=now,
        software=software,
    )
    return terminal, token


def roll(session: Session, *, caller: TerminalCaller, now: datetime) -> str:
    """Return a new token for the calling terminal; the old one is dead when this commits."""
    terminal = session.get_one(Terminal, caller.terminal_id, with_for_update=True)
    operation_log.record(
        session, actor=caller.actor, action="terminal.roll", subject_id=terminal.id, now=now
    )
    return _new_token(terminal)


def revoke(session: Session, *, terminal_id: UUID, actor: Actor, now: datetime) -> None:
    """Shut a terminal out for ever.  Idempotent.

    Raises:
        NotFound: there is no such terminal.
    """
    terminal = session.get(Terminal, terminal_id, with_for_update=True)
    if terminal is None:
        raise NotFound
    if terminal.revoked_at is None:
        terminal.revoked_at, terminal.token_hash, terminal.enrolment_hash = now, None, None
        operation_log.record(
            session, actor=actor, action="terminal.revoke", subject_id=terminal.id, now=now
        )


def _new_token(terminal: Terminal) -> str:
    token = secrets.token_urlsafe(32)
    terminal.token_hash = token_hash(token)
    return token


def authenticate(session: Session, token: str, now: datetime) -> TerminalCaller:
    """Return which terminal calls.

    Raises:
        Unauthenticated: no terminal in service has this token.
    """
    terminal = session.scalars(
        select(Terminal).where(
            Terminal.token_hash == token_hash(token), Terminal.revoked_at.is_(None)
        )
    ).one_or_none()
    if terminal is None:
        raise Unauthenticated
    if terminal.last_seen_at is None or now >= terminal.last_seen_at + SEEN_EVERY:
        terminal.last_seen_at = now
    return caller_of(session, terminal)


def caller_of(session: Session, terminal: Terminal) -> TerminalCaller:
    """Return a terminal as the one who calls, with the merchant that it sells for."""
    row = session.execute(
        select(Merchant.id, Merchant.name, Stall.name, Merchant.is_canteen, Account.id)
        .join(Stall, Stall.merchant_id == Merchant.id)
        .join(Account, Account.merchant_id == Merchant.id)
        .where(Stall.id == terminal.stall_id)
    ).one_or_none()
    merchant_id, merchant, stall, is_canteen, merchant_account_id = row or (None,) * 5
    return TerminalCaller(
        terminal_id=terminal.id,
        kind=terminal.kind,
        place=terminal.place,
        reader=terminal.reader,
        merchant_id=merchant_id,
        merchant=merchant,
        stall=stall,
        is_canteen=bool(is_canteen),
        merchant_account_id=merchant_account_id,
    )


def terminals_informed(session: Session, *, now: datetime) -> list[dict[str, Any]]:
    """Return which terminals refuse a card from now on: every one, as each asks for each scan."""
    rows = session.scalars(
        select(Terminal)
        .where(Terminal.token_hash.is_not(None), Terminal.revoked_at.is_(None))
        .order_by(Terminal.place)
    )
    return [
        {
            "terminal_id": str(terminal.id),
            "kind": terminal.kind.value,
            "place": terminal.place,
            "has_it": True,
            "since": rfc3339(now),
        }
        for terminal in rows
    ]


def note_alive(
    session: Session, *, caller: TerminalCaller, software: str | None, now: datetime
) -> None:
    """Note that a terminal was heard of, and what it runs."""
    terminal = session.get_one(Terminal, caller.terminal_id)
    terminal.last_seen_at = now
    terminal.software = software or terminal.software


def list_all(session: Session) -> Sequence[Terminal]:
    """Return every terminal, by place."""
    return session.scalars(select(Terminal).order_by(Terminal.place)).all()


def find(session: Session, *, terminal_id: UUID) -> Terminal:
    """Return one terminal.

    Raises:
        NotFound: there is no such terminal.
    """
    terminal = session.get(Terminal, terminal_id)
    if terminal is None:
        raise NotFound
    return terminal


def list_silent(session: Session, *, now: datetime) -> Sequence[Terminal]:
    """Return the terminals in service that were not heard of for five minutes, longest first."""
    return session.scalars(
        select(Terminal)
        .where(
            Terminal.token_hash.is_not(None),
            Terminal.revoked_at.is_(None),
            Terminal.last_seen_at <= now - SILENT_AFTER,
        )
        .order_by(Terminal.last_seen_at, Terminal.place)
    ).all()
