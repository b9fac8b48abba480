"""Let somebody who was employed again (返聘) retire again.

Revises: 0024_gather_graduates
"""

from alembic import op

revision = "0025_retire_again"
down_revision = "0024_gather_graduates"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("uq_retirements_holder_id", "retirements", type_="unique")
    op.create_index("ix_retirements_holder_id", "retirements", ["holder_id"])


def downgrade() -> None:
    op.drop_index("ix_retirements_holder_id", "retirements")
    op.create_unique_constraint("uq_retirements_holder_id", "retirements", ["holder_id"])
