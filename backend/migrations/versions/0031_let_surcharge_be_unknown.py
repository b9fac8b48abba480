"""Let it be unknown whether a holder pays the meal surcharge; find those quickly.

Revises: 0030_reopen_accounts
"""

import sqlalchemy as sa
from alembic import op

revision = "0031_let_surcharge_be_unknown"
down_revision = "0030_reopen_accounts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("holders", "applications"):
        op.alter_column(table, "pays_surcharge", existing_type=sa.Boolean(), nullable=True)
    op.create_index(
        "ix_holders_surcharge_unknown",
        "holders",
        ["id"],
        postgresql_where=sa.text("pays_surcharge IS NULL"),
    )
