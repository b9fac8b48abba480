"""Whose a code was, and whether it was good, at a moment that is past (脱机上送).

Scanners without network tell of codes hours later: the card may have another alias by then, the
delegation may be over.  What was given and when it was taken back stays known.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardAlias, Delegation, LossReport, Restoration, SpentCode
from qr import CardCode, DeviceCode, Scope


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose virtual card a code stands for."""

    card_id: UUID
    holder_id: UUID
    alias: bytes
    """The card's alias now, under which its spent codes are found."""


class Standing(StrEnum):
    """How a code's card stood at a past moment."""

    GOOD = "good"
    """有效"""
    REVOKED = "revoked"
    """已撤销或已更换: taken back, burnt, frozen, expired, bound anew."""
    LOST = "lost"
    """已挂失"""


def bearer_of(session: Session, code: CardCode) -> Bearer | None:
    """Return whose a genuine code is, whatever has become of the card, or None."""
    cards = select(Card.id, Card.holder_id, Card.alias)
    if isinstance(code, DeviceCode):
        found = cards.join(Delegation, Delegation.card_id == Card.id).where(
            Delegation.serial == code.delegation.serial
        )
    else:
        found = cards.join(CardAlias, CardAlias.card_id == Card.id).where(
            CardAlias.alias == code.alias
        )
    row = session.execute(found).one_or_none()
    return row and Bearer(row.id, row.holder_id, row.alias)


def standing_at(session: Session, code: CardCode, bearer: Bearer, *, at: datetime) -> Standing:
    """Return how a code's card stood at a moment.

    Who decides about money has locked the purse: a loss report is before this or after it.
    """
    if not _is_dead(session, code, at=at):
        return Standing.GOOD
    return Standing.LOST if _was_lost(session, bearer.holder_id, at=at) else Standing.REVOKED


def _is_dead(session: Session, code: CardCode, *, at: datetime) -> bool:
    """Say whether what a code stands on had been taken back at a moment."""
    card = select(Card.id)
    if isinstance(code, DeviceCode):
        card = card.join(Delegation, Delegation.card_id == Card.id).where(
            Delegation.serial == code.delegation.serial,
            or_(
                Delegation.revoked_at < at,
                (Delegation.codes_from >= code.issued_at) & (Delegation.codes_from < at),
            ),
        )
    else:
        card = card.join(CardAlias, CardAlias.card_id == Card.id).where(
            CardAlias.alias == code.alias, CardAlias.retired_at < at
        )
    return session.execute(card).one_or_none() is not None


def _was_lost(session: Session, holder_id: UUID, *, at: datetime) -> bool:
    """Say whether a holder's virtual card was reported lost, and not restored, at a moment."""
    reported_at = session.scalar(
        select(func.max(LossReport.reported_at)).where(
            LossReport.holder_id == holder_id,
            or_(LossReport.credential == "phone", LossReport.stop_virtual_card),
            LossReport.reported_at < at,
        )
    )
    if reported_at is None:
        return False
    restored = select(Restoration.id).where(
        Restoration.holder_id == holder_id,
        Restoration.restored.contains(["virtual_card"]),
        Restoration.restored_at > reported_at,
        Restoration.restored_at <= at,
    )
    return session.execute(restored.limit(1)).one_or_none() is None


def use_up(
    session: Session,
    *,
    code: CardCode,
    bearer: Bearer,
    scope: Scope,
    decision_id: UUID,
    now: datetime,
) -> UUID:
    """Mark a code as used by a decision of the past; return which decision has it.

    The first that is told of has it, in any order of arrival; unlike `spend_code`, an older code
    than the newest used one is none the worse for it.
    """
    issued_at = min(code.issued_at, now)  # a phone that is ahead must not kill its next codes
    row = insert(SpentCode).values(
        code_key=code.key,
        alias=bearer.alias,
        scope=int(scope),
        issued_at=int(issued_at.timestamp()),
        sequence=code.sequence,
        decision_id=decision_id,
        spent_at=now,
    )
    # Says who has it also where somebody else has: an update of nothing returns the row.
    kept = row.on_conflict_do_update(
        index_elements=[SpentCode.code_key], set_={"code_key": row.excluded.code_key}
    )
    return session.execute(kept.returning(SpentCode.decision_id)).scalar_one()
