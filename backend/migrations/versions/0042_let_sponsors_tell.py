"""Let sponsors (申办单位) tell of an early leaving themselves.

Revises: 0041_know_new_student_cards
"""

import sqlalchemy as sa
from alembic import op

revision = "0042_let_sponsors_tell"
down_revision = "0041_know_new_student_cards"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("early_leavings", "told_by", existing_type=sa.Uuid(), nullable=True)
    op.add_column("early_leavings", sa.Column("sponsor_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_early_leavings_sponsor_id"), "early_leavings", "holders", ["sponsor_id"], ["id"]
    )
    op.create_check_constraint(
        op.f("ck_early_leavings_told_by_one"),
        "early_leavings",
        "num_nonnulls(told_by, sponsor_id) = 1",
    )


def downgrade() -> None:
    op.drop_column("early_leavings", "sponsor_id")
    op.alter_column("early_leavings", "told_by", existing_type=sa.Uuid(), nullable=False)
