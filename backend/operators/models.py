"""Operators (操作员): the card centre's staff, and their sessions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class Role(StrEnum):
    """What an operator answers for, regulation 一(二)–(五)."""

    CARD_CENTRE = "card_centre"
    """卡中心"""
    FINANCE = "finance"
    """计划财务处"""
    LOGISTICS = "logistics"
    """后勤保卫处"""
    ACADEMIC = "academic"
    """教务处"""
    STUDENT_AFFAIRS = "student_affairs"
    """学生工作处"""
    PERSONNEL = "personnel"
    """人事处"""
    AUDITOR = "auditor"
    """审计"""


class Operator(Base):
    """One person of the staff."""

    __tablename__ = "operators"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role]
    password_hash: Mapped[str]
    """argon2id"""
    totp_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    last_totp_step: Mapped[int]
    """The newest step that was used: a code logs in once."""


class OperatorTry(Base):
    """A login that failed, counted per user name."""

    __tablename__ = "operator_tries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username_index: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    at: Mapped[datetime]


class OperatorSession(Base):
    """A login: 15 minutes idle, 8 hours at most."""

    __tablename__ = "operator_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    operator_id: Mapped[UUID] = mapped_column(ForeignKey("operators.id"))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
