"""Add closings, the payout list, departures, graduates' batches, screenings and retirements.

Revises: 0019_add_subsidies
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020_add_closings"
down_revision = "0019_add_subsidies"
branch_labels = None
depends_on = None

POLICIES = {
    "closing.deadline_months": "3",
    "closing.own_request": "false",
    "closing.remind_days": "14",
    "closing.wait_days": "3",
    "retired.valid_months": "120",
    "screening.unused_months": "12",
    "term.autumn_ends_day": "31",
    "term.spring_ends_day": "196",
}
"""New ones, as the preset `standard` has them."""


def upgrade() -> None:
    op.create_table(
        "closing_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("graduated_on", sa.Date(), nullable=False),
        sa.Column("deadline", sa.Date(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_closing_batches_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closing_batches")),
    )
    op.create_index(
        op.f("ix_closing_batches_made_at_id"), "closing_batches", ["made_at", "id"], unique=False
    )
    op.create_table(
        "closings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "own_request",
                "graduation",
                "leaving",
                "retirement",
                "early",
                "expiry",
                name="closingkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("document", sa.String(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "started",
                "settling",
                "paying",
                "closed",
                "cancelled",
                name="closingstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("wait_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waived", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("standing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_fen", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_closings_closed_when")
        ),
        sa.ForeignKeyConstraint(["holder_id"], ["holders.id"], name=op.f("fk_closings_holder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closings")),
    )
    op.create_index(
        op.f("ix_closings_started_at_id"), "closings", ["started_at", "id"], unique=False
    )
    op.create_index(
        op.f("ix_closings_state_started_at"), "closings", ["state", "started_at"], unique=False
    )
    op.create_index(
        "uq_closings_live_holder",
        "closings",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'cancelled'"),
    )
    op.create_table(
        "departures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "graduation",
                "leaving",
                "retirement",
                "early",
                name="departurekind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("filed_by", sa.Uuid(), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["filed_by"], ["operators.id"], name=op.f("fk_departures_filed_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_departures")),
    )
    op.create_index(
        op.f("ix_departures_filed_at_id"), "departures", ["filed_at", "id"], unique=False
    )
    op.create_table(
        "payout_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("total_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(approved IS NULL) = (approved_by IS NULL) AND (approved IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_payout_batches_decided_whole"),
        ),
        sa.CheckConstraint("approved_by <> made_by", name=op.f("ck_payout_batches_two_people")),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["operators.id"], name=op.f("fk_payout_batches_approved_by")
        ),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_payout_batches_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_batches")),
    )
    op.create_index(
        op.f("ix_payout_batches_made_at_id"), "payout_batches", ["made_at", "id"], unique=False
    )
    op.create_table(
        "screenings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("term", sa.String(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filed_by", sa.Uuid(), nullable=True),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["filed_by"], ["operators.id"], name=op.f("fk_screenings_filed_by")
        ),
        sa.ForeignKeyConstraint(["made_by"], ["operators.id"], name=op.f("fk_screenings_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screenings")),
    )
    op.create_index(op.f("ix_screenings_made_at_id"), "screenings", ["made_at", "id"], unique=False)
    op.create_table(
        "graduates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "exemption",
            sa.Enum(
                "deferred",
                "further_study",
                name="exemption",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("exempted_why", sa.String(), nullable=True),
        sa.Column("closing_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(exemption IS NULL) = (exempted_why IS NULL)", name=op.f("ck_graduates_exempted_why")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["closing_batches.id"], name=op.f("fk_graduates_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["closing_id"], ["closings.id"], name=op.f("fk_graduates_closing_id")
        ),
        sa.ForeignKeyConstraint(["holder_id"], ["holders.id"], name=op.f("fk_graduates_holder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_graduates")),
        sa.UniqueConstraint("batch_id", "holder_id", name=op.f("uq_graduates_batch_id_holder_id")),
    )
    op.create_table(
        "leavers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("departure_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "scheduled",
                "applied",
                "withdrawn",
                name="leaverstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closing_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["closing_id"], ["closings.id"], name=op.f("fk_leavers_closing_id")
        ),
        sa.ForeignKeyConstraint(
            ["departure_id"], ["departures.id"], name=op.f("fk_leavers_departure_id")
        ),
        sa.ForeignKeyConstraint(["holder_id"], ["holders.id"], name=op.f("fk_leavers_holder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leavers")),
        sa.UniqueConstraint(
            "departure_id", "holder_id", name=op.f("uq_leavers_departure_id_holder_id")
        ),
    )
    op.create_index(
        "uq_leavers_scheduled",
        "leavers",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_table(
        "payout_lines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("refund_id", sa.Uuid(), nullable=True),
        sa.Column("follows_id", sa.Uuid(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "listed",
                "batched",
                "paid",
                "bounced",
                "withdrawn",
                name="payoutlinestate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("bank_reference", sa.String(), nullable=True),
        sa.Column("bounce_reason", sa.String(), nullable=True),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'bounced') = (bounce_reason IS NOT NULL)",
            name=op.f("ck_payout_lines_bounced_why"),
        ),
        sa.CheckConstraint(
            "state <> 'paid' OR bank_reference IS NOT NULL",
            name=op.f("ck_payout_lines_paid_with_reference"),
        ),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_payout_lines_amount")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["payout_batches.id"], name=op.f("fk_payout_lines_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["follows_id"], ["payout_lines.id"], name=op.f("fk_payout_lines_follows_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_payout_lines_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["channel_refunds.id"], name=op.f("fk_payout_lines_refund_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_lines")),
    )
    op.create_index(op.f("ix_payout_lines_batch_id"), "payout_lines", ["batch_id"], unique=False)
    op.create_index(
        op.f("ix_payout_lines_state_owed_since_id"),
        "payout_lines",
        ["state", "owed_since", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_payout_lines_subject_id"), "payout_lines", ["subject_id"], unique=False
    )
    op.create_index(
        "uq_payout_lines_refund_id",
        "payout_lines",
        ["refund_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('listed', 'batched', 'paid')"),
    )
    op.create_table(
        "retirements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("old_card_id", sa.Uuid(), nullable=True),
        sa.Column("new_card_id", sa.Uuid(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_retirements_holder_id")
        ),
        sa.ForeignKeyConstraint(["made_by"], ["operators.id"], name=op.f("fk_retirements_made_by")),
        sa.ForeignKeyConstraint(
            ["new_card_id"], ["cards.id"], name=op.f("fk_retirements_new_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["old_card_id"], ["cards.id"], name=op.f("fk_retirements_old_card_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retirements")),
        sa.UniqueConstraint("holder_id", name=op.f("uq_retirements_holder_id")),
    )
    op.create_table(
        "screening_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("screening_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "finding",
            sa.Enum(
                "expired",
                "unused",
                "closed_with_balance",
                "arrears",
                "duplicate",
                name="finding",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "close",
                "extend",
                "contact",
                "keep",
                name="screeningoutcome",
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
            "(outcome IS NULL) = (decided_by IS NULL) AND (outcome IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_screening_items_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["operators.id"], name=op.f("fk_screening_items_decided_by")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_screening_items_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["screening_id"], ["screenings.id"], name=op.f("fk_screening_items_screening_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screening_items")),
        sa.UniqueConstraint(
            "screening_id",
            "finding",
            "holder_id",
            name=op.f("uq_screening_items_screening_id_finding_holder_id"),
        ),
    )

    for key, value in POLICIES.items():
        op.execute(
            sa.text(
                "INSERT INTO policies (id, key, value, document_number, valid_from)"
                " SELECT uuidv7(), :key, CAST(:value AS jsonb), document_number, now()"
                " FROM policies WHERE key = 'top_up.least_fen' AND valid_until IS NULL"
            ).bindparams(key=key, value=value)
        )


def downgrade() -> None:
    op.execute("DROP FUNCTION refuse_filed() CASCADE")
    for table in (
        "screening_items",
        "retirements",
        "payout_lines",
        "leavers",
        "graduates",
        "screenings",
        "payout_batches",
        "departures",
        "closings",
        "closing_batches",
    ):
        op.drop_table(table)
