"""Applications (申请) for temporary cards: who asks for whom, and who approved it."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.holders.models import Category, DocumentKind


class ApplicationState(StrEnum):
    """How far an application (申请) has come."""

    WAITING = "waiting"
    """待审批"""
    APPROVED = "approved"
    """已批准"""
    OPENED = "opened"
    """已开卡"""
    WITHDRAWN = "withdrawn"
    """已撤回"""


class ApprovalKind(StrEnum):
    """Whose approval it is, regulation 三(三): both are needed."""

    UNIT = "unit"
    """单位审批"""
    LEADER = "leader"
    """分管院领导审批"""


class Fault(StrEnum):
    """Why somebody of an application gets no card."""

    HOLDER_KNOWN = "holder_known"
    """已有账户: this document belongs to a holder; one person has one card, 二(三)"""
    NUMBER_KNOWN = "number_known"
    """号码已登记: a holder has this number under another kind of document, so one kind is wrong, or
    they are two people: somebody has to look"""


class Application(Base):
    """An application for temporary cards (临时卡申请), approved in the college's OA."""

    __tablename__ = "applications"
    __table_args__ = (
        Index(None, "made_at"),
        Index(
            "uq_applications_oa_number",
            "oa_number",
            unique=True,
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
        CheckConstraint("valid_until >= valid_from", name="period"),
        CheckConstraint("category LIKE 'temporary%'", name="temporary"),
        CheckConstraint("(state = 'withdrawn') = (withdrawn_at IS NOT NULL)", name="withdrawn"),
        CheckConstraint("(opening_id IS NULL) = (opened_at IS NULL)", name="opened"),
        CheckConstraint("receipt_number IS NULL OR opening_id IS NOT NULL", name="receipt"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    content_index: Mapped[bytes] = mapped_column(LargeBinary)
    """Keyed hash of what was asked for: it tells a retry from a reused id."""
    state: Mapped[ApplicationState]
    oa_number: Mapped[str]
    """OA 流程编号"""
    sponsor_unit: Mapped[str]
    """申办单位"""
    sponsor_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    """申办人: a member of staff"""
    purpose: Mapped[str]
    category: Mapped[Category]
    """One of the temporary categories."""
    permissions: Mapped[list[Any]]
    """用途权限"""
    pays_surcharge: Mapped[bool | None]
    """Whether meals cost the meal surcharge (搭伙费) on top; None: the application left it open."""
    valid_from: Mapped[date]
    valid_until: Mapped[date]
    """The last day, as the newest approval has it."""
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    opening_id: Mapped[UUID | None] = mapped_column(unique=True)
    receipt_number: Mapped[str | None] = mapped_column(unique=True)
    """收据号 of the card fee (工本费), collected by 财务; one may cover many people."""
    opened_at: Mapped[datetime | None]
    policy_ids: Mapped[list[Any]]
    """By which the opening was decided."""
    reminded_of: Mapped[date | None]
    """Which end the sponsor was reminded of."""


class Applicant(Base):
    """One person of an application."""

    __tablename__ = "applicants"
    __table_args__ = (
        Index(None, "holder_id"),
        Index("uq_applicants_position", "application_id", "position", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID] = mapped_column(ForeignKey("applications.id"))
    position: Mapped[int]
    """From 1, as the list of the application has them."""
    name: Mapped[str]
    unit: Mapped[str]
    holder_number: Mapped[str] = mapped_column(unique=True)
    """Reserved for the person when the application came."""
    document_kind: Mapped[DocumentKind | None]
    document_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    other_indexes: Mapped[list[Any] | None]
    """Keyed hashes of the same number under every other kind, in hex; None: nobody noted them."""
    document_tail_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    """None: 记名, no document was shown."""
    holder_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    """Whom they became; None while not opened."""
    fault: Mapped[Fault | None]
    """Why this one could not be opened."""
    left_on: Mapped[date | None]
    """Of somebody who left early: the last day."""


class Approval(Base):
    """An approval that was given in the OA, recorded with its paper.  Never changed."""

    __tablename__ = "application_approvals"
    __table_args__ = (
        Index("uq_application_approvals_kind", "application_id", "kind", "extension_id",
              unique=True, postgresql_nulls_not_distinct=True),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID] = mapped_column(ForeignKey("applications.id"))
    extension_id: Mapped[UUID | None] = mapped_column(ForeignKey("application_extensions.id"))
    """None: the approval of the application itself."""
    kind: Mapped[ApprovalKind]
    approver: Mapped[str]
    document: Mapped[str]
    """Where the paper is (附件编号), as a reference."""
    decided_on: Mapped[date]
    recorded_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    recorded_at: Mapped[datetime]


class Extension(Base):
    """A later end, by a new flow of the OA: the same cards go on (延期)."""

    __tablename__ = "application_extensions"
    __table_args__ = (CheckConstraint("valid_until > valid_before", name="later"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID] = mapped_column(ForeignKey("applications.id"), index=True)
    content_index: Mapped[bytes] = mapped_column(LargeBinary)
    oa_number: Mapped[str] = mapped_column(unique=True)
    valid_before: Mapped[date]
    valid_until: Mapped[date]
    made_by: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    made_at: Mapped[datetime]


class EarlyLeaving(Base):
    """Somebody whose card ends before its day, as the sponsor tells (提前离校)."""

    __tablename__ = "early_leavings"
    __table_args__ = (CheckConstraint("num_nonnulls(told_by, sponsor_id) = 1", name="told_by_one"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    applicant_id: Mapped[UUID] = mapped_column(ForeignKey("applicants.id"), unique=True)
    last_on: Mapped[date]
    reason: Mapped[str]
    told_by: Mapped[UUID | None] = mapped_column(ForeignKey("operators.id"))
    sponsor_id: Mapped[UUID | None] = mapped_column(ForeignKey("holders.id"))
    """The sponsor who told it themselves, at the phone; None: an operator did for them."""
    told_at: Mapped[datetime]
