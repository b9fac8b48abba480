"""Cards (卡): the physical one and the virtual one, two credentials with states of their own."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.money import Fen


class CardKind(StrEnum):
    """Which credential."""

    PHYSICAL = "physical"
    """实体卡"""
    VIRTUAL = "virtual"
    """虚拟卡"""


class CardState(StrEnum):
    """Where a card stands in its life, regulation 三(一)."""

    PENDING = "pending"
    """待激活"""
    ACTIVE = "active"
    """正常"""
    LOST = "lost"
    """挂失"""
    FROZEN = "frozen"
    """冻结"""
    EXPIRED = "expired"
    """过期"""
    CLOSING = "closing"
    """销户中"""
    CLOSED = "closed"
    """已销户"""
    VOID = "void"
    """作废: replaced or unbound, for ever"""


class Card(Base):
    """One credential of a holder."""

    __tablename__ = "cards"
    __table_args__ = (
        UniqueConstraint("id", "alias", "state"),  # what accounts.card_* follows
        CheckConstraint(
            "(kind = 'virtual') = (alias IS NOT NULL)"
            " AND (kind = 'physical') = (number IS NOT NULL)",
            name="alias_or_number",
        ),
        Index(
            "uq_cards_one_live",
            "holder_id",
            "kind",
            unique=True,
            postgresql_where=text("state NOT IN ('void', 'closed')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    kind: Mapped[CardKind]
    state: Mapped[CardState]
    alias: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    """Six random bytes that stand for the virtual card in its codes.  Every loss, restore, burn and
    rebind draws new ones, so no earlier code can come back."""
    number: Mapped[str | None] = mapped_column(unique=True)
    """Printed on the physical card."""
    new_student: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether it was made as a new-student card (新生卡), which is exchanged, 三(二), whatever its
    holder is called by then.  The database writes it: see `note_new_student_card`."""
    created_at: Mapped[datetime]


class CardAlias(Base):
    """An alias that a virtual card has or had: what a code of that time stood for.

    Scanners without network accept an alias until they hear that it was given up, and tell of it
    hours later: then this says whose it was.
    """

    __tablename__ = "card_aliases"
    __table_args__ = (Index(None, "card_id"), Index(None, "retired_at"))

    alias: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    given_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class Delegation(Base):
    """The right of one phone's key to make codes for a card without network (脱机授权).

    One phone a card: another key ends the right of the one before.  A renewal for the same key
    only supersedes it, so a phone that never heard the answer goes on with the old one.
    """

    __tablename__ = "delegations"
    __table_args__ = (
        Index(
            "uq_delegations_current",
            "card_id",
            unique=True,
            postgresql_where=text("superseded_at IS NULL AND revoked_at IS NULL"),
        ),
        Index(None, "card_id", "granted_at"),
        Index(None, "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger, Identity(minvalue=1), unique=True)
    """Stands in every code of this phone, and for its bit in the revocation list."""
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("holder_sessions.id"))
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    certificate: Mapped[bytes] = mapped_column(LargeBinary)
    """The 108 bytes that the phone keeps."""
    policy_ids: Mapped[list[Any]]
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    renew_at: Mapped[datetime]
    """From then on the phone asks for the next one, silently."""
    superseded_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    codes_from: Mapped[datetime]
    """Codes made before are dead: the holder burnt them after a screenshot."""


class DelegationChallenge(Base):
    """What a phone has to sign to show that its key is its own.  One at a time for each login."""

    __tablename__ = "delegation_challenges"

    session_id: Mapped[UUID] = mapped_column(ForeignKey("holder_sessions.id"), primary_key=True)
    challenge: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]


class SpentCode(Base):
    """A card code that was decided on.  The primary key is what makes single use true (K1)."""

    __tablename__ = "spent_codes"
    __table_args__ = (
        Index(None, "alias", "scope", "issued_at", "sequence"),
        Index(None, "spent_at"),
    )

    code_key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    alias: Mapped[bytes] = mapped_column(LargeBinary)
    scope: Mapped[int]
    issued_at: Mapped[int] = mapped_column(BigInteger)
    """Epoch seconds.  A code older than the newest spent one is dead too: a filmed frame."""
    decision_id: Mapped[UUID]
    """The charge or passage."""
    spent_at: Mapped[datetime]
    sequence: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """Tells a phone's own codes of one second apart."""


class LossReport(Base):
    """A loss reported (挂失), with the answer that every retry gets."""

    __tablename__ = "loss_reports"
    __table_args__ = (Index(None, "holder_id", "reported_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    credential: Mapped[str]
    stop_virtual_card: Mapped[bool]
    reported_at: Mapped[datetime]
    answer: Mapped[dict[str, Any]]
    """What is said of the report, and `by` whom it was made, which is not."""


class Restoration(Base):
    """Cards put back in use (解挂), with the policy rows that allowed it."""

    __tablename__ = "restorations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    restored: Mapped[list[Any]]
    policy_ids: Mapped[list[Any]]
    restored_by: Mapped[str | None]
    """Who asked, as the operation log names them; None where that was not kept yet."""
    restored_at: Mapped[datetime]


class CounterOperation(Base):
    """What the card centre did to one card (柜台卡务), with the answer that every retry gets.

    Append-only.  The operation log holds the same as a row of its own; this is what makes an id
    good for one operation.
    """

    __tablename__ = "counter_operations"
    __table_args__ = (Index(None, "card_id", "made_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    event: Mapped[str]
    content: Mapped[dict[str, Any]]
    """What was asked for; a retry asks for the same."""
    before: Mapped[str]
    after: Mapped[str]
    made_at: Mapped[datetime]


class ReplacementState(StrEnum):
    """How far a holder's request for a new card has come."""

    REQUESTED = "requested"
    """待领取: to be picked up at the counter with the document"""
    CANCELLED = "cancelled"
    """已取消"""
    REPLACED = "replaced"
    """已补卡"""


class ReplacementRequest(Base):
    """A holder asks for a new physical card (补卡申请), and is told the fee.

    Nothing is taken before the counter hands the card out.  One at a time for each holder.
    """

    __tablename__ = "replacement_requests"
    __table_args__ = (
        Index(
            "uq_replacement_requests_open",
            "holder_id",
            unique=True,
            postgresql_where=text("state = 'requested'"),
        ),
        Index(None, "card_id"),
        CheckConstraint("fee_fen >= 0", name="fee_not_negative"),
        CheckConstraint("(state = 'requested') = (ended_at IS NULL)", name="ended_when"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    """The card that is lost or damaged."""
    cause: Mapped[str]
    fee_fen: Mapped[Fen]
    """As it was quoted."""
    policy_ids: Mapped[list[Any]]
    state: Mapped[ReplacementState]
    requested_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Replacement(Base):
    """A physical card that took another one's place (补卡).  Append-only.

    The old card is void for ever, and is replaced once: the database refuses a second time.
    """

    __tablename__ = "replacements"
    __table_args__ = (
        CheckConstraint("fee_fen >= 0", name="fee_not_negative"),
        CheckConstraint(
            "cause <> 'quality' OR (fee_fen = 0 AND reason IS NOT NULL AND evidence IS NOT NULL)",
            name="quality_is_free_and_shown",
        ),
        CheckConstraint("old_card_id <> new_card_id", name="another_card"),
        Index(None, "holder_id", "replaced_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    old_card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"), unique=True)
    new_card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"), unique=True)
    request_id: Mapped[UUID | None] = mapped_column(ForeignKey("replacement_requests.id"))
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    """Who checked the document, and for a quality replacement the fault."""
    cause: Mapped[str]
    """`lost`, `damaged`, or `quality` (质量换卡)."""
    reason: Mapped[str | None]
    evidence: Mapped[str | None]
    """What shows the fault: where the photograph or the returned card is kept."""
    content: Mapped[dict[str, Any]]
    """What was asked for; a retry asks for the same."""
    fee_fen: Mapped[Fen]
    balance_fen: Mapped[Fen]
    """Of the main purse, right after."""
    policy_ids: Mapped[list[Any]]
    replaced_at: Mapped[datetime]


class FoundCard(Base):
    """A physical card that somebody found (拾卡).

    The finder gives the number and never learns whose it is, nor whether there is such a card.

    Source: regulation 三(四), 四(二).
    """

    __tablename__ = "found_cards"
    __table_args__ = (
        Index(None, "card_id"),
        Index(None, "found_at"),
        CheckConstraint("(handed_back_at IS NULL) = (hand_back_id IS NULL)", name="handed_back"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str]
    """As it was read off the card."""
    place: Mapped[str]
    card_id: Mapped[UUID | None] = mapped_column(ForeignKey("cards.id"))
    """None where no card has this number."""
    found_by: Mapped[str]
    """Who recorded it, as the operation log names them."""
    found_at: Mapped[datetime]
    hand_back_id: Mapped[UUID | None] = mapped_column(unique=True)
    handed_back_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    handed_back_at: Mapped[datetime | None]
