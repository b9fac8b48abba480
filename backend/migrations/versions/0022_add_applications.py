"""Add applications for temporary cards: approvals, openings, extensions, early leavings.

Revises: 0021_add_issues
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022_add_applications"
down_revision = "0021_add_issues"
branch_labels = None
depends_on = None


POLICIES = {
    "application.paid_categories": '["temporary_outsider"]',
    "application.remind_days": "14",
}
"""New ones, as the preset `standard` has them, in JSON."""


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("content_index", sa.LargeBinary(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "approved",
                "opened",
                "withdrawn",
                name="applicationstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("oa_number", sa.String(), nullable=False),
        sa.Column("sponsor_unit", sa.String(), nullable=False),
        sa.Column("sponsor_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column(
            "category",
            sa.Enum(
                "student",
                "new_student",
                "staff",
                "temporary_retired",
                "temporary_trainee",
                "temporary_outsider",
                name="category",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("permissions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("pays_surcharge", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opening_id", sa.Uuid(), nullable=True),
        sa.Column("receipt_number", sa.String(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reminded_of", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "(state = 'withdrawn') = (withdrawn_at IS NOT NULL)",
            name=op.f("ck_applications_withdrawn"),
        ),
        sa.CheckConstraint("category LIKE 'temporary%%'", name=op.f("ck_applications_temporary")),
        sa.CheckConstraint(
            "(opening_id IS NULL) = (opened_at IS NULL)", name=op.f("ck_applications_opened")
        ),
        sa.CheckConstraint(
            "receipt_number IS NULL OR opening_id IS NOT NULL", name=op.f("ck_applications_receipt")
        ),
        sa.CheckConstraint("valid_until >= valid_from", name=op.f("ck_applications_period")),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_applications_made_by")
        ),
        sa.ForeignKeyConstraint(
            ["sponsor_id"], ["holders.id"], name=op.f("fk_applications_sponsor_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applications")),
        sa.UniqueConstraint("opening_id", name=op.f("uq_applications_opening_id")),
        sa.UniqueConstraint("receipt_number", name=op.f("uq_applications_receipt_number")),
    )
    op.create_index(op.f("ix_applications_made_at"), "applications", ["made_at"], unique=False)
    op.create_index(
        "uq_applications_oa_number",
        "applications",
        ["oa_number"],
        unique=True,
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )
    op.create_table(
        "applicants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("holder_number", sa.String(), nullable=False),
        sa.Column(
            "document_kind",
            sa.Enum(
                "resident_id",
                "passport",
                "hk_macao_permit",
                "taiwan_permit",
                "foreign_permit",
                name="documentkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("document_index", sa.LargeBinary(), nullable=True),
        sa.Column("document_tail_index", sa.LargeBinary(), nullable=True),
        sa.Column("holder_id", sa.Uuid(), nullable=True),
        sa.Column(
            "fault",
            sa.Enum(
                "holder_known", name="fault", native_enum=False, create_constraint=True, length=32
            ),
            nullable=True,
        ),
        sa.Column("left_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name=op.f("fk_applicants_application_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_applicants_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applicants")),
        sa.UniqueConstraint("holder_number", name=op.f("uq_applicants_holder_number")),
    )
    op.create_index(op.f("ix_applicants_holder_id"), "applicants", ["holder_id"], unique=False)
    op.create_index(
        "uq_applicants_position", "applicants", ["application_id", "position"], unique=True
    )
    op.create_table(
        "application_extensions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("content_index", sa.LargeBinary(), nullable=False),
        sa.Column("oa_number", sa.String(), nullable=False),
        sa.Column("valid_before", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "valid_until > valid_before", name=op.f("ck_application_extensions_later")
        ),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_application_extensions_application_id"),
        ),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_application_extensions_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_extensions")),
        sa.UniqueConstraint("oa_number", name=op.f("uq_application_extensions_oa_number")),
    )
    op.create_index(
        op.f("ix_application_extensions_application_id"),
        "application_extensions",
        ["application_id"],
        unique=False,
    )
    op.create_table(
        "application_approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("extension_id", sa.Uuid(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "unit",
                "leader",
                name="approvalkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("decided_on", sa.Date(), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_application_approvals_application_id"),
        ),
        sa.ForeignKeyConstraint(
            ["extension_id"],
            ["application_extensions.id"],
            name=op.f("fk_application_approvals_extension_id"),
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["operators.id"], name=op.f("fk_application_approvals_recorded_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_approvals")),
    )
    op.create_index(
        "uq_application_approvals_kind",
        "application_approvals",
        ["application_id", "kind", "extension_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "early_leavings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("applicant_id", sa.Uuid(), nullable=False),
        sa.Column("last_on", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("told_by", sa.Uuid(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["applicant_id"], ["applicants.id"], name=op.f("fk_early_leavings_applicant_id")
        ),
        sa.ForeignKeyConstraint(
            ["told_by"], ["operators.id"], name=op.f("fk_early_leavings_told_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_early_leavings")),
        sa.UniqueConstraint("applicant_id", name=op.f("uq_early_leavings_applicant_id")),
    )
    # Where a school has policies already, it has these too from now on, by the same paper.
    for key, value in POLICIES.items():
        op.execute(
            sa.text(
                "INSERT INTO policies (id, key, value, document_number, valid_from)"
                " SELECT uuidv7(), :key, CAST(:value AS jsonb), document_number, now()"
                " FROM policies WHERE key = 'top_up.least_fen' AND valid_until IS NULL"
            ).bindparams(key=key, value=value)
        )


def downgrade() -> None:
    for key in POLICIES:
        op.execute(sa.text("DELETE FROM policies WHERE key = :key").bindparams(key=key))
    op.drop_table("early_leavings")
    op.drop_index(
        "uq_application_approvals_kind",
        table_name="application_approvals",
        postgresql_nulls_not_distinct=True,
    )
    op.drop_table("application_approvals")
    op.drop_index(
        op.f("ix_application_extensions_application_id"), table_name="application_extensions"
    )
    op.drop_table("application_extensions")
    op.drop_index("uq_applicants_position", table_name="applicants")
    op.drop_index(op.f("ix_applicants_holder_id"), table_name="applicants")
    op.drop_table("applicants")
    op.drop_index(
        "uq_applications_oa_number",
        table_name="applications",
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )
    op.drop_index(op.f("ix_applications_made_at"), table_name="applications")
    op.drop_table("applications")
