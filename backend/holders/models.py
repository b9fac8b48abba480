"""Holders (持卡人), their bindings to platform accounts, and their sessions."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Category(StrEnum):
    """What kind of holder, by the regulation's 二(三)–(六)."""

    STUDENT = "student"
    """学生"""
    NEW_STUDENT = "new_student"
    """新生: a student in the first three months"""
    STAFF = "staff"
    """教工"""
    TEMPORARY_RETIRED = "temporary_retired"
    """临时·退休教职工"""
    TEMPORARY_TRAINEE = "temporary_trainee"
    """临时·培训学员"""
    TEMPORARY_OUTSIDER = "temporary_outsider"
    """临时·校外人员"""


class Employment(StrEnum):
    """How staff are employed (用工性质), regulation 二(四)."""

    PUBLIC_INSTITUTION = "public_institution"
    """事业编"""
    COLLEGE = "college"
    """院编"""
    DISPATCHED = "dispatched"
    """派遣制"""


class Identity(StrEnum):
    """How surely the school knows who it is, regulation 二(三)."""

    REAL_NAME = "real_name"
    """实名: by an ID document"""
    REGISTERED = "registered"
    """记名: name and unit are known, no document was checked; a physical card, no phone"""


class DocumentKind(StrEnum):
    """Which ID document (证件类型)."""

    RESIDENT_ID = "resident_id"
    """居民身份证"""
    PASSPORT = "passport"
    """护照"""
    HK_MACAO_PERMIT = "hk_macao_permit"
    """港澳居民来往内地通行证"""
    TAIWAN_PERMIT = "taiwan_permit"
    """台湾居民来往大陆通行证"""
    FOREIGN_PERMIT = "foreign_permit"
    """外国人永久居留身份证"""
    UNSPECIFIED = "unspecified"
    """未注明"""


class Permission(StrEnum):
    """What a card is for (用途权限), regulation 一(一)."""

    PAY = "pay"
    """消费"""
    IDENTIFY = "identify"
    """身份识别"""
    FINANCE = "finance"
    """金融服务: topping up, sending the balance back"""
    INFORMATION = "information"
    """公共信息: of other applications (第三方应用, 四(四)), which ask it of us.  Nothing of our own
    is withheld by it: one's own statement and notices are everybody's."""


class Holder(Base):
    """A person on the roster (名册).

    Of the ID document only keyed hashes are kept: of its kind and number, and of its last six
    characters (under the holder number, so equal endings do not show).  The first one is unique:
    one person is one holder, whatever their numbers and categories were.
    """

    __tablename__ = "holders"
    __table_args__ = (
        CheckConstraint("employment IS NULL OR category = 'staff'", name="employment_of_staff"),
        CheckConstraint(
            "(identity = 'real_name') = (document_index IS NOT NULL)"
            " AND (document_index IS NULL) = (document_tail_index IS NULL)",
            name="identity_by_document",
        ),
        Index(
            "ix_holders_surcharge_unknown",
            "id",
            postgresql_where=text("pays_surcharge IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_number: Mapped[str] = mapped_column(unique=True)
    """学工号: the one of today.  `HolderNumber` has the earlier ones, too."""
    name: Mapped[str]
    category: Mapped[Category]
    employment: Mapped[Employment | None]
    unit: Mapped[str]
    """Class (班级) of a student, department (部门) of others."""
    identity: Mapped[Identity] = mapped_column(server_default="real_name")
    document_kind: Mapped[DocumentKind] = mapped_column(server_default="unspecified")
    document_index: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    document_tail_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    document_tail_number: Mapped[str | None]
    """Under which holder number the tail was hashed; None: the one of today."""
    entered_on: Mapped[date | None]
    """入校（职）日期"""
    programme_ends_on: Mapped[date | None]
    """学制届满: the last day of a student's programme"""
    denied: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Permissions that the holder lacks today: the category's and the exceptions, worked out.
    The database decides charges by it, so whatever changes either writes it (`permissions`)."""
    proven: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Fields that were changed on proof (信息变更): the roster does not overwrite them."""
    pays_surcharge: Mapped[bool | None]
    """Whether meals cost the meal surcharge (搭伙费) on top: some temporary holders, 三(七).

    None: nobody has said.  Then they pay none, and logistics is told (`charges/surcharge_flags`).
    """
    valid_until: Mapped[date]
    """The last day of the card's life."""
    per_charge_limit_fen: Mapped[int | None]
    """The holder's own limits (限额); None leaves only the school's."""
    per_day_limit_fen: Mapped[int | None]
    raised_limits: Mapped[dict[str, Any] | None]
    """Higher limits that the holder asked for: they hold `from` the next day on."""
    payment_paused: Mapped[bool] = mapped_column(server_default=text("false"))

    def note_proven(self, field: str) -> None:
        """Note that a field was changed on proof: from now on the roster leaves it alone."""
        if field not in self.proven:
            self.proven = [*self.proven, field]


class HolderNumber(Base):
    """Every number (学工号) that a holder has or had.  The database writes it: see `keep_number`.

    So an old number still finds its holder, and nobody else is ever given it.
    """

    __tablename__ = "holder_numbers"
    __table_args__ = (Index(None, "holder_id"),)

    number: Mapped[str] = mapped_column(primary_key=True)
    folded: Mapped[str] = mapped_column(Computed("upper(number)", persisted=True), index=True)
    """As it is compared: nobody is given a number that differs only in upper and lower case."""
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))


class RosterSource(StrEnum):
    """Who keeps the list of people that a feed is (数据来源), regulation 三(二)."""

    ACADEMIC = "academic"
    """教务处: students"""
    PERSONNEL = "personnel"
    """人事处: staff"""
    CARD_CENTRE = "card_centre"
    """卡中心: anybody"""


class RosterBatch(Base):
    """One import of the roster (导入批次), with its report: a retry gets it again."""

    __tablename__ = "roster_batches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[RosterSource]
    content_index: Mapped[bytes] = mapped_column(LargeBinary)
    """Keyed hash of the file: it holds document numbers, so a plain one could be guessed at."""
    made_by: Mapped[str]
    at: Mapped[datetime]
    report: Mapped[dict[str, Any]]


class RosterConflict(Base):
    """A field in which the roster differs from what was proven; staff settle it (名册差异)."""

    __tablename__ = "roster_conflicts"
    __table_args__ = (
        Index(
            "uq_roster_conflicts_open",
            "holder_id",
            "field",
            unique=True,
            postgresql_where=text("settled_at IS NULL"),
        ),
        CheckConstraint("(settled_at IS NULL) = (accepted IS NULL)", name="settled"),
        CheckConstraint("(made_at IS NULL) = (made_by IS NULL)", name="made"),
        CheckConstraint(
            "accepted IS NOT TRUE OR field = 'unit' OR coalesce(made_by <> settled_by, false)",
            name="two_people",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    field: Mapped[str]
    value: Mapped[Any | None] = mapped_column(JSONB)
    """What the roster says."""
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("roster_batches.id"))
    seen_at: Mapped[datetime]
    made_by: Mapped[str | None]
    """Who wants the roster's value taken over (提议采用名册); another one settles it so."""
    made_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    accepted: Mapped[bool | None]
    """Whether the roster's value was taken over, or ours kept."""


class PermissionOverride(Base):
    """One exception from what a category may do (权限例外), until its day."""

    __tablename__ = "permission_overrides"
    __table_args__ = (Index(None, "holder_id"), Index(None, "until"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    permission: Mapped[Permission]
    allowed: Mapped[bool]
    reason: Mapped[str]
    document_number: Mapped[str]
    """文号"""
    until: Mapped[date | None]
    """The last day on which it holds; None: until it is ended."""
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """When a later one took its place, or it was ended."""


class CategoryChange(Base):
    """Somebody becomes another kind of holder on a day (类别变更)."""

    __tablename__ = "category_changes"
    __table_args__ = (
        Index(
            "uq_category_changes_waiting",
            "holder_id",
            unique=True,
            postgresql_where=text("applied_at IS NULL AND withdrawn_at IS NULL"),
        ),
        Index(
            "uq_category_changes_holder_number",
            "holder_number",
            unique=True,
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
        CheckConstraint("applied_at IS NULL OR withdrawn_at IS NULL", name="withdrawn_when"),
        CheckConstraint("(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name="withdrawn_whole"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    category: Mapped[Category]
    employment: Mapped[Employment | None]
    unit: Mapped[str]
    holder_number: Mapped[str | None]
    """A new number, where they get one."""
    from_day: Mapped[date]
    valid_until: Mapped[date | None]
    document_number: Mapped[str]
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    before: Mapped[dict[str, Any] | None]
    """What they were before it."""
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[str | None]
    """Who took it back before its day (撤回), as the operation log names actors."""


class DataField(StrEnum):
    """What can be changed on proof (信息变更), regulation 三(十二)."""

    NAME = "name"
    """姓名"""
    DOCUMENT = "document"
    """证件"""
    UNIT = "unit"
    """单位"""


class DataChange(Base):
    """A change of a holder's data, proposed with its proof, approved by somebody else.

    Old and new names stay readable for staff.  Of a document only hashes are kept.
    """

    __tablename__ = "data_changes"
    __table_args__ = (
        CheckConstraint("decided_by <> made_by OR field = 'unit'", name="two_people"),
        CheckConstraint(
            "(decided_at IS NULL) = (decided_by IS NULL)"
            " AND (decided_at IS NULL) = (approved IS NULL)",
            name="decided",
        ),
        Index(
            "uq_data_changes_waiting",
            "holder_id",
            "field",
            unique=True,
            postgresql_where=text("decided_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    field: Mapped[DataField]
    old: Mapped[str | None]
    new: Mapped[str | None]
    document_kind: Mapped[DocumentKind | None]
    document_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    document_tail_index: Mapped[bytes | None] = mapped_column(LargeBinary)
    document_tail_number: Mapped[str | None]
    documents: Mapped[list[Any]]
    """Which papers were shown (核验材料): kinds, never numbers."""
    made_by: Mapped[str]
    made_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    approved: Mapped[bool | None]


class BindingState(StrEnum):
    """How far a real-name binding (实名绑定) has come, regulation 五(一)."""

    IDENTITY_VERIFIED = "identity_verified"
    """The person was found on the roster; the payment account is not yet shown to be theirs."""
    ACTIVE = "active"
    ENDED = "ended"


class Binding(Base):
    """One platform account bound to one holder.  Both have at most one live binding."""

    __tablename__ = "bindings"
    __table_args__ = (
        Index(
            "uq_bindings_live_holder",
            "holder_id",
            unique=True,
            postgresql_where=text("state <> 'ended'"),
        ),
        Index(
            "uq_bindings_live_account",
            "account_index",
            unique=True,
            postgresql_where=text("state <> 'ended'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("holders.id"))
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    platform: Mapped[str]
    state: Mapped[BindingState]
    terms_version: Mapped[str]
    identity_verified_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class BindingTry(Base):
    """One attempt at the identity step, counted per platform account and per holder number."""

    __tablename__ = "binding_tries"
    __table_args__ = (Index(None, "account_index", "at"), Index(None, "holder_number_index", "at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    holder_number_index: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime]


class HolderSession(Base):
    """A login of a platform account.  Its token is opaque and dies at once when the row ends."""

    __tablename__ = "holder_sessions"
    __table_args__ = (Index(None, "account_index"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    platform: Mapped[str]
    account_index: Mapped[bytes] = mapped_column(LargeBinary)
    account_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """The platform's account id, for calls back to that platform."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    identity_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Name and document between the two steps of binding, readable only with the bearer token."""
    identity_sealed_at: Mapped[datetime | None]
