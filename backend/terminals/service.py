"""Terminals (终端): enrolled once, known by a token or a device key; rolled and revoked.

Either a token (令牌) or a device key (设备密钥), never both: each use looks the terminal up by what
it was enrolled with, and what is rolled or revoked is dead when that commits.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import rfc3339
from backend.errors import DomainError, Kind
from backend.http.auth import Unauthenticated
from backend.http.signatures import Signature, SignatureInvalid, key_name
from backend.ids import new_id
from backend.ledger.models import Account
from backend.merchants.models import Merchant, Stall
from backend.operation_log import service as operation_log
from backend.operation_log.models import LogChannel
from backend.operation_log.service import Actor
from backend.rows import find_row, lock_row
from backend.sealing import token_hash
from backend.terminals.models import Reader, Terminal, TerminalKind

ENROLMENT_LIFE = timedelta(minutes=15)
OF_THE_DEVICE = (
    "queue_length",
    "queue_since",
    "last_sequence",
    "clock_offset_seconds",
    "clock_off_since",
    "bundle_sequence",
    "bundle_confirmed_at",
    "bundle_issued_at",
    "bundle_latest_sequence",
    "bundle_latest_issued_at",
)
"""What a device told of itself and was given; what it failed to upload is still missing."""
SEEN_EVERY = timedelta(seconds=30)
ONLINE_WITHIN = timedelta(minutes=2)
"""Who was heard of within so long is online, and asks for each scan."""
COMMITTED_WITHIN = timedelta(seconds=10)
"""A loss report is in each bundle that is issued so long after it: no transaction lasts longer."""


class EnrolmentRefused(DomainError, code="enrolment-refused", kind=Kind.FORBIDDEN):
    """The enrolment token is unknown, used, or older than 15 minutes."""


class TerminalNotAllowed(DomainError, code="terminal-not-allowed", kind=Kind.FORBIDDEN):
    """This kind of terminal does not do that.  Fact: `kind`."""


class DeviceKeyInUse(DomainError, code="device-key-in-use", kind=Kind.CONFLICT):
    """Another terminal holds this key: a device makes its own, and copies none."""


class DeviceKeyNeeded(DomainError, code="device-key-needed", kind=Kind.INVALID):
    """A terminal with a device key rolls to its next one: `public_key` is missing."""


@dataclass(frozen=True, slots=True)
class TerminalCaller:
    """Who calls with a terminal's token, or signs with its key."""

    terminal_id: UUID
    kind: TerminalKind
    place: str
    reader: Reader
    merchant_id: UUID | None
    merchant: str | None
    stall: str | None
    is_canteen: bool
    merchant_account_id: UUID | None
    credential: bytes | None = field(repr=False)
    """What let the caller in; another one may hold by the time a row is locked."""

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
    terminal = lock_row(session, Terminal, terminal_id, revoked_at=None)
    token = secrets.token_urlsafe(24)
    terminal.enrolment_hash = token_hash(token)
    terminal.enrolment_expires_at = now + ENROLMENT_LIFE
    operation_log.record(
        session, actor=actor, action="terminal.invite", subject_id=terminal.id, now=now
    )
    return token


def enrol(
    session: Session,
    *,
    enrolment_token: str,
    software: str,
    public_key: bytes | None = None,
    now: datetime,
) -> tuple[Terminal, str | None]:
    """Make a device the terminal that its one-time token names.

    With a `public_key` the device signs its requests from now on; without, it gets the token that
    is returned.  Token or key of an earlier device are dead at once, and what that one told of
    itself is forgotten.  Locks the terminal: of two that enrol at once, one does.

    Raises:
        EnrolmentRefused: the token is unknown, used or too old.
        DeviceKeyInUse: another terminal holds this key; the enrolment token is not used up.
    """
    terminal = session.scalars(
        select(Terminal)
        .where(Terminal.enrolment_hash == token_hash(enrolment_token))
        .with_for_update()
    ).one_or_none()
    if (
        terminal is None
        or terminal.enrolment_expires_at is None
        or now >= terminal.enrolment_expires_at
    ):
        raise EnrolmentRefused
    before = terminal.software if terminal.credential else None
    token = _new_credential(session, terminal, public_key)
    terminal.enrolment_hash = terminal.enrolment_expires_at = None
    for told in OF_THE_DEVICE:
        setattr(terminal, told, None)
    terminal.software = software
    terminal.enrolled_at = terminal.last_seen_at = terminal.online_since = now
    operation_log.record(
        session,
        actor=Actor(LogChannel.TERMINAL, f"terminal:{terminal.id}"),
        action="terminal.enrol",
        subject_id=terminal.id,
        now=now,
        software=software,
        software_before=before,
        key_id=terminal.key_id,
    )
    return terminal, token


def roll(
    session: Session, *, caller: TerminalCaller, public_key: bytes | None, now: datetime
) -> tuple[Terminal, str | None]:
    """Give the calling terminal its next token, or the next device key that it made.

    The old one is dead when this commits.  A terminal with a token may change over to a key, and
    never back.  Idempotent for a key: where no answer came, the same request signed by the new key
    gets it, and a copy of the old request is refused.  Locks the terminal: of two requests that the
    same token or key let in, one rolls.

    Raises:
        Unauthenticated: rolled, enrolled anew or revoked since the request was let in.
        DeviceKeyNeeded: the terminal has a key, and names no other.
        DeviceKeyInUse: another terminal holds this key.
    """
    terminal = session.get_one(Terminal, caller.terminal_id, with_for_update=True)
    if public_key is not None and terminal.public_key == public_key:
        return terminal, None
    if terminal.credential is None or terminal.credential != caller.credential:
        raise Unauthenticated
    if terminal.public_key is not None and public_key is None:
        raise DeviceKeyNeeded
    token = _new_credential(session, terminal, public_key)
    operation_log.record(
        session,
        actor=caller.actor,
        action="terminal.roll",
        subject_id=terminal.id,
        now=now,
        key_id=terminal.key_id,
    )
    return terminal, token


def revoke(session: Session, *, terminal_id: UUID, actor: Actor, now: datetime) -> None:
    """Shut a terminal out for ever.  Idempotent.

    Raises:
        NotFound: there is no such terminal.
    """
    terminal = lock_row(session, Terminal, terminal_id)
    if terminal.revoked_at is None:
        terminal.revoked_at = now
        terminal.token_hash = terminal.enrolment_hash = None
        terminal.public_key = terminal.key_id = None
        operation_log.record(
            session, actor=actor, action="terminal.revoke", subject_id=terminal.id, now=now
        )


def _new_credential(session: Session, terminal: Terminal, public_key: bytes | None) -> str | None:
    """Let a terminal be known by a key from now on, or by the new token that is returned."""
    if public_key is None:
        token = secrets.token_urlsafe(32)
        terminal.token_hash, terminal.public_key, terminal.key_id = token_hash(token), None, None
        return token
    name = key_name(public_key)
    if session.scalars(
        select(Terminal.id).where(Terminal.key_id == name, Terminal.id != terminal.id)
    ).one_or_none():
        raise DeviceKeyInUse
    terminal.token_hash, terminal.public_key, terminal.key_id = None, public_key, name
    return None


def authenticate(session: Session, token: str, now: datetime) -> TerminalCaller:
    """Return which terminal calls.

    Raises:
        Unauthenticated: no terminal in service has this token.
    """
    terminal = session.scalars(
        select(Terminal).where(Terminal.token_hash == token_hash(token))
    ).one_or_none()
    if terminal is None:
        raise Unauthenticated
    return _let_in(session, terminal, now)


def authenticate_signed(session: Session, signature: Signature, now: datetime) -> TerminalCaller:
    """Return which terminal signed a request.

    Raises:
        SignatureInvalid: no terminal in service has this key, or it did not sign this request.
        SignatureStale: the device's clock is off, or the request was on its way for too long.
    """
    terminal = session.scalars(
        select(Terminal).where(Terminal.key_id == signature.key_id)
    ).one_or_none()
    if terminal is None or terminal.public_key is None:
        raise SignatureInvalid
    signature.check(terminal.public_key, now=now)
    return _let_in(session, terminal, now)


def _let_in(session: Session, terminal: Terminal, now: datetime) -> TerminalCaller:
    if terminal.last_seen_at is None or now >= terminal.last_seen_at + SEEN_EVERY:
        note_seen(terminal, now=now)
    return caller_of(session, terminal)


def note_seen(terminal: Terminal, *, now: datetime) -> None:
    """Note that a terminal was heard of, and that it is back where it had been silent."""
    if terminal.last_seen_at is None or now > terminal.last_seen_at + ONLINE_WITHIN:
        terminal.online_since = now
    terminal.last_seen_at = now


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
        credential=terminal.credential,
    )


def terminals_informed(
    session: Session, *, reported_at: datetime, now: datetime
) -> list[dict[str, Any]]:
    """Return which terminals refuse by now what was reported lost at a moment, by place.

    One that does not is offline, and may let the card pass on its own until it is back.
    """
    answer = []
    for terminal in session.scalars(
        select(Terminal).where(Terminal.credential.is_not(None)).order_by(Terminal.place)
    ):
        since = _informed_since(terminal, reported_at, now)
        silent = terminal.last_seen_at if since is None else None
        answer.append(
            {
                "terminal_id": str(terminal.id),
                "kind": terminal.kind.value,
                "place": terminal.place,
                "has_it": since is not None,
                "since": since and rfc3339(since),
                "offline_since": silent and rfc3339(silent),
            }
        )
    return answer


def _informed_since(terminal: Terminal, reported_at: datetime, now: datetime) -> datetime | None:
    """Return since when a terminal refuses what was reported lost; None: perhaps not yet."""
    if terminal.bundle_sequence is None and terminal.bundle_latest_sequence is None:
        # It was never given what it would need to decide on its own.
        return max(reported_at, terminal.enrolled_at or reported_at)
    if terminal.last_seen_at and now <= terminal.last_seen_at + ONLINE_WITHIN:
        return max(reported_at, terminal.online_since or reported_at)
    if terminal.bundle_issued_at and terminal.bundle_issued_at >= reported_at + COMMITTED_WITHIN:
        return terminal.bundle_confirmed_at
    return None


def list_all(session: Session) -> Sequence[Terminal]:
    """Return every terminal, by place."""
    return session.scalars(select(Terminal).order_by(Terminal.place)).all()


def find(session: Session, *, terminal_id: UUID) -> Terminal:
    """Return one terminal.

    Raises:
        NotFound: there is no such terminal.
    """
    return find_row(session, Terminal, terminal_id)
