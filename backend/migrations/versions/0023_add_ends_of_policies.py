"""Let a proposal of policies say why it is made, and until when what it says holds.

Revises: 0022_add_applications
"""

import sqlalchemy as sa
from alembic import op

revision = "0023_add_ends_of_policies"
down_revision = "0022_add_applications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy_proposals", sa.Column("reason", sa.String(), nullable=True))
    op.add_column(
        "policy_proposals", sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True)
    )
