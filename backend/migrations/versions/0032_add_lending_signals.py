"""Add signals of lending, for a person to look at.

Revises: 0031_let_surcharge_be_unknown
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032_add_lending_signals"
down_revision = "0031_let_surcharge_be_unknown"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lending_signals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "several_people",
                "two_places",
                name="signalkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("uses", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("holder_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "harmless",
                "reminded",
                name="signaloutcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(outcome IS NULL) = (reason IS NULL) AND (outcome IS NULL) = (decided_by IS NULL)"
            " AND (outcome IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_lending_signals_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_lending_signals_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["operators.id"], name=op.f("fk_lending_signals_decided_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lending_signals")),
        sa.UniqueConstraint("key", name=op.f("uq_lending_signals_key")),
    )
    op.create_index(op.f("ix_lending_signals_found_at_id"), "lending_signals", ["found_at", "id"])
    op.create_index(op.f("ix_lending_signals_holder_id"), "lending_signals", ["holder_id"])


def downgrade() -> None:
    op.drop_table("lending_signals")
