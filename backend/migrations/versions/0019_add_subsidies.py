"""Add subsidies in batches, and taking mistaken ones back.

Revises: 0018_add_operator_changes
"""

import sqlalchemy as sa
from alembic import op

revision = "0019_add_subsidies"
down_revision = "0018_add_operator_changes"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "subsidy_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("document_number", sa.String(), nullable=False),
        sa.Column("fund", sa.String(), nullable=False),
        sa.Column("pay_on", sa.Date(), nullable=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("total_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("withdrawn_by", sa.Uuid(), nullable=True),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.Column("withdrawn_reason", sa.String(), nullable=True),
        sa.Column("paid_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'paid', 'withdrawn')",
            name=op.f("ck_subsidy_batches_batchstate"),
        ),
        sa.CheckConstraint(
            "approved_by <> made_by", name=op.f("ck_subsidy_batches_another_person_approves")
        ),
        sa.CheckConstraint(
            "(state IN ('approved', 'paid')) = (approved_by IS NOT NULL)",
            name=op.f("ck_subsidy_batches_approved_by_somebody"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], ["operators.id"], name=op.f(f"fk_subsidy_batches_{column}")
            )
            for column in ("made_by", "approved_by", "withdrawn_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsidy_batches")),
    )
    op.create_index(op.f("ix_subsidy_batches_made_at"), "subsidy_batches", ["made_at"])
    op.create_table(
        "subsidy_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("settled_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('due', 'paid', 'left_out', 'withdrawn')",
            name=op.f("ck_subsidy_items_itemstate"),
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_subsidy_items_amount")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["subsidy_batches.id"], name=op.f("fk_subsidy_items_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_subsidy_items_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsidy_items")),
        sa.UniqueConstraint(
            "batch_id", "holder_id", name=op.f("uq_subsidy_items_batch_id_holder_id")
        ),
    )
    op.create_index(
        op.f("ix_subsidy_items_batch_id_id"),
        "subsidy_items",
        ["batch_id", "id"],
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_index(op.f("ix_subsidy_items_holder_id"), "subsidy_items", ["holder_id"])
    op.create_table(
        "subsidy_withdrawals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "approved_by <> made_by", name=op.f("ck_subsidy_withdrawals_another_person_approves")
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["subsidy_items.id"], name=op.f("fk_subsidy_withdrawals_item_id")
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], ["operators.id"], name=op.f(f"fk_subsidy_withdrawals_{column}")
            )
            for column in ("made_by", "approved_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subsidy_withdrawals")),
        sa.UniqueConstraint("item_id", name=op.f("uq_subsidy_withdrawals_item_id")),
    )


def downgrade() -> None:
    op.drop_table("subsidy_withdrawals")
    op.drop_table("subsidy_items")
    op.drop_table("subsidy_batches")
