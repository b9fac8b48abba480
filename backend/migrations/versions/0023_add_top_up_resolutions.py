"""Let two people settle a frozen top-up.

Revises: 0022_add_applications
"""

import sqlalchemy as sa
from alembic import op

revision = "0023_add_top_up_resolutions"
down_revision = "0022_add_applications"
branch_labels = None
depends_on = None

STRAY_REASONS = ("second_payment", "other_channel", "replaced", "account_closed")


def allow_stray_reasons(*words: str) -> None:
    listed = ", ".join(f"'{word}'" for word in words)
    name = op.f("ck_stray_payments_strayreason")
    op.drop_constraint(name, "stray_payments", type_="check")
    op.create_check_constraint(name, "stray_payments", f"reason IN ({listed})")


def upgrade() -> None:
    allow_stray_reasons(*STRAY_REASONS, "not_as_ordered")
    op.create_table(
        "top_up_resolutions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("top_up_id", sa.Uuid(), nullable=False),
        sa.Column(
            "way",
            sa.Enum(
                "credit",
                "send_back",
                "gone_back",
                "of_another",
                "nothing_came",
                name="resolutionway",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "told_state",
            sa.Enum(
                "unknown",
                "unpaid",
                "paid",
                "refunded",
                "closed",
                name="tradestate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("told_fen", sa.BigInteger(), nullable=True),
        sa.Column("told_currency", sa.String(), nullable=False),
        sa.Column("trade_no", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("approved_by <> made_by", name=op.f("ck_top_up_resolutions_two_people")),
        sa.CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL)"
            " AND (approved IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_top_up_resolutions_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["top_up_id"], ["top_ups.id"], name=op.f("fk_top_up_resolutions_top_up_id")
        ),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_top_up_resolutions_made_by")
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["operators.id"], name=op.f("fk_top_up_resolutions_approved_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_top_up_resolutions")),
    )
    op.create_index(op.f("ix_top_up_resolutions_top_up_id"), "top_up_resolutions", ["top_up_id"])
    op.create_index(
        "uq_top_up_resolutions_waits",
        "top_up_resolutions",
        ["top_up_id"],
        unique=True,
        postgresql_where=sa.text("approved IS NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index(
        "uq_top_up_resolutions_waits",
        table_name="top_up_resolutions",
        postgresql_where=sa.text("approved IS NULL"),
    )
    op.drop_index(op.f("ix_top_up_resolutions_top_up_id"), table_name="top_up_resolutions")
    op.drop_table("top_up_resolutions")
    allow_stray_reasons(*STRAY_REASONS)
