"""Finding a person on the roster (实名核验), without keeping what proves it."""

import hmac
import json
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind
from backend.holders.login import HolderCaller
from backend.holders.models import BindingTry, Holder, HolderSession
from backend.holders.rules import TAIL_LENGTH, normal_name
from backend.ids import new_id
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
    counts too.

    Raises:
        TooManyTries: fact `retry_after`, seconds.
    """
    number_index = sealer.index("holder-number", holder_number)
    recent = session.scalars(
        select(BindingTry.at)
        .where(
            or_(
                BindingTry.account_index == account_index,
                BindingTry.holder_number_index == number_index,
            ),
            BindingTry.at > now - DAY,
        )
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


def forget_tries(session: Session, *, account_index: bytes) -> None:
    """Clear the count of an account that proved who it is."""
    session.execute(delete(BindingTry).where(BindingTry.account_index == account_index))


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

    Compares keyed hashes, also when there is no such number: time tells nothing.

    Raises:
        IdentityNotMatched: they do not belong together, or there is no such holder.
    """
    holder = session.scalars(
        select(Holder).where(Holder.holder_number == holder_number)
    ).one_or_none()
    index = sealer.index("document", normal_document(document_number))
    known = holder.document_index if holder else bytes(len(index))
    if not hmac.compare_digest(known, index) or holder is None:
        raise IdentityNotMatched
    return holder


def check_document_tail(
    session: Session, *, holder_id: UUID, last_six: str, sealer: Sealer
) -> Holder:
    """Return the holder if the last six characters of the document are theirs.

    Raises:
        IdentityNotMatched: they are not.
    """
    holder = session.get_one(Holder, holder_id)
    tail = normal_document(last_six)
    index = tail_index(sealer, holder_number=holder.holder_number, tail=tail)
    if len(tail) != TAIL_LENGTH or not hmac.compare_digest(index, holder.document_tail_index):
        raise IdentityNotMatched
    return holder


def tail_index(sealer: Sealer, *, holder_number: str, tail: str) -> bytes:
    """Return what is stored of a document's last six characters."""
    return sealer.index("document-tail", f"{holder_number}:{tail}")


def keep_for_payment_step(
    session: Session,
    *,
    caller: HolderCaller,
    name: str,
    document_number: str,
    sealer: Sealer,
    now: datetime,
) -> None:
    """Keep name and document for the payment step, under a key that only the bearer token makes.

    The platform needs both to compare them with the account's real name.  The server alone cannot
    read them, and they are cleared when the step succeeds or 15 minutes are over.
    """
    opened = session.get_one(HolderSession, caller.session_id)
    opened.identity_sealed = sealer.seal(
        "identity-step", json.dumps([name, document_number]), also=caller.token.encode()
    )
    opened.identity_sealed_at = now


def kept_for_payment_step(
    session: Session, *, caller: HolderCaller, sealer: Sealer, now: datetime
) -> tuple[str, str]:
    """Return the name and document of the identity step.

    Raises:
        IdentityStepExpired: there was none in this session, or it is too old.
    """
    opened = session.get_one(HolderSession, caller.session_id)
    if (
        opened.identity_sealed is None
        or opened.identity_sealed_at is None
        or now >= opened.identity_sealed_at + SEALED_FOR
    ):
        raise IdentityStepExpired
    text = sealer.unseal("identity-step", opened.identity_sealed, also=caller.token.encode())
    if text is None:
        raise IdentityStepExpired
    name, document_number = json.loads(text)
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
