"""Add the cash desk: shifts, cash top-ups, reversals, and the policies they go by.

Revises: 0009_add_stray_payments
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010_add_cash_desk"
down_revision = "0009_add_stray_payments"
branch_labels = None
depends_on = None


POLICIES = {
    "cash.difference_fen": 1_000,
    "cash.least_fen": 100,
    "cash.most_fen": 50_000,
    "cash.shift_most_fen": 2_000_000,
}
"""New ones, as the preset `standard` has them."""


def upgrade() -> None:
    op.create_table(
        "cash_shifts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cashier_id", sa.Uuid(), nullable=False),
        sa.Column("desk", sa.String(), nullable=False),
        sa.Column("opening_float_fen", sa.BigInteger(), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "closing",
                "closed",
                name="shiftstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counted_fen", sa.BigInteger(), nullable=True),
        sa.Column("expected_fen", sa.BigInteger(), nullable=True),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "ruling",
            sa.Enum(
                "approve",
                "recount",
                name="closeoutruling",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("ruling_reason", sa.String(), nullable=True),
        sa.Column("ruled_by", sa.Uuid(), nullable=True),
        sa.Column("ruled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_cash_shifts_closed_when")
        ),
        sa.CheckConstraint(
            "(state = 'open') = (counted_fen IS NULL) AND (counted_fen IS NULL) = (expected_fen IS NULL) AND (counted_fen IS NULL) = (counted_at IS NULL)",
            name=op.f("ck_cash_shifts_counted_when_not_open"),
        ),
        sa.CheckConstraint(
            "counted_fen = expected_fen OR note IS NOT NULL", name=op.f("ck_cash_shifts_says_why")
        ),
        sa.CheckConstraint(
            "opening_float_fen >= 0 AND counted_fen >= 0", name=op.f("ck_cash_shifts_not_negative")
        ),
        sa.CheckConstraint(
            "ruled_by <> cashier_id", name=op.f("ck_cash_shifts_another_person_rules")
        ),
        sa.ForeignKeyConstraint(
            ["cashier_id"], ["operators.id"], name=op.f("fk_cash_shifts_cashier_id")
        ),
        sa.ForeignKeyConstraint(
            ["ruled_by"], ["operators.id"], name=op.f("fk_cash_shifts_ruled_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_shifts")),
    )
    op.create_index(op.f("ix_cash_shifts_opened_at"), "cash_shifts", ["opened_at"], unique=False)
    op.create_index(
        "uq_cash_shifts_unclosed",
        "cash_shifts",
        ["cashier_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "cash_top_ups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shift_id", sa.Uuid(), nullable=False),
        sa.Column("cashier_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("balance_fen", sa.BigInteger(), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_cash_top_ups_amount_positive")),
        sa.CheckConstraint("number > 0", name=op.f("ck_cash_top_ups_number_positive")),
        sa.ForeignKeyConstraint(
            ["cashier_id"], ["operators.id"], name=op.f("fk_cash_top_ups_cashier_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_cash_top_ups_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["shift_id"], ["cash_shifts.id"], name=op.f("fk_cash_top_ups_shift_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_top_ups")),
        sa.UniqueConstraint(
            "business_date", "number", name=op.f("uq_cash_top_ups_business_date_number")
        ),
        sa.UniqueConstraint(
            "id",
            "cashier_id",
            "business_date",
            name=op.f("uq_cash_top_ups_id_cashier_id_business_date"),
        ),
    )
    op.create_index(op.f("ix_cash_top_ups_holder_id"), "cash_top_ups", ["holder_id"], unique=False)
    op.create_index(
        op.f("ix_cash_top_ups_shift_id_taken_at"),
        "cash_top_ups",
        ["shift_id", "taken_at"],
        unique=False,
    )
    op.create_index(op.f("ix_cash_top_ups_taken_at"), "cash_top_ups", ["taken_at"], unique=False)
    op.create_table(
        "cash_reversals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("top_up_id", sa.Uuid(), nullable=False),
        sa.Column("cashier_id", sa.Uuid(), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("supervisor_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("balance_fen", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "supervisor_id <> cashier_id", name=op.f("ck_cash_reversals_another_person_reverses")
        ),
        sa.ForeignKeyConstraint(
            ["supervisor_id"], ["operators.id"], name=op.f("fk_cash_reversals_supervisor_id")
        ),
        sa.ForeignKeyConstraint(
            ["top_up_id", "cashier_id", "business_date"],
            ["cash_top_ups.id", "cash_top_ups.cashier_id", "cash_top_ups.business_date"],
            name="fk_cash_reversals_top_up",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_reversals")),
        sa.UniqueConstraint("top_up_id", name=op.f("uq_cash_reversals_top_up_id")),
    )
    op.create_index(
        op.f("ix_cash_reversals_reversed_at"), "cash_reversals", ["reversed_at"], unique=False
    )
    # Where a school has policies already, it has these too from now on, by the same paper.
    for key, value in POLICIES.items():
        op.execute(
            sa.text(
                "INSERT INTO policies (id, key, value, document_number, valid_from)"
                " SELECT uuidv7(), :key, to_jsonb(CAST(:value AS int)), document_number, now()"
                " FROM policies WHERE key = 'top_up.least_fen' AND valid_until IS NULL"
            ).bindparams(key=key, value=value)
        )


def downgrade() -> None:
    for key in POLICIES:
        op.execute(sa.text("DELETE FROM policies WHERE key = :key").bindparams(key=key))
    op.drop_index(op.f("ix_cash_reversals_reversed_at"), table_name="cash_reversals")
    op.drop_table("cash_reversals")
    op.drop_index(op.f("ix_cash_top_ups_taken_at"), table_name="cash_top_ups")
    op.drop_index(op.f("ix_cash_top_ups_shift_id_taken_at"), table_name="cash_top_ups")
    op.drop_index(op.f("ix_cash_top_ups_holder_id"), table_name="cash_top_ups")
    op.drop_table("cash_top_ups")
    op.drop_index(
        "uq_cash_shifts_unclosed",
        table_name="cash_shifts",
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.drop_index(op.f("ix_cash_shifts_opened_at"), table_name="cash_shifts")
    op.drop_table("cash_shifts")
