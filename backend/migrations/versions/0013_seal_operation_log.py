"""Give the operation log the columns of the regulation, and the seals that chain it.

Rows from before belong to this migration's transaction: the first seal covers them.

Revises: 0012_add_messages
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013_seal_operation_log"
down_revision = "0012_add_messages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    jsonb = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    for column in (
        sa.Column("card_id", sa.Uuid(), nullable=True),
        sa.Column("before", jsonb, nullable=True),
        sa.Column("after", jsonb, nullable=True),
        sa.Column("documents", jsonb, nullable=True),
        sa.Column("receipt_number", sa.String(), nullable=True),
        sa.Column("policy_ids", jsonb, nullable=True),
        sa.Column(
            "written_by",
            sa.BigInteger(),
            server_default=sa.text("pg_current_xact_id()::text::bigint"),
            nullable=False,
        ),
    ):
        op.add_column("operation_log", column)
    op.create_index(
        op.f("ix_operation_log_written_by_id"), "operation_log", ["written_by", "id"], unique=False
    )
    op.create_index(
        op.f("ix_operation_log_reference"),
        "operation_log",
        ["reference"],
        unique=False,
        postgresql_where=sa.text("reference IS NOT NULL"),
    )
    op.create_table(
        "operation_log_seals",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("contents", sa.LargeBinary(), nullable=False),
        sa.Column("previous_head", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("entries > 0", name=op.f("ck_operation_log_seals_not_empty")),
        sa.CheckConstraint(
            "length(contents) = 48 * entries", name=op.f("ck_operation_log_seals_contents")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_operation_log_seals")),
    )
