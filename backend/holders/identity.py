"""Finding a person on the roster (实名核验), without keeping what proves it."""

import hmac
import json
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders.documents import document_index
from backend.holders.login import HolderCaller
from backend.holders.models import (
    BindingTry,
    DocumentKind,
    Holder,
    HolderNumber,
    HolderSession,
)
from backend.holders.rules import TAIL_LENGTH, normal_name
from backend.ids import new_id
from backend.rows import lock_id
from backend.sealing import Sealer, normal_document

TRIES_A_DAY = 5
DAY = timedelta(days=1)
SEALED_FOR = timedelta(minutes=15)


class IdentityNotMatched(DomainError, code="identity-not-matched", kind=Kind.CONFLICT):
    """Number, name and document do not belong together.  Says nothing of which one is wrong."""


class TooManyTries(DomainError, code="too-many-tries", kind=Kind.RATE_LIMITED):
    """Five tries a day are used up, for this account or this holder number."""


class IdentityStepExpired(DomainError, code="identity-step-expired", kind=Kind.CONFLICT):
    """The identity step is missing or more than 15 minutes old: do it again."""


def count_try(
    session: Session, *, account_index: bytes, holder_number: str, sealer: Sealer, now: datetime
) -> None:
    """Count an attempt to prove an identity.

    Runs in a transaction of its own, committed before the attempt is judged: a refused attempt
    counts too.  Locks the account's and the number's count, so that attempts at the same moment
    are counted one after the other.

    Raises:
        TooManyTries: fact `retry_after`, seconds.
    """
    number_index = sealer.index("holder-number", holder_number)
    for index in sorted((account_index, number_index)):
        lock_id(session, UUID(bytes=index[:16]))
    for column, index in (
        (BindingTry.account_index, account_index),
        (BindingTry.holder_number_index, number_index),
    ):
        recent = session.scalars(
            select(BindingTry.at)
            .where(column == index, BindingTry.at > now - DAY)
            .order_by(BindingTry.at.desc())
        ).all()
        if len(recent) >= TRIES_A_DAY:
            frees_at = recent[TRIES_A_DAY - 1] + DAY
            raise TooManyTries(retry_after=max(1, int((frees_at - now).total_seconds())))
    session.add(
        BindingTry(
            id=new_id(), account_index=account_index, holder_number_index=number_index, at=now
        )
    )


def forget_tries(
    session: Session, *, account_index: bytes, holder_number: str, sealer: Sealer
) -> None:
    """Clear the count of an account that proved to be this holder.

    Its attempts at other holder numbers stay counted: nobody buys guesses by proving who they are.
    """
    session.execute(
        delete(BindingTry).where(
            BindingTry.account_index == account_index,
            BindingTry.holder_number_index == sealer.index("holder-number", holder_number),
        )
    )


def match_roster(
    session: Session, *, holder_number: str, name: str, document_number: str, sealer: Sealer
) -> Holder:
    """Return the holder to whom number, name and document all belong.

    Raises:
        IdentityNotMatched: they do not belong together, or there is no such holder.

    Source: regulation 五(一).
    """
    holder = match_document(
        session, holder_number=holder_number, document_number=document_number, sealer=sealer
    )
    if normal_name(holder.name) != normal_name(name):
        raise IdentityNotMatched
    return holder


def match_document(
    session: Session, *, holder_number: str, document_number: str, sealer: Sealer
) -> Holder:
    """Return the holder to whom number and document belong.

    Compares keyed hashes, also when there is no such number or no document was ever checked (记名):
    time tells nothing.

    Raises:
        IdentityNotMatched: they do not belong together, or there is no such holder.
    """
    holder = find_by_number(session, holder_number=holder_number)
    index = document_index(
        sealer,
        kind=holder.document_kind if holder else DocumentKind.UNSPECIFIED,
        document=normal_document(document_number),
    )
    known = (holder and holder.document_index) or bytes(len(index))
    if not hmac.compare_digest(known, index) or holder is None:
        raise IdentityNotMatched
    return holder


def find_by_number(session: Session, *, holder_number: str) -> Holder | None:
    """Return the holder who has or had a number (学工号), or None."""
    return session.scalars(
        select(Holder)
        .join(HolderNumber, HolderNumber.holder_id == Holder.id)
        .where(HolderNumber.number == holder_number)
    ).one_or_none()


def check_document_tail(
    session: Session, *, holder_id: UUID, last_six: str, sealer: Sealer
) -> Holder:
    """Return the holder if the last six characters of the document are theirs.

    Raises:
        IdentityNotMatched: they are not.
    """
    holder = session.get_one(Holder, holder_id)
    tail = normal_document(last_six)
    number = holder.document_tail_number or holder.holder_number
    index = tail_index(sealer, holder_number=number, tail=tail)
    known = holder.document_tail_index or bytes(len(index))
    if len(tail) != TAIL_LENGTH or not hmac.compare_digest(index, known):
        raise IdentityNotMatched
    return holder


def tail_index(sealer: Sealer, *, holder_number: str, tail: str) -> bytes:
    """Return what is stored of a document's last six characters."""
    return sealer.index("document-tail", f"{holder_number}:{tail}")


def keep_for_payment_step(
    session: Session,
    *,
    caller: HolderCaller,
    holder_id: UUID,
    name: str,
    document_number: str,
    sealer: Sealer,
    now: datetime,
) -> None:
    """Keep name and document for the payment step, under a key that only the bearer token makes.

    The platform needs both to compare them with the account's real name.  The server alone cannot
    read them, and they are cleared when the step succeeds or 15 minutes are over.  They open for
    this holder only: nobody pays as one person what another one was verified for.
    """
    opened = session.get_one(HolderSession, caller.session_id)
    opened.identity_sealed = sealer.seal(
        "identity-step",
        json.dumps([name, document_number]),
        also=caller.token.encode() + holder_id.bytes,
    )
    opened.identity_sealed_at = now


def kept_for_payment_step(
    session: Session, *, caller: HolderCaller, sealer: Sealer, now: datetime
) -> tuple[str, str]:
    """Return the name and document of the identity step.

    Raises:
        IdentityStepExpired: there was none in this session for the holder to whom the account is
            bound now, or it is too old.
    """
    opened = session.get_one(HolderSession, caller.session_id)
    if (
        caller.bound_to is None
        or opened.identity_sealed is None
        or opened.identity_sealed_at is None
        or now >= opened.identity_sealed_at + SEALED_FOR
    ):
        raise IdentityStepExpired
    kept = sealer.unseal(
        "identity-step",
        opened.identity_sealed,
        also=caller.token.encode() + caller.bound_to.bytes,
    )
    if kept is None:
        raise IdentityStepExpired
    name, document_number = json.loads(kept)
    return name, document_number


def forget_identity_step(session: Session, *, session_id: UUID) -> None:
    """Forget name and document."""
    session.get_one(HolderSession, session_id).identity_sealed = None


def forget_old_identity_steps(session: Session, *, now: datetime) -> int:
    """Forget what abandoned bindings left behind; a job runs this every few minutes."""
    stale = session.scalars(
        select(HolderSession).where(
            HolderSession.identity_sealed.is_not(None),
            HolderSession.identity_sealed_at <= now - SEALED_FOR,
        )
    ).all()
    for opened in stale:
        opened.identity_sealed = None
    return len(stale)
