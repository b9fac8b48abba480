"""Let holders claim what a bank sent back.

Revises: 0028_add_ends_of_policies
"""

import sqlalchemy as sa
from alembic import op

revision = "0029_claim_payouts"
down_revision = "0028_add_ends_of_policies"
branch_labels = None
depends_on = None


def upgrade() -> None:
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


def downgrade() -> None:
    op.drop_constraint(op.f("ck_payout_lines_claimed_whole"), "payout_lines")
    for name in ("claimed_at", "claim_way", "claim_id"):
        op.drop_column("payout_lines", name)
