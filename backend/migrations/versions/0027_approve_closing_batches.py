"""Let a second person approve graduates' batches, and let exemptions end.

Batches that were run before this count as approved by nobody: what is left of them is approved
before it is run again.

Revises: 0026_end_retention
"""

import sqlalchemy as sa
from alembic import op

revision = "0027_approve_closing_batches"
down_revision = "0026_end_retention"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("closing_batches", sa.Column("approved_by", sa.Uuid(), nullable=True))
    op.add_column(
        "closing_batches", sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_foreign_key(
        op.f("fk_closing_batches_approved_by"),
        "closing_batches",
        "operators",
        ["approved_by"],
        ["id"],
    )
    op.create_check_constraint(
        op.f("ck_closing_batches_two_people"), "closing_batches", "approved_by <> made_by"
    )
    op.create_check_constraint(
        op.f("ck_closing_batches_approved_whole"),
        "closing_batches",
        "(approved_by IS NULL) = (approved_at IS NULL)",
    )
    op.add_column("graduates", sa.Column("exempted_until", sa.Date(), nullable=True))
    op.create_check_constraint(
        op.f("ck_graduates_exempted_until"),
        "graduates",
        "exemption IS NOT NULL OR exempted_until IS NULL",
    )
    op.create_index(op.f("ix_graduates_holder_id"), "graduates", ["holder_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_graduates_holder_id"), table_name="graduates")
    op.drop_column("graduates", "exempted_until")
    op.drop_column("closing_batches", "approved_at")
    op.drop_column("closing_batches", "approved_by")
