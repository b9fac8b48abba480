"""Let two people take over the roster's value (名册差异): one proposes it, another settles it.

Revises: 0039_spell_papers_once
"""

import sqlalchemy as sa
from alembic import op

revision = "0040_settle_by_two"
down_revision = "0039_spell_papers_once"
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
    # Nobody had proposed what one person took over before this.
    op.execute("""
        UPDATE roster_conflicts SET made_by = 'nobody', made_at = settled_at
         WHERE accepted AND field <> 'unit'
    """)
    op.create_check_constraint(
        op.f("ck_roster_conflicts_two_people"),
        "roster_conflicts",
        "accepted IS NOT TRUE OR field = 'unit' OR coalesce(made_by <> settled_by, false)",
    )


def downgrade() -> None:
    op.drop_column("roster_conflicts", "made_at")
    op.drop_column("roster_conflicts", "made_by")
