"""Let finance answer what holders claim of what a bank sent back.

Revises: 0035_settle_arrears
"""

import sqlalchemy as sa
from alembic import op

revision = "0036_answer_claims"
down_revision = "0035_settle_arrears"
branch_labels = None
depends_on = None


CHECKS = {
    "answered_whole": "(claim_accepted IS NULL) = (answered_by IS NULL)"
    " AND (claim_accepted IS NULL) = (answered_at IS NULL)"
    " AND (claim_accepted IS NULL OR claim_id IS NOT NULL)",
    "accepted_where": "claim_accepted IS NOT TRUE OR claim_way = 'in_person'"
    " OR account_reference IS NOT NULL",
    "refused_why": "(claim_accepted IS FALSE) = (claim_refusal IS NOT NULL)",
}


def upgrade() -> None:
    op.add_column("payout_lines", sa.Column("claim_accepted", sa.Boolean(), nullable=True))
    op.add_column("payout_lines", sa.Column("account_reference", sa.String(), nullable=True))
    op.add_column("payout_lines", sa.Column("claim_refusal", sa.String(), nullable=True))
    op.add_column("payout_lines", sa.Column("answered_by", sa.Uuid(), nullable=True))
    op.add_column(
        "payout_lines", sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_foreign_key(
        op.f("fk_payout_lines_answered_by"), "payout_lines", "operators", ["answered_by"], ["id"]
    )
    for name, holds in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_payout_lines_{name}"), "payout_lines", holds)


def downgrade() -> None:
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_payout_lines_{name}"), "payout_lines")
    for name in (
        "answered_at", "answered_by", "claim_refusal", "account_reference", "claim_accepted"
    ):  # fmt: skip
        op.drop_column("payout_lines", name)
