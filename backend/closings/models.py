"""Closings (销户), and what leads to them: departures, graduates' batches, screenings."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.holders.models import Category
from backend.money import Fen


class ClosingState(StrEnum):
    """How far a closing has come, regulation 三(十四)."""

    STARTED = "started"
    """销户中: all cards are dead; tills without network still have time to tell what they took"""
    SETTLING = "settling"
    """待结清: that time is over, and what stands against it is waited for"""
    PAYING = "paying"
    """退款中: both purses are empty, and the money is on its way"""
    CLOSED = "closed"
    """已销户: nothing is left and nothing is due"""
    CANCELLED = "cancelled"
    """已撤销"""


class ClosingKind(StrEnum):
    """Why an account is closed."""

    OWN_REQUEST = "own_request"
    """本人申请"""
    GRADUATION = "graduation"
    """毕业"""
    LEAVING = "leaving"
    """离校、离职"""
    RETIREMENT = "retirement"
    """退休"""
    EARLY = "early"
    """提前离校: the sponsor ends a temporary card"""
    EXPIRY = "expiry"
    """到期: a temporary card, 三(十一)"""


class Closing(Base):
    """The closing of one account.  The account's rows stay for ever.

    An account that was opened again (复户) may be closed again: see `service.HOLDS`.
    """

    __tablename__ = "closings"
    __table_args__ = (
        Index(
            "uq_closings_live_holder",
            "holder_id",
            unique=True,
            postgresql_where=text("state NOT IN ('closed', 'cancelled')"),
        ),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_when"),
        CheckConstraint("reopened_at IS NULL OR state <> 'cancelled'", name="reopened_when"),
        Index(None, "state", "started_at"),
        Index(None, "started_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    kind: Mapped[ClosingKind]
    document: Mapped[str | None]
    """The number of the paper that it goes by (文号)."""
    state: Mapped[ClosingState]
    started_at: Mapped[datetime]
    started_by: Mapped[str]
    """As the operation log names actors."""
    wait_until: Mapped[datetime]
    waived: Mapped[list[Any]]
    """Checks that the card centre let pass: `check`, `reason`, `by`, `at`."""
    standing: Mapped[list[Any]]
    """What stood against it when it was last looked at."""
    paid_fen: Mapped[Fen]
    """What went out of the main purse to be paid back."""
    withdrawn_fen: Mapped[Fen]
    """What went out of the subsidy purse, back to the fund."""
    settled_at: Mapped[datetime | None]
    """When the purses were first emptied."""
    closed_at: Mapped[datetime | None]
    reopened_at: Mapped[datetime | None]
    """When the account was opened again: `cards.reopening`, which lies below, writes it."""
    policy_ids: Mapped[list[Any]]


class DepartureKind(StrEnum):
    """How people leave."""

    GRADUATION = "graduation"
    LEAVING = "leaving"
    RETIREMENT = "retirement"
    EARLY = "early"


class Departure(Base):
    """A notice of people who leave (离校、离职), from those who answer for them."""

    __tablename__ = "departures"
    __table_args__ = (Index(None, "filed_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[DepartureKind]
    effective_on: Mapped[date]
    """The first day on which they are gone: from its first instant on."""
    document: Mapped[str]
    filed_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    filed_at: Mapped[datetime]
    content_hash: Mapped[bytes]
    """Of what was said, to tell a retry from a reused id."""


class LeaverState(StrEnum):
    """What became of one person of a departure."""

    SCHEDULED = "scheduled"
    """待生效"""
    APPLIED = "applied"
    """已生效"""
    WITHDRAWN = "withdrawn"
    """已撤回: before its day"""
    SUPERSEDED = "superseded"
    """已不适用: by its day they were another kind of holder than the one it was filed for"""


class Leaver(Base):
    """One person of a departure."""

    __tablename__ = "leavers"
    __table_args__ = (
        UniqueConstraint("departure_id", "holder_id"),
        Index(
            "uq_leavers_scheduled",
            "holder_id",
            unique=True,
            postgresql_where=text("state = 'scheduled'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    departure_id: Mapped[UUID] = mapped_column(ForeignKey("departures.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    category: Mapped[Category]
    """What they were when it was filed: it is of this category, see `departures.apply_due`."""
    state: Mapped[LeaverState]
    applied_at: Mapped[datetime | None]
    closing_id: Mapped[UUID | None] = mapped_column(ForeignKey("closings.id"))


class ClosingBatch(Base):
    """Graduates whose accounts are closed together (毕业批量销户), 三(十).

    Who makes a batch does not approve it.
    """

    __tablename__ = "closing_batches"
    __table_args__ = (
        CheckConstraint("approved_by <> made_by", name="two_people"),
        CheckConstraint("(approved_by IS NULL) = (approved_at IS NULL)", name="approved_whole"),
        CheckConstraint(
            "(withdrawn_by IS NULL) = (withdrawn_at IS NULL)"
            " AND (withdrawn_at IS NULL OR approved_at IS NULL AND run_at IS NULL)",
            name="withdrawn_when",
        ),
        Index(None, "made_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    graduated_on: Mapped[date]
    deadline: Mapped[date]
    """The last day by which they are to be closed."""
    document: Mapped[str]
    made_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    """None: nobody had put them into one, so they are gathered shortly before the deadline."""
    made_at: Mapped[datetime]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    """None while it waits for the second person, and again once an exemption was changed."""
    approved_at: Mapped[datetime | None]
    run_at: Mapped[datetime | None]
    """When it was first run."""
    reminded_at: Mapped[datetime | None]
    withdrawn_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    withdrawn_at: Mapped[datetime | None]
    """When it was taken back (撤回), before anybody had approved it."""
    content_hash: Mapped[bytes]


class Exemption(StrEnum):
    """Why a graduate's account stays open."""

    DEFERRED = "deferred"
    """延期毕业"""
    FURTHER_STUDY = "further_study"
    """升学留校"""


class Graduate(Base):
    """One person of a graduates' batch."""

    __tablename__ = "graduates"
    __table_args__ = (
        UniqueConstraint("batch_id", "holder_id"),
        CheckConstraint("(exemption IS NULL) = (exempted_why IS NULL)", name="exempted_why"),
        CheckConstraint("exemption IS NOT NULL OR exempted_until IS NULL", name="exempted_until"),
        Index(None, "holder_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("closing_batches.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    exemption: Mapped[Exemption | None]
    exempted_why: Mapped[str | None]
    exempted_until: Mapped[date | None]
    """The last day of the exemption; None where it was made before exemptions had an end."""
    closing_id: Mapped[UUID | None] = mapped_column(ForeignKey("closings.id"))


class Reopening(Base):
    """A closed account that was opened again (复户), as somebody came back.  Never changed."""

    __tablename__ = "reopenings"
    __table_args__ = (
        Index(None, "holder_id"),
        CheckConstraint("num_nonnulls(document, roster_batch_id) = 1", name="ground"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    document: Mapped[str | None]
    """The number of the paper that it goes by (文号)."""
    roster_batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("roster_batches.id"))
    """The roster that names them, where it goes by that (按名册复户)."""
    valid_until: Mapped[date]
    card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    """The new physical card, which waits to be handed out."""
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]


class Retirement(Base):
    """A staff card exchanged for a retiree's temporary card, in one step (退休换卡)."""

    __tablename__ = "retirements"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"), index=True)
    document: Mapped[str]
    valid_until: Mapped[date]
    old_card_id: Mapped[UUID | None] = mapped_column(ForeignKey("cards.id"))
    new_card_id: Mapped[UUID] = mapped_column(ForeignKey("cards.id"))
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    policy_ids: Mapped[list[Any]]


class Screening(Base):
    """A look through all accounts after a term (清查), 三(十三).  Filed, it never changes."""

    __tablename__ = "screenings"
    __table_args__ = (Index(None, "made_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    term: Mapped[str]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    filed_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    filed_at: Mapped[datetime | None]
    policy_ids: Mapped[list[Any]]


class Finding(StrEnum):
    """Why an account is listed."""

    EXPIRED = "expired"
    """已过期未处理"""
    UNUSED = "unused"
    """长期未使用"""
    CLOSED_WITH_BALANCE = "closed_with_balance"
    """已销户有余额"""
    ARREARS = "arrears"
    """欠费"""
    DUPLICATE = "duplicate"
    """疑似一人多户: another live account of the same name and unit"""


class ScreeningOutcome(StrEnum):
    """What staff decided about a listed account."""

    CLOSE = "close"
    """销户"""
    EXTEND = "extend"
    """延期"""
    CONTACT = "contact"
    """联系本人"""
    KEEP = "keep"
    """保留"""


class ScreeningItem(Base):
    """One account that a screening lists."""

    __tablename__ = "screening_items"
    __table_args__ = (
        UniqueConstraint("screening_id", "finding", "holder_id"),
        CheckConstraint(
            "(outcome IS NULL) = (decided_by IS NULL) AND (outcome IS NULL) = (decided_at IS NULL)",
            name="decided_whole",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    screening_id: Mapped[UUID] = mapped_column(ForeignKey("screenings.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    finding: Mapped[Finding]
    facts: Mapped[dict[str, Any]]
    outcome: Mapped[ScreeningOutcome | None]
    reason: Mapped[str | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    decided_at: Mapped[datetime | None]
