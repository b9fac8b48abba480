"""Add issue batches: class lists, receipts, and the exchange of new-student cards.

Revises: 0020_add_closings
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021_add_issues"
down_revision = "0020_add_closings"
branch_labels = None
depends_on = None


POLICIES = {"exchange.grace_days": 14, "exchange.months": 3}
"""New ones, as the preset `standard` has them."""


def upgrade() -> None:
    op.create_table(
        "issue_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "first",
                "exchange",
                name="batchkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_issue_batches_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue_batches")),
    )
    op.create_index(op.f("ix_issue_batches_made_at"), "issue_batches", ["made_at"], unique=False)
    op.create_table(
        "issue_items",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "first",
                "exchange",
                name="batchkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "handed_out",
                "not_collected",
                "deferred",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["issue_batches.id"], name=op.f("fk_issue_items_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_issue_items_holder_id")
        ),
        sa.PrimaryKeyConstraint("batch_id", "holder_id", name=op.f("pk_issue_items")),
    )
    op.create_index(
        "uq_issue_items_waiting",
        "issue_items",
        ["holder_id", "kind"],
        unique=True,
        postgresql_where=sa.text("outcome IS NULL OR outcome = 'deferred'"),
    )
    op.create_table(
        "issue_decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "handed_out",
                "not_collected",
                "deferred",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "signature",
            sa.Enum(
                "self",
                "proxy",
                name="signature",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("signed_by", sa.String(), nullable=True),
        sa.Column("documents", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "on_leave",
                "away",
                "other",
                name="deferralreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("replaced_card_id", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'handed_out') = (signed_by IS NOT NULL) AND (signed_by IS NULL) = (signature IS NULL)",
            name=op.f("ck_issue_decisions_receipt_is_signed"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id", "holder_id"],
            ["issue_items.batch_id", "issue_items.holder_id"],
            name="fk_issue_decisions_item",
        ),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_issue_decisions_card_id")),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["operators.id"], name=op.f("fk_issue_decisions_decided_by")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_card_id"], ["cards.id"], name=op.f("fk_issue_decisions_replaced_card_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue_decisions")),
    )
    op.create_index(
        op.f("ix_issue_decisions_batch_id_holder_id"),
        "issue_decisions",
        ["batch_id", "holder_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_issue_decisions_holder_id"), "issue_decisions", ["holder_id"], unique=False
    )
    # Where a school has policies already, it has these too from now on, by the same paper.
    for key, value in POLICIES.items():
        op.execute(
            sa.text(
                "INSERT INTO policies (id, key, value, document_number, valid_from)"
                " SELECT uuidv7(), :key, to_jsonb(CAST(:value AS int)), document_number, now()"
                " FROM policies WHERE key = 'top_up.least_fen' AND valid_until IS NULL"
            ).bindparams(key=key, value=value)
        )


def downgrade() -> None:
    for key in POLICIES:
        op.execute(sa.text("DELETE FROM policies WHERE key = :key").bindparams(key=key))
    op.drop_index(op.f("ix_issue_decisions_holder_id"), table_name="issue_decisions")
    op.drop_index(op.f("ix_issue_decisions_batch_id_holder_id"), table_name="issue_decisions")
    op.drop_table("issue_decisions")
    op.drop_index(
        "uq_issue_items_waiting",
        table_name="issue_items",
        postgresql_where=sa.text("outcome IS NULL OR outcome = 'deferred'"),
    )
    op.drop_table("issue_items")
    op.drop_index(op.f("ix_issue_batches_made_at"), table_name="issue_batches")
    op.drop_table("issue_batches")
