"""Add the counter: card operations, replacements, found cards, and the hotline as a channel.

Revises: 0015_add_proposals
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016_add_counter"
down_revision = "0015_add_proposals"
branch_labels = None
depends_on = None


LOG_CHANNELS = (
    "mini_program", "kiosk", "counter", "hotline", "terminal", "platform", "batch",
)  # fmt: skip
"""Every channel there is from now on."""
POLICIES = {"card.replacement_fee_fen": 2_000, "card.replacement_fee_temporary_fen": 2_000}
"""New ones, as the preset `standard` has them."""


def upgrade() -> None:
    words = ", ".join(f"'{channel}'" for channel in LOG_CHANNELS)
    op.drop_constraint(op.f("ck_operation_log_logchannel"), "operation_log", type_="check")
    op.create_check_constraint(
        op.f("ck_operation_log_logchannel"), "operation_log", f"channel IN ({words})"
    )
    op.add_column("restorations", sa.Column("restored_by", sa.String(), nullable=True))
    op.create_table(
        "counter_operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("after", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["card_id"], ["cards.id"], name=op.f("fk_counter_operations_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_counter_operations_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operators.id"], name=op.f("fk_counter_operations_operator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_counter_operations")),
    )
    op.create_index(
        op.f("ix_counter_operations_card_id_made_at"),
        "counter_operations",
        ["card_id", "made_at"],
        unique=False,
    )
    op.create_table(
        "replacement_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "requested",
                "cancelled",
                "replaced",
                name="replacementstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("fee_fen >= 0", name=op.f("ck_replacement_requests_fee_not_negative")),
        sa.CheckConstraint(
            "(state = 'requested') = (ended_at IS NULL)",
            name=op.f("ck_replacement_requests_ended_when"),
        ),
        sa.ForeignKeyConstraint(
            ["card_id"], ["cards.id"], name=op.f("fk_replacement_requests_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_replacement_requests_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replacement_requests")),
    )
    op.create_index(
        op.f("ix_replacement_requests_card_id"), "replacement_requests", ["card_id"], unique=False
    )
    op.create_index(
        "uq_replacement_requests_open",
        "replacement_requests",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("state = 'requested'"),
    )
    op.create_table(
        "replacements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("old_card_id", sa.Uuid(), nullable=False),
        sa.Column("new_card_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("evidence", sa.String(), nullable=True),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fee_fen", sa.BigInteger(), nullable=False),
        sa.Column("balance_fen", sa.BigInteger(), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("fee_fen >= 0", name=op.f("ck_replacements_fee_not_negative")),
        sa.CheckConstraint(
            "cause <> 'quality' OR (fee_fen = 0 AND reason IS NOT NULL AND evidence IS NOT NULL)",
            name=op.f("ck_replacements_quality_is_free_and_shown"),
        ),
        sa.CheckConstraint("old_card_id <> new_card_id", name=op.f("ck_replacements_another_card")),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_replacements_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["new_card_id"], ["cards.id"], name=op.f("fk_replacements_new_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["old_card_id"], ["cards.id"], name=op.f("fk_replacements_old_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operators.id"], name=op.f("fk_replacements_operator_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["replacement_requests.id"],
            name=op.f("fk_replacements_request_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replacements")),
        sa.UniqueConstraint("new_card_id", name=op.f("uq_replacements_new_card_id")),
        sa.UniqueConstraint("old_card_id", name=op.f("uq_replacements_old_card_id")),
    )
    op.create_index(
        op.f("ix_replacements_holder_id_replaced_at"),
        "replacements",
        ["holder_id", "replaced_at"],
        unique=False,
    )
    op.create_table(
        "found_cards",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=True),
        sa.Column("found_by", sa.String(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hand_back_id", sa.Uuid(), nullable=True),
        sa.Column("handed_back_by", sa.Uuid(), nullable=True),
        sa.Column("handed_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(handed_back_at IS NULL) = (hand_back_id IS NULL)",
            name=op.f("ck_found_cards_handed_back"),
        ),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_found_cards_card_id")),
        sa.ForeignKeyConstraint(
            ["handed_back_by"], ["operators.id"], name=op.f("fk_found_cards_handed_back_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_found_cards")),
        sa.UniqueConstraint("hand_back_id", name=op.f("uq_found_cards_hand_back_id")),
    )
    op.create_index(op.f("ix_found_cards_card_id"), "found_cards", ["card_id"], unique=False)
    op.create_index(op.f("ix_found_cards_found_at"), "found_cards", ["found_at"], unique=False)
    # Where a school has policies already, it has these too from now on, by the same paper.
    for key, value in POLICIES.items():
        op.execute(
            sa.text(
                "INSERT INTO policies (id, key, value, document_number, valid_from)"
                " SELECT uuidv7(), :key, to_jsonb(CAST(:value AS int)), document_number, now()"
                " FROM policies WHERE key = 'top_up.least_fen' AND valid_until IS NULL"
            ).bindparams(key=key, value=value)
        )
