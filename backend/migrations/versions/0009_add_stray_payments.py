"""Let an order replace another, and keep the payments that no purse takes.

Revises: 0008_add_refunds
"""

import sqlalchemy as sa
from alembic import op

revision = "0009_add_stray_payments"
down_revision = "0008_add_refunds"
branch_labels = None
depends_on = None


CHECKS = (
    (
        "top_ups",
        "state",
        "topupstate",
        ("created", "pending", "paid", "closing", "closed", "failed", "exception", "returned"),
    ),
    (
        "channel_notices",
        "outcome",
        "noticeoutcome",
        (
            "credited", "already_settled", "ignored", "returned", "mismatch", "unknown_order",
            "refund_noted", "unknown_refund", "forged",
        ),
    ),
)  # fmt: skip
"""Table, column, name, and every word there is from now on."""


def upgrade() -> None:
    for table, column, name, words in CHECKS:
        listed = ", ".join(f"'{word}'" for word in words)
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({listed})")
    op.add_column("top_ups", sa.Column("replaces_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_top_ups_replaces_id"), "top_ups", "top_ups", ["replaces_id"], ["id"]
    )
    op.add_column("top_ups", sa.Column("wish_id", sa.Uuid(), nullable=True))
    op.execute("UPDATE top_ups SET wish_id = id")
    op.alter_column("top_ups", "wish_id", nullable=False)
    op.create_index(
        "uq_top_ups_credited",
        "top_ups",
        ["wish_id"],
        unique=True,
        postgresql_where=sa.text("state = 'paid'"),
    )
    op.create_table(
        "stray_payments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=False),
        sa.Column("top_up_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "second_payment",
                "other_channel",
                "replaced",
                "account_closed",
                name="strayreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["top_up_id"], ["top_ups.id"], name=op.f("fk_stray_payments_top_up_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stray_payments")),
        sa.UniqueConstraint("channel", "trade_no", name=op.f("uq_stray_payments_channel_trade_no")),
    )
    op.create_index(
        op.f("ix_stray_payments_top_up_id"), "stray_payments", ["top_up_id"], unique=False
    )
