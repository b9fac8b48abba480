"""Let people come back, and claim what a bank sent back.

A closed account may be opened, and closed, again.

Revises: 0022_add_applications
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023_let_people_come_back"
down_revision = "0022_add_applications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("uq_closings_live_holder", "closings")
    op.create_index(
        "uq_closings_live_holder",
        "closings",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('cancelled', 'closed')"),
    )
    op.create_table(
        "account_returns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_account_returns_holder_id")
        ),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_account_returns_card_id")),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_account_returns_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_returns")),
    )
    op.add_column("payout_lines", sa.Column("claim_id", sa.Uuid(), nullable=True))
    op.add_column(
        "payout_lines",
        sa.Column(
            "claim_way",
            sa.Enum(
                "new_account",
                "in_person",
                name="claimway",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
    )
    op.add_column(
        "payout_lines", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_unique_constraint(op.f("uq_payout_lines_claim_id"), "payout_lines", ["claim_id"])
    op.create_check_constraint(
        op.f("ck_payout_lines_claimed_whole"),
        "payout_lines",
        "(claim_id IS NULL) = (claim_way IS NULL) AND (claim_id IS NULL) = (claimed_at IS NULL)",
    )
    op.create_index(op.f("ix_account_returns_holder_id"), "account_returns", ["holder_id"])


def downgrade() -> None:
    op.drop_constraint(op.f("ck_payout_lines_claimed_whole"), "payout_lines")
    for name in ("claimed_at", "claim_way", "claim_id"):
        op.drop_column("payout_lines", name)
    op.drop_table("account_returns")
    op.drop_index("uq_closings_live_holder", "closings")
    op.create_index(
        "uq_closings_live_holder",
        "closings",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'cancelled'"),
    )
