"""Let proposals of policies say why and until when, and late uploads by which rows they were judged.

Revises: 0027_approve_closing_batches
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028_add_ends_of_policies"
down_revision = "0027_approve_closing_batches"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy_proposals", sa.Column("reason", sa.String(), nullable=True))
    op.add_column(
        "policy_proposals", sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "late_uploads",
        sa.Column("policy_ids", postgresql.JSONB(), server_default="[]", nullable=False),
    )
    op.alter_column("late_uploads", "policy_ids", server_default=None)
