"""Note of a closing when the account was opened again (复户).

Whether it was, a card in use told before: with that card void, the account counted as closed again.

Revises: 0032_add_lending_signals
"""

import sqlalchemy as sa
from alembic import op

revision = "0033_undo_closings"
down_revision = "0032_add_lending_signals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("closings", sa.Column("reopened_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("""
        UPDATE closings c SET reopened_at = later.at FROM (
            SELECT c.id, min(k.created_at) AS at
              FROM closings c JOIN cards k ON k.holder_id = c.holder_id
             WHERE c.state = 'closed' AND k.created_at > c.closed_at
             GROUP BY c.id) later
         WHERE later.id = c.id
    """)
    op.create_check_constraint(
        op.f("ck_closings_reopened_when"),
        "closings",
        "reopened_at IS NULL OR state <> 'cancelled'",
    )


def downgrade() -> None:
    op.drop_column("closings", "reopened_at")
