"""Count passages that were kept for long enough; find what the log says it deleted.

Revises: 0025_retire_again
"""

import sqlalchemy as sa
from alembic import op

revision = "0026_end_retention"
down_revision = "0025_retire_again"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_passages_decided_at"), "passages", ["decided_at"], unique=False)
    op.create_index(
        "ix_operation_log_disposals",
        "operation_log",
        ["written_by"],
        unique=False,
        postgresql_where=sa.text("action = 'log.dispose'"),
    )
    op.create_table(
        "passage_counts",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column(
            "direction",
            sa.Enum(
                "in", "out", name="direction", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column(
            "decision",
            sa.Enum(
                "allow",
                "deny",
                name="decision",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.id"], name=op.f("fk_passage_counts_terminal_id")
        ),
        sa.PrimaryKeyConstraint(
            "day", "terminal_id", "direction", "decision", name=op.f("pk_passage_counts")
        ),
    )


def downgrade() -> None:
    op.drop_table("passage_counts")
    op.drop_index("ix_operation_log_disposals", table_name="operation_log")
    op.drop_index(op.f("ix_passages_decided_at"), table_name="passages")
