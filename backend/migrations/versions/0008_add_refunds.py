"""Add refunds at a channel, the payments that they belong to, and payouts by hand.

Revises: 0007_add_money_out
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008_add_refunds"
down_revision = "0007_add_money_out"
branch_labels = None
depends_on = None


OUTCOMES = (
    "credited",
    "already_settled",
    "ignored",
    "mismatch",
    "unknown_order",
    "forged",
)
NEW_OUTCOMES = ("refund_noted", "unknown_refund")


def _allow(outcomes: tuple[str, ...]) -> None:
    words = ", ".join(f"'{outcome}'" for outcome in outcomes)
    name = op.f("ck_channel_notices_noticeoutcome")
    op.drop_constraint(name, "channel_notices", type_="check")
    op.create_check_constraint(name, "channel_notices", f"outcome IN ({words})")


def upgrade() -> None:
    _allow(OUTCOMES + NEW_OUTCOMES)
    op.create_table(
        "holder_refunds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_holder_refunds_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holder_refunds")),
    )
    op.create_index(
        op.f("ix_holder_refunds_holder_id_requested_at"),
        "holder_refunds",
        ["holder_id", "requested_at"],
        unique=False,
    )
    op.create_table(
        "refunded_payments",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "refunded_fen BETWEEN 0 AND paid_fen",
            name=op.f("ck_refunded_payments_never_more_than_paid"),
        ),
        sa.PrimaryKeyConstraint("channel", "trade_no", name=op.f("pk_refunded_payments")),
        sa.UniqueConstraint(
            "channel",
            "trade_no",
            "paid_fen",
            name=op.f("uq_refunded_payments_channel_trade_no_paid_fen"),
        ),
    )
    op.create_table(
        "channel_refunds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("to_purse", sa.Boolean(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("out_trade_no", sa.String(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "due",
                "sending",
                "processing",
                "succeeded",
                "returned",
                "abnormal",
                "paid_out",
                name="refundstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("refund_no", sa.String(), nullable=True),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_channel_refunds_amount")),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'returned', 'paid_out')) = (settled_at IS NOT NULL)",
            name=op.f("ck_channel_refunds_settled_when"),
        ),
        sa.ForeignKeyConstraint(
            ["channel", "trade_no", "paid_fen"],
            [
                "refunded_payments.channel",
                "refunded_payments.trade_no",
                "refunded_payments.paid_fen",
            ],
            name="fk_channel_refunds_payment",
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_channel_refunds_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_refunds")),
        sa.UniqueConstraint(
            "subject_id",
            "channel",
            "trade_no",
            name=op.f("uq_channel_refunds_subject_id_channel_trade_no"),
        ),
    )
    for columns in (("holder_id", "created_at"), ("channel", "trade_no"), ("state", "created_at")):
        name = op.f(f"ix_channel_refunds_{'_'.join(columns)}")
        op.create_index(name, "channel_refunds", list(columns), unique=False)
    op.create_index(
        "ix_channel_refunds_due",
        "channel_refunds",
        ["next_try_at"],
        unique=False,
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
    op.create_table(
        "strange_refunds",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("out_refund_no", sa.String(), nullable=False),
        sa.Column("out_trade_no", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("refund_no", sa.String(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", "out_refund_no", name=op.f("pk_strange_refunds")),
    )
    op.create_table(
        "refund_payouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("refund_id", sa.Uuid(), nullable=False),
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("maker_id", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("checker_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("checker_id <> maker_id", name=op.f("ck_refund_payouts_two_people")),
        sa.CheckConstraint(
            "(approved IS NULL) = (checker_id IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_refund_payouts_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["checker_id"], ["operators.id"], name=op.f("fk_refund_payouts_checker_id")
        ),
        sa.ForeignKeyConstraint(
            ["maker_id"], ["operators.id"], name=op.f("fk_refund_payouts_maker_id")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["channel_refunds.id"], name=op.f("fk_refund_payouts_refund_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_payouts")),
    )
    op.create_index(
        "uq_refund_payouts_refund_id",
        "refund_payouts",
        ["refund_id"],
        unique=True,
        postgresql_where=sa.text("approved IS NOT FALSE"),
    )


def downgrade() -> None:
    for table in (
        "refund_payouts",
        "strange_refunds",
        "channel_refunds",
        "refunded_payments",
        "holder_refunds",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION count_refund()")
    words = ", ".join(f"'{outcome}'" for outcome in NEW_OUTCOMES)
    op.execute(f"DELETE FROM channel_notices WHERE outcome IN ({words})")  # noqa: S608
    _allow(OUTCOMES)
