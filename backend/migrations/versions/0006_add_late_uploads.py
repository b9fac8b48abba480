"""Add late uploads, their reviews, arrears, and the accounts that bear them.

Revises: 0005_add_access_rules
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006_add_late_uploads"
down_revision = "0005_add_access_rules"
branch_labels = None
depends_on = None


CHECKS = (
    (
        "accounts",
        "accountkind",
        ("main_purse", "subsidy_purse", "merchant", "surcharge", "channel", "subsidy_fund"),
        ("arrears", "risk"),
    ),
    (
        "transfers",
        "transferkind",
        ("charge", "surcharge", "charge_reversal", "surcharge_reversal", "top_up", "subsidy"),
        ("arrears",),
    ),
)
"""Table, name, the kinds before, and those that are new."""


def _allow(table: str, name: str, kinds: tuple[str, ...]) -> None:
    words = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"kind IN ({words})")


def upgrade() -> None:
    for table, name, before, new in CHECKS:
        _allow(table, name, before + new)
    # Each school has one of each, from now on and whoever founds it.
    op.execute("INSERT INTO accounts (id, kind) VALUES (uuidv7(), 'arrears'), (uuidv7(), 'risk')")
    op.create_table(
        "arrears",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("charge_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(paid_fen = amount_fen) = (settled_at IS NOT NULL)",
            name=op.f("ck_arrears_settled_when"),
        ),
        sa.CheckConstraint(
            "paid_fen BETWEEN 0 AND amount_fen AND amount_fen > 0",
            name=op.f("ck_arrears_paid_within"),
        ),
        sa.ForeignKeyConstraint(["holder_id"], ["holders.id"], name=op.f("fk_arrears_holder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrears")),
        sa.UniqueConstraint("charge_id", name=op.f("uq_arrears_charge_id")),
    )
    op.create_index(
        "ix_arrears_open",
        "arrears",
        ["holder_id", "opened_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "late_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "passage",
                "charge",
                name="uploadkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=True),
        sa.Column("code_key", sa.LargeBinary(), nullable=True),
        sa.Column("code_fault", sa.String(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column(
            "caps", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("bundle_sequence", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "recorded",
                "charged",
                "charged-with-arrears",
                "charged-to-risk",
                "under-review",
                "already-recorded",
                "already-charged",
                "sequence-reused",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("conflicts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("needs_review", sa.Boolean(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=True),
        sa.Column("reference", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_late_uploads_holder_id")
        ),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.id"], name=op.f("fk_late_uploads_terminal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_late_uploads")),
    )
    op.create_index(op.f("ix_late_uploads_reference"), "late_uploads", ["reference"], unique=False)
    op.create_index(
        "ix_late_uploads_review",
        "late_uploads",
        ["received_at", "id"],
        unique=False,
        postgresql_where=sa.text("needs_review"),
    )
    op.create_index(
        op.f("ix_late_uploads_terminal_id_decided_at"),
        "late_uploads",
        ["terminal_id", "decided_at"],
        unique=False,
    )
    op.create_index(
        "uq_late_uploads_sequence",
        "late_uploads",
        ["terminal_id", "enrolled_at", "sequence"],
        unique=True,
        postgresql_where=sa.text("outcome <> 'sequence-reused'"),
    )
    op.create_table(
        "resolutions",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column(
            "ruling",
            sa.Enum(
                "charge_holder",
                "charge_risk",
                "reject",
                "accept",
                name="ruling",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operators.id"], name=op.f("fk_resolutions_operator_id")
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["late_uploads.id"], name=op.f("fk_resolutions_upload_id")
        ),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_resolutions")),
    )
    op.add_column("passages", sa.Column("device_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM accounts WHERE kind IN ('arrears', 'risk')")
    for table, name, before, _ in CHECKS:
        _allow(table, name, before)
    op.drop_column("passages", "device_at")
    op.drop_table("resolutions")
    op.drop_index(
        "uq_late_uploads_sequence",
        table_name="late_uploads",
        postgresql_where=sa.text("outcome <> 'sequence-reused'"),
    )
    op.drop_index(op.f("ix_late_uploads_terminal_id_decided_at"), table_name="late_uploads")
    op.drop_index(
        "ix_late_uploads_review",
        table_name="late_uploads",
        postgresql_where=sa.text("needs_review"),
    )
    op.drop_index(op.f("ix_late_uploads_reference"), table_name="late_uploads")
    op.drop_table("late_uploads")
    op.drop_index(
        "ix_arrears_open", table_name="arrears", postgresql_where=sa.text("settled_at IS NULL")
    )
    op.drop_table("arrears")
