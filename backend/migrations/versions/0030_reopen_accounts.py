"""Let closed accounts be opened again, and closed again.

Revises: 0029_claim_payouts
"""

import sqlalchemy as sa
from alembic import op

revision = "0030_reopen_accounts"
down_revision = "0029_claim_payouts"
branch_labels = None
depends_on = None


def one_closing_of_a_holder(where: str) -> None:
    op.drop_index("uq_closings_live_holder", table_name="closings")
    op.create_index(
        "uq_closings_live_holder",
        "closings",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text(where),
    )


def upgrade() -> None:
    one_closing_of_a_holder("state NOT IN ('closed', 'cancelled')")
    op.create_table(
        "reopenings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_reopenings_holder_id")
        ),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_reopenings_card_id")),
        sa.ForeignKeyConstraint(["made_by"], ["operators.id"], name=op.f("fk_reopenings_made_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reopenings")),
    )
    op.create_index(op.f("ix_reopenings_holder_id"), "reopenings", ["holder_id"])


def downgrade() -> None:
    op.drop_table("reopenings")
    one_closing_of_a_holder("state <> 'cancelled'")
