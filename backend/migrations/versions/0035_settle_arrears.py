"""Let arrears of closed accounts be paid in cash, or written off by two people.

Revises: 0034_reopen_by_roster
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035_settle_arrears"
down_revision = "0034_reopen_by_roster"
branch_labels = None
depends_on = None


CHECKS = (
    (
        "accounts",
        "accountkind",
        (
            "main_purse", "subsidy_purse", "merchant", "surcharge", "channel", "subsidy_fund",
            "arrears", "risk", "refunds_due", "cash", "cash_difference", "bank",
            "card_fees", "written_off",
        ),
    ),
    (
        "transfers",
        "transferkind",
        (
            "charge", "surcharge", "charge_reversal", "surcharge_reversal", "top_up", "subsidy",
            "arrears", "arrears_cash", "arrears_cash_reversal", "arrears_written_off", "refund",
            "refund_returned", "refund_sent", "refund_payout", "stray_payment", "cash_top_up",
            "cash_top_up_reversal", "cash_handed_in", "cash_difference", "card_fee", "closing",
            "subsidy_withdrawn", "surcharge_returned", "correction",
        ),
    ),
)  # fmt: skip
"""Table, name, and every kind there is from now on."""
ARREARS = {
    "paid_within": "least(paid_fen, written_off_fen) >= 0 AND amount_fen > 0"
    " AND paid_fen + written_off_fen <= amount_fen",
    "settled_when": "(paid_fen + written_off_fen = amount_fen) = (settled_at IS NOT NULL)",
}
"""What holds of arrears from now on."""


def upgrade() -> None:
    for table, name, kinds in CHECKS:
        words = ", ".join(f"'{kind}'" for kind in kinds)
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"kind IN ({words})")
    # Each school has one, from now on and whoever founds it.
    op.execute("INSERT INTO accounts (id, kind) VALUES (uuidv7(), 'written_off')")
    op.add_column(
        "arrears",
        sa.Column("written_off_fen", sa.BigInteger(), server_default="0", nullable=False),
    )
    for name, holds in ARREARS.items():
        op.drop_constraint(op.f(f"ck_arrears_{name}"), "arrears", type_="check")
        op.create_check_constraint(op.f(f"ck_arrears_{name}"), "arrears", holds)
    op.add_column(
        "cash_top_ups",
        sa.Column("arrears_parts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )
    op.create_table(
        "arrears_write_offs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_arrears_write_offs_amount_positive")),
        sa.CheckConstraint("approved_by <> made_by", name=op.f("ck_arrears_write_offs_two_people")),
        sa.CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_arrears_write_offs_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_arrears_write_offs_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_arrears_write_offs_made_by")
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["operators.id"], name=op.f("fk_arrears_write_offs_approved_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrears_write_offs")),
    )
    op.create_index(op.f("ix_arrears_write_offs_holder_id"), "arrears_write_offs", ["holder_id"])
    op.create_index(
        "uq_arrears_write_offs_waits",
        "arrears_write_offs",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("approved IS NULL"),
    )
