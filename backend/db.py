"""The database: one declarative base, one place that commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, DateTime, Engine, Enum, MetaData, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, sessionmaker
from sqlalchemy.orm import Session as SessionType

from backend.money import Fen


class Base(DeclarativeBase):
    """Every table."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy as a plain class attribute
        Fen: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        # A member's value, not its name, as checked text: a new member is an ordinary migration,
        # and SQL reads the way the code does.
        StrEnum: Enum(
            StrEnum,
            native_enum=False,
            create_constraint=True,
            length=32,
            values_callable=lambda members: [member.value for member in members],
        ),
    }


Session = sessionmaker(expire_on_commit=False)


def connect(url: str, *, pool_size: int = 8) -> Engine:
    """Bind the sessions of this process to a database and return its engine.

    Waiting is bounded everywhere: for a connection, for a statement, for a lock, and for a
    transaction that its owner forgot.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        pool_pre_ping=True,
        hide_parameters=True,  # they are people's names and numbers, and errors are logged
        connect_args={
            "connect_timeout": 2,
            "application_name": "campus-card",
            "options": "-c timezone=UTC -c statement_timeout=5000 -c lock_timeout=3000"
            " -c idle_in_transaction_session_timeout=10000",
        },
    )
    Session.configure(bind=engine)
    return engine


@contextmanager
def transaction() -> Iterator[SessionType]:
    """Open a session; commit when the block ends, roll back if it raises.

    The only place that commits.  Write the answer after the block: what was answered is stored.
    """
    with Session.begin() as session:
        yield session
