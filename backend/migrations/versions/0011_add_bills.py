"""Add the channels' bills, their rows and files, and when to fetch them.

Revises: 0010_add_cash_desk
"""

import sqlalchemy as sa
from alembic import op

revision = "0011_add_bills"
down_revision = "0010_add_cash_desk"
branch_labels = None
depends_on = None


def _word(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    op.create_table(
        "channel_bills",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", _word("billstate", "imported", "superseded", "refused"), nullable=False),
        sa.Column("source", _word("billsource", "fetched", "uploaded"), nullable=False),
        sa.Column("payments", sa.Integer(), nullable=False),
        sa.Column("payments_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.Integer(), nullable=False),
        sa.Column("refunds_fen", sa.BigInteger(), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.String(), nullable=True),
        sa.Column("fault_line", sa.Integer(), nullable=True),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'refused') = (fault IS NOT NULL)",
            name=op.f("ck_channel_bills_fault_when_refused"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_bills")),
        sa.UniqueConstraint(
            "channel", "day", "digest", name=op.f("uq_channel_bills_channel_day_digest")
        ),
        sa.UniqueConstraint(
            "channel", "day", "version", name=op.f("uq_channel_bills_channel_day_version")
        ),
    )
    op.create_index(
        "uq_channel_bills_counts",
        "channel_bills",
        ["channel", "day"],
        unique=True,
        postgresql_where=sa.text("state = 'imported'"),
    )
    op.create_index(op.f("ix_channel_bills_imported_at_id"), "channel_bills", ["imported_at", "id"])
    op.create_table(
        "bill_files",
        sa.Column("bill_id", sa.Uuid(), nullable=False),
        sa.Column("content_sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bill_id"], ["channel_bills.id"], name=op.f("fk_bill_files_bill_id")
        ),
        sa.PrimaryKeyConstraint("bill_id", name=op.f("pk_bill_files")),
    )
    op.create_table(
        "bill_lines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("bill_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("kind", _word("billrowkind", "payment", "refund"), nullable=False),
        sa.Column("out_trade_no", sa.String(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=False),
        sa.Column("out_refund_no", sa.String(), nullable=True),
        sa.Column("refund_no", sa.String(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column(
            "match",
            _word(
                "linematch",
                "matched",
                "unknown_order",
                "amount_differs",
                "not_paid_here",
                "other_payment",
                "unknown_refund",
                "state_differs",
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["bill_id"], ["channel_bills.id"], name=op.f("fk_bill_lines_bill_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bill_lines")),
        sa.UniqueConstraint("bill_id", "line", name=op.f("uq_bill_lines_bill_id_line")),
    )
    op.create_index(
        op.f("ix_bill_lines_bill_id_match_at"), "bill_lines", ["bill_id", "match", "at"]
    )
    op.create_index(op.f("ix_bill_lines_out_trade_no"), "bill_lines", ["out_trade_no"])
    op.create_table(
        "bill_fetches",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("alarmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("channel", "day", name=op.f("pk_bill_fetches")),
    )
    op.create_index(
        "ix_bill_fetches_due",
        "bill_fetches",
        ["next_try_at"],
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
