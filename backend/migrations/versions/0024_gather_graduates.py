"""Let graduates whom nobody put into a batch be gathered into one of nobody's.

Revises: 0023_add_top_up_resolutions
"""

from alembic import op

revision = "0024_gather_graduates"
down_revision = "0023_add_top_up_resolutions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("closing_batches", "made_by", nullable=True)


def downgrade() -> None:
    op.alter_column("closing_batches", "made_by", nullable=False)
