"""Add proposals of policies, and re-ratings of the meal surcharge.

Revises: 0014_add_card_fees
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015_add_proposals"
down_revision = "0014_add_card_fees"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "policy_proposals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("preset", sa.String(), nullable=True),
        sa.Column("changes", JSONB(), nullable=False),
        sa.Column("document_number", sa.String(), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=True),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("effective_at", MOMENT, nullable=True),
        sa.Column("withdrawn_by", sa.Uuid(), nullable=True),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.Column("withdrawn_reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'withdrawn')",
            name=op.f("ck_policy_proposals_proposalstate"),
        ),
        sa.CheckConstraint(
            "approved_by <> made_by", name=op.f("ck_policy_proposals_another_person_approves")
        ),
        sa.CheckConstraint(
            "(state = 'approved') <= (approved_by IS NOT NULL AND effective_at IS NOT NULL)",
            name=op.f("ck_policy_proposals_approved_by_somebody"),
        ),
        sa.CheckConstraint(
            "(state = 'withdrawn') = (withdrawn_by IS NOT NULL)",
            name=op.f("ck_policy_proposals_withdrawn_by_somebody"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], ["operators.id"], name=op.f(f"fk_policy_proposals_{column}")
            )
            for column in ("made_by", "approved_by", "withdrawn_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_proposals")),
    )
    op.create_index(op.f("ix_policy_proposals_made_at"), "policy_proposals", ["made_at"])
    op.add_column("policies", sa.Column("proposal_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_policies_proposal_id"), "policies", "policy_proposals", ["proposal_id"], ["id"]
    )
    op.create_index(op.f("ix_policies_proposal_id"), "policies", ["proposal_id"])
    op.create_table(
        "surcharge_reratings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("permille", sa.Integer(), nullable=True),
        sa.Column("flags", sa.Boolean(), nullable=False),
        sa.Column("document_number", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("return_charges", sa.Integer(), nullable=False),
        sa.Column("return_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "approved_by <> made_by", name=op.f("ck_surcharge_reratings_another_person_approves")
        ),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_surcharge_reratings_period")),
        *(
            sa.ForeignKeyConstraint(
                [column], ["operators.id"], name=op.f(f"fk_surcharge_reratings_{column}")
            )
            for column in ("made_by", "approved_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surcharge_reratings")),
    )
    op.create_index(op.f("ix_surcharge_reratings_made_at"), "surcharge_reratings", ["made_at"])
    op.create_table(
        "surcharge_returns",
        sa.Column("charge_id", sa.Uuid(), nullable=False),
        sa.Column("rerating_id", sa.Uuid(), nullable=False),
        sa.Column("due_fen", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("returned_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "amount_fen > 0 AND due_fen >= 0", name=op.f("ck_surcharge_returns_amounts")
        ),
        sa.ForeignKeyConstraint(
            ["charge_id"], ["charges.id"], name=op.f("fk_surcharge_returns_charge_id")
        ),
        sa.ForeignKeyConstraint(
            ["rerating_id"],
            ["surcharge_reratings.id"],
            name=op.f("fk_surcharge_returns_rerating_id"),
        ),
        sa.PrimaryKeyConstraint("charge_id", name=op.f("pk_surcharge_returns")),
    )
    op.create_index(op.f("ix_surcharge_returns_rerating_id"), "surcharge_returns", ["rerating_id"])


def downgrade() -> None:
    op.drop_table("surcharge_returns")
    op.drop_table("surcharge_reratings")
    op.drop_index(op.f("ix_policies_proposal_id"), table_name="policies")
    op.drop_constraint(op.f("fk_policies_proposal_id"), "policies", type_="foreignkey")
    op.drop_column("policies", "proposal_id")
    op.drop_table("policy_proposals")
