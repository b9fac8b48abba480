"""Let a closed account be opened again by the roster that names its holder.

Revises: 0033_undo_closings
"""

import sqlalchemy as sa
from alembic import op

revision = "0034_reopen_by_roster"
down_revision = "0033_undo_closings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("reopenings", "document", nullable=True)
    op.add_column("reopenings", sa.Column("roster_batch_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_reopenings_roster_batch_id"),
        "reopenings",
        "roster_batches",
        ["roster_batch_id"],
        ["id"],
    )
    op.create_check_constraint(
        op.f("ck_reopenings_ground"), "reopenings", "num_nonnulls(document, roster_batch_id) = 1"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_reopenings_ground"), "reopenings")
    op.drop_column("reopenings", "roster_batch_id")
    op.alter_column("reopenings", "document", nullable=False)
