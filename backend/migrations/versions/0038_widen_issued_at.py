"""Keep the second in which a code was made in 64 bits: 32 end in January 2038.

Revises: 0037_know_other_kinds
"""

import sqlalchemy as sa
from alembic import op

revision = "0038_widen_issued_at"
down_revision = "0037_know_other_kinds"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Writes the table anew; it holds what was shown within the retention of codes.
    op.alter_column("spent_codes", "issued_at", type_=sa.BigInteger(), existing_nullable=False)


def downgrade() -> None:
    op.alter_column("spent_codes", "issued_at", type_=sa.Integer(), existing_nullable=False)
