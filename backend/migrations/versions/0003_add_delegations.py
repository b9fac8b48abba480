"""Add what works without network: delegations, the aliases that cards had, and bundles.

Revises: 0002_create_job_queue
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_add_delegations"
down_revision = "0002_create_job_queue"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delegation_challenges",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["holder_sessions.id"], name=op.f("fk_delegation_challenges_session_id")
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_delegation_challenges")),
    )
    op.create_table(
        "card_aliases",
        sa.Column("alias", sa.LargeBinary(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_card_aliases_card_id")),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_card_aliases")),
    )
    op.create_index(op.f("ix_card_aliases_card_id"), "card_aliases", ["card_id"], unique=False)
    op.create_index(
        op.f("ix_card_aliases_retired_at"), "card_aliases", ["retired_at"], unique=False
    )
    op.create_table(
        "delegations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("serial", sa.BigInteger(), sa.Identity(always=False, minvalue=1), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("codes_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["card_id"], ["cards.id"], name=op.f("fk_delegations_card_id")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["holder_sessions.id"], name=op.f("fk_delegations_session_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delegations")),
        sa.UniqueConstraint("serial", name=op.f("uq_delegations_serial")),
    )
    op.create_index(
        op.f("ix_delegations_card_id_granted_at"),
        "delegations",
        ["card_id", "granted_at"],
        unique=False,
    )
    op.create_index(op.f("ix_delegations_expires_at"), "delegations", ["expires_at"], unique=False)
    op.create_index(
        "uq_delegations_current",
        "delegations",
        ["card_id"],
        unique=True,
        postgresql_where=sa.text("superseded_at IS NULL AND revoked_at IS NULL"),
    )
    op.create_table(
        "terminal_bundles",
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sections", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.id"], name=op.f("fk_terminal_bundles_terminal_id")
        ),
        sa.PrimaryKeyConstraint("terminal_id", "sequence", name=op.f("pk_terminal_bundles")),
    )
    op.add_column(
        "spent_codes",
        sa.Column("sequence", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.drop_index(op.f("ix_spent_codes_alias_scope_issued_at"), table_name="spent_codes")
    op.create_index(
        op.f("ix_spent_codes_alias_scope_issued_at_sequence"),
        "spent_codes",
        ["alias", "scope", "issued_at", "sequence"],
        unique=False,
    )
    op.execute(
        "INSERT INTO card_aliases (alias, card_id, given_at)"
        " SELECT alias, id, created_at FROM cards WHERE alias IS NOT NULL"
    )
    # Their arguments have changed; functions.sql makes them anew.
    op.execute("DROP FUNCTION IF EXISTS spend_code, post_charge")


def downgrade() -> None:
    op.drop_index(op.f("ix_spent_codes_alias_scope_issued_at_sequence"), table_name="spent_codes")
    op.create_index(
        op.f("ix_spent_codes_alias_scope_issued_at"),
        "spent_codes",
        ["alias", "scope", "issued_at"],
        unique=False,
    )
    op.drop_column("spent_codes", "sequence")
    op.drop_index(
        "uq_delegations_current",
        table_name="delegations",
        postgresql_where=sa.text("superseded_at IS NULL AND revoked_at IS NULL"),
    )
    op.drop_index(op.f("ix_delegations_expires_at"), table_name="delegations")
    op.drop_index(op.f("ix_delegations_card_id_granted_at"), table_name="delegations")
    op.drop_table("delegations")
    op.drop_index(op.f("ix_card_aliases_retired_at"), table_name="card_aliases")
    op.drop_index(op.f("ix_card_aliases_card_id"), table_name="card_aliases")
    op.drop_table("card_aliases")
    op.drop_table("delegation_challenges")
    op.drop_table("terminal_bundles")
