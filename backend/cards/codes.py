"""Card codes (动态码): issuing them to the phone, reading what a scanner read.

PostgreSQL judges whether a code was spent (`spend_code`).  Redis holds short codes and keeps issue
times apart; without it signed codes go on working.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis import Redis, RedisError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.cards.models import Card, Delegation, SpentCode
from backend.cards.service import renew_alias
from backend.errors import DomainError, Kind, NotFound, ServiceUnavailable
from backend.holders.login import HolderCaller
from backend.http.rates import Rates
from backend.operation_log import service as operation_log
from qr import (
    CardCode,
    CodeError,
    CodeExpired,
    CodeNotYetValid,
    CodeWrongScope,
    DeviceCode,
    KeyRing,
    Scope,
    SignedCode,
    Verifier,
    is_short_code,
    make_short_code,
    short_code_key,
)

CODES_AT_ONCE = 4
"""Codes in one answer, one refresh apart: they carry a phone over two minutes without network."""
GRACE_SECONDS = 10
MISSES_A_MINUTE = 5
"""Short codes that a terminal may get wrong in a minute: guessing one takes ten million years."""
TALLY_SECONDS = 600
TALLY = """
local base = math.max(tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
redis.call('SET', KEYS[1], base, 'EX', ARGV[2])
return base
"""

log = logging.getLogger(__name__)


class CodeMalformedRefused(DomainError, code="code-malformed", kind=Kind.CONFLICT):
    """What was scanned is not a card code."""


class CodeForgedRefused(DomainError, code="code-forged", kind=Kind.CONFLICT):
    """The code's signature is not ours."""


class CodeUnknownKeyRefused(DomainError, code="code-unknown-key", kind=Kind.CONFLICT):
    """The code names a key that is not, or no longer, in use."""


class CodeNotYetValidRefused(DomainError, code="code-not-yet-valid", kind=Kind.CONFLICT):
    """The code's time has not come."""


class CodeExpiredRefused(DomainError, code="code-expired", kind=Kind.CONFLICT):
    """The code was shown too long ago."""


class CodeWrongScopeRefused(DomainError, code="code-wrong-scope", kind=Kind.CONFLICT):
    """A pay code at a gate, or a gate code at a till."""


class CodeStale(DomainError, code="code-stale", kind=Kind.CONFLICT):
    """The card has changed since the code was made: lost, restored, burnt or bound anew."""


class CodeRevoked(DomainError, code="code-revoked", kind=Kind.CONFLICT):
    """The right to make this code was taken back."""


class CodeSpent(DomainError, code="code-spent", kind=Kind.CONFLICT):
    """The code, or a newer one of the same card, was used before."""


CODE_REFUSALS: tuple[type[DomainError], ...] = (
    CodeMalformedRefused,
    CodeForgedRefused,
    CodeUnknownKeyRefused,
    CodeNotYetValidRefused,
    CodeExpiredRefused,
    CodeWrongScopeRefused,
    CodeStale,
    CodeRevoked,
    CodeSpent,
)
"""In order of precedence."""


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """One code for the phone."""

    text: str
    kind: str
    not_before: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PresentedCode:
    """A genuine code that a scanner read; whether card and money stand behind it is not said."""

    key: bytes
    """What single use is judged by."""
    alias: bytes | None
    """Of the virtual card; None for a device code, which names its delegation instead."""
    issued_at: int
    """Epoch seconds."""
    sequence: int = 0
    """Tells a phone's own codes of one second apart."""
    serial: int | None = None
    """Of the delegation of a device code; whose card that is, the database says."""


def newest_spent(session: Session, *, card: Card, scope: Scope) -> int:
    """Return the issue time of the newest code of a card that was decided on, or 0: epoch seconds.

    A code for the same use must begin later, or `spend_code` takes it for an older showing.
    """
    return (
        session.scalar(
            select(func.max(SpentCode.issued_at)).where(
                SpentCode.alias == card.alias, SpentCode.scope == int(scope)
            )
        )
        or 0
    )


def issue_signed(
    *,
    card: Card,
    scope: Scope,
    after: int,
    key_ring: KeyRing,
    issuer: str,
    redis: Redis,
    refresh_seconds: int,
    lifetime_seconds: int,
    now: datetime,
) -> list[IssuedCode]:
    """Return four codes, one refresh apart, so that the phone rides out two minutes alone.

    Each issue begins later than every one before it: a code that was paid with also kills the
    older ones that somebody may have filmed.  `after` is what `newest_spent` says; Redis keeps
    issues apart that were not used yet.
    """
    first = max(int(now.timestamp()), after + 1)
    try:
        first = _apart(redis, card=card, scope=scope, first=first)
    except RedisError:
        log.warning("redis is away: issue times are not kept apart")
    sign = key_ring.issuer(issuer, now=now)
    lifetime = timedelta(seconds=lifetime_seconds)
    codes = []
    for step in range(CODES_AT_ONCE):
        begins = datetime.fromtimestamp(first + step * refresh_seconds, UTC)
        text = sign.issue(card.alias or b"", scope=scope, issued_at=begins, lifetime=lifetime)
        codes.append(IssuedCode(text, "signed", begins, begins + lifetime))
    return codes


def issue_short(
    *, card: Card, after: int, redis: Redis, lifetime_seconds: int, now: datetime
) -> list[IssuedCode]:
    """Return one 20-digit pay code for tills that cannot take a long one.  It lives in Redis.

    It counts as issued now, or right after the newest code that was spent or issued: two of one
    second would kill one another.

    Raises:
        ServiceUnavailable: Redis is away; the phone shows a signed code instead.
    """
    lifetime = timedelta(seconds=lifetime_seconds)
    try:
        begins = _apart(
            redis, card=card, scope=Scope.PAY, first=max(int(now.timestamp()), after + 1)
        )
        remembered = f"{(card.alias or b'').hex()}:{begins}"
        for _ in range(3):  # a number already in use is drawn again
            text = make_short_code()
            if redis.set(
                _short_key(text), remembered, nx=True, ex=lifetime_seconds + GRACE_SECONDS
            ):
                return [IssuedCode(text, "short", now, now + lifetime)]
    except RedisError as error:
        raise ServiceUnavailable from error
    raise ServiceUnavailable


def _apart(redis: Redis, *, card: Card, scope: Scope, first: int) -> int:
    """Return when an issue begins, in epoch seconds: from `first` on, after every one before it.

    Raises:
        RedisError: Redis is away.
    """
    key = f"code:tally:{card.id}:{int(scope)}"
    return int(redis.eval(TALLY, 1, key, first, TALLY_SECONDS))


def read_code(
    text: str,
    *,
    need: Scope,
    key_ring: KeyRing,
    issuer: str,
    redis: Redis,
    rates: Rates,
    reader: str,
    now: datetime,
) -> PresentedCode:
    """Return what a scanned text stands for, if it is a genuine code of the needed scope.

    Raises:
        qr.CodeError: in the order CodeMalformed, CodeForged, CodeUnknownKey, CodeNotYetValid,
            CodeExpired, CodeWrongScope.
        TooManyRequests: this reader guessed too many short codes.
        ServiceUnavailable: a short code, and Redis is away.
    """
    if is_short_code(text):
        return _read_short(text, need=need, redis=redis, rates=rates, reader=reader)
    code = Verifier(key_ring.public_keys(now), issuer=issuer).verify(text, need=need, now=now)
    return presented(code)


def presented(code: CardCode) -> PresentedCode:
    """Return what a genuine code stands for."""
    issued_at = int(code.issued_at.timestamp())
    if isinstance(code, DeviceCode):
        return PresentedCode(code.key, None, issued_at, code.sequence, code.delegation.serial)
    return PresentedCode(code.key, code.alias, issued_at)


def _read_short(
    text: str, *, need: Scope, redis: Redis, rates: Rates, reader: str
) -> PresentedCode:
    if need is not Scope.PAY:  # never opens a door
        raise CodeWrongScope(Scope.PAY)
    try:
        remembered = redis.get(_short_key(text))
    except RedisError as error:
        raise ServiceUnavailable from error
    if remembered is None:
        rates.count(f"short-miss:{reader}", most=MISSES_A_MINUTE, seconds=60)
        raise CodeExpired(datetime.fromtimestamp(0, UTC))
    alias, _, issued_at = str(remembered).partition(":")
    return PresentedCode(short_code_key(text), bytes.fromhex(alias), int(issued_at))


def _short_key(text: str) -> str:
    return f"code:short:{short_code_key(text).hex()}"


def burn_codes(session: Session, *, card: Card, caller: HolderCaller, now: datetime) -> None:
    """Make every code shown so far worthless, as after a screenshot.

    Locks the card and its purse: they get a new alias.  What the phone makes from now on without
    network is good again.
    """
    session.refresh(card, with_for_update=True)
    renew_alias(session, card=card, now=now)
    session.execute(update(Delegation).where(Delegation.card_id == card.id).values(codes_from=now))
    operation_log.record(
        session,
        actor=caller.actor,
        action="card.burn_codes",
        holder_id=card.holder_id,
        subject_id=card.id,
        now=now,
    )


def check_own(
    text: str, *, card: Card, key_ring: KeyRing, issuer: str, redis: Redis, now: datetime
) -> None:
    """Refuse to draw a code that is not the caller's own, or that the phone made itself.

    Raises:
        NotFound: somebody else's code, an old one, or no code at all.
    """
    alias: bytes | None
    if is_short_code(text):
        try:
            alias = bytes.fromhex(str(redis.get(_short_key(text)) or "").partition(":")[0])
        except RedisError as error:
            raise ServiceUnavailable from error
    else:
        alias = _alias_whenever(text, key_ring=key_ring, issuer=issuer, now=now)
    if alias != card.alias:
        raise NotFound


def _alias_whenever(text: str, *, key_ring: KeyRing, issuer: str, now: datetime) -> bytes | None:
    """Return the alias of a genuine code; prefetched ones are drawn before their time."""
    verifier = Verifier(key_ring.public_keys(now), issuer=issuer)
    for later in (0, 30, 60, 90):
        for scope in (Scope.PAY, Scope.GATE):
            try:
                code = verifier.verify(text, need=scope, now=now + timedelta(seconds=later))
            except (CodeNotYetValid, CodeWrongScope):
                continue
            except CodeError as error:
                raise NotFound from error
            return code.alias if isinstance(code, SignedCode) else None
    return None
