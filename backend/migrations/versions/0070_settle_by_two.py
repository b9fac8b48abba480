"""Let two people take over the roster's value (名册差异): one proposes it, another settles it.

Revises: 0038_widen_issued_at
"""

import sqlalchemy as sa
from alembic import op

revision = "0070_settle_by_two"
down_revision = "0038_widen_issued_at"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("roster_conflicts", sa.Column("made_by", sa.String(), nullable=True))
    op.add_column(
        "roster_conflicts", sa.Column("made_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_check_constraint(
        op.f("ck_roster_conflicts_made"),
        "roster_conflicts",
        "(made_at IS NULL) = (made_by IS NULL)",
    )
    # Not of what one person took over before this.
    op.execute("""
        ALTER TABLE roster_conflicts ADD CONSTRAINT ck_roster_conflicts_two_people CHECK (
            accepted IS NOT TRUE OR field = 'unit' OR coalesce(made_by <> settled_by, false)
        ) NOT VALID
    """)


def downgrade() -> None:
    op.drop_column("roster_conflicts", "made_at")
    op.drop_column("roster_conflicts", "made_by")
