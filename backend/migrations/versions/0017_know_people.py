"""Know people better: employment, identity, permissions, numbers, changes, roster batches.

Revises: 0016_add_counter
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017_know_people"
down_revision = "0016_add_counter"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "roster_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "source",
            sa.Enum(
                "academic",
                "personnel",
                "card_centre",
                name="rostersource",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("content_index", sa.LargeBinary(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roster_batches")),
    )
    op.create_table(
        "category_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
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
        sa.Column(
            "employment",
            sa.Enum(
                "public_institution",
                "college",
                "dispatched",
                name="employment",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("holder_number", sa.String(), nullable=True),
        sa.Column("from_day", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("document_number", sa.String(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_category_changes_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_category_changes")),
        sa.UniqueConstraint("holder_number", name=op.f("uq_category_changes_holder_number")),
    )
    op.create_index(
        "uq_category_changes_waiting",
        "category_changes",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "data_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "field",
            sa.Enum(
                "name",
                "document",
                "unit",
                name="datafield",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("old", sa.String(), nullable=True),
        sa.Column("new", sa.String(), nullable=True),
        sa.Column(
            "document_kind",
            sa.Enum(
                "resident_id",
                "passport",
                "hk_macao_permit",
                "taiwan_permit",
                "foreign_permit",
                "unspecified",
                name="documentkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("document_index", sa.LargeBinary(), nullable=True),
        sa.Column("document_tail_index", sa.LargeBinary(), nullable=True),
        sa.Column("document_tail_number", sa.String(), nullable=True),
        sa.Column("documents", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.CheckConstraint(
            "decided_by <> made_by OR field = 'unit'", name=op.f("ck_data_changes_two_people")
        ),
        sa.CheckConstraint(
            "(decided_at IS NULL) = (decided_by IS NULL) AND (decided_at IS NULL) = (approved IS NULL)",
            name=op.f("ck_data_changes_decided"),
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_data_changes_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_changes")),
    )
    op.create_index(
        "uq_data_changes_waiting",
        "data_changes",
        ["holder_id", "field"],
        unique=True,
        postgresql_where=sa.text("decided_at IS NULL"),
    )
    op.create_table(
        "holder_numbers",
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_holder_numbers_holder_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_holder_numbers")),
    )
    op.create_index(
        op.f("ix_holder_numbers_holder_id"), "holder_numbers", ["holder_id"], unique=False
    )
    op.create_table(
        "permission_overrides",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column(
            "permission",
            sa.Enum(
                "pay",
                "identify",
                "finance",
                "information",
                name="permission",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("document_number", sa.String(), nullable=False),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_permission_overrides_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permission_overrides")),
    )
    op.create_index(
        op.f("ix_permission_overrides_holder_id"),
        "permission_overrides",
        ["holder_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_permission_overrides_until"), "permission_overrides", ["until"], unique=False
    )
    op.create_table(
        "roster_conflicts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.String(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=True),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (accepted IS NULL)", name=op.f("ck_roster_conflicts_settled")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["roster_batches.id"], name=op.f("fk_roster_conflicts_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_roster_conflicts_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roster_conflicts")),
    )
    op.create_index(
        "uq_roster_conflicts_open",
        "roster_conflicts",
        ["holder_id", "field"],
        unique=True,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.add_column(
        "holders",
        sa.Column(
            "employment",
            sa.Enum(
                "public_institution",
                "college",
                "dispatched",
                name="employment",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
    )
    op.add_column(
        "holders",
        sa.Column(
            "identity",
            sa.Enum(
                "real_name",
                "registered",
                name="identity",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            server_default="real_name",
            nullable=False,
        ),
    )
    op.add_column(
        "holders",
        sa.Column(
            "document_kind",
            sa.Enum(
                "resident_id",
                "passport",
                "hk_macao_permit",
                "taiwan_permit",
                "foreign_permit",
                "unspecified",
                name="documentkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            server_default="unspecified",
            nullable=False,
        ),
    )
    op.add_column("holders", sa.Column("document_tail_number", sa.String(), nullable=True))
    op.add_column("holders", sa.Column("entered_on", sa.Date(), nullable=True))
    op.add_column("holders", sa.Column("programme_ends_on", sa.Date(), nullable=True))
    op.add_column(
        "holders",
        sa.Column(
            "denied", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.add_column(
        "holders",
        sa.Column(
            "proven", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.alter_column("holders", "document_index", existing_type=postgresql.BYTEA(), nullable=True)
    op.alter_column(
        "holders", "document_tail_index", existing_type=postgresql.BYTEA(), nullable=True
    )
    op.create_check_constraint(
        op.f("ck_holders_employment_of_staff"),
        "holders",
        "employment IS NULL OR category = 'staff'",
    )
    op.create_check_constraint(
        op.f("ck_holders_identity_by_document"),
        "holders",
        "(identity = 'real_name') = (document_index IS NOT NULL) AND (document_index IS NULL) = (document_tail_index IS NULL)",
    )
    op.execute(
        "INSERT INTO holder_numbers (number, holder_id) SELECT holder_number, id FROM holders"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS keep_number ON holders")
    op.drop_constraint(op.f("ck_holders_identity_by_document"), "holders", type_="check")
    op.drop_constraint(op.f("ck_holders_employment_of_staff"), "holders", type_="check")
    op.alter_column(
        "holders", "document_tail_index", existing_type=postgresql.BYTEA(), nullable=False
    )
    op.alter_column("holders", "document_index", existing_type=postgresql.BYTEA(), nullable=False)
    op.drop_column("holders", "proven")
    op.drop_column("holders", "denied")
    op.drop_column("holders", "programme_ends_on")
    op.drop_column("holders", "entered_on")
    op.drop_column("holders", "document_tail_number")
    op.drop_column("holders", "document_kind")
    op.drop_column("holders", "identity")
    op.drop_column("holders", "employment")
    op.drop_index(
        "uq_roster_conflicts_open",
        table_name="roster_conflicts",
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.drop_table("roster_conflicts")
    op.drop_index(op.f("ix_permission_overrides_until"), table_name="permission_overrides")
    op.drop_index(op.f("ix_permission_overrides_holder_id"), table_name="permission_overrides")
    op.drop_table("permission_overrides")
    op.drop_index(op.f("ix_holder_numbers_holder_id"), table_name="holder_numbers")
    op.drop_table("holder_numbers")
    op.drop_index(
        "uq_data_changes_waiting",
        table_name="data_changes",
        postgresql_where=sa.text("decided_at IS NULL"),
    )
    op.drop_table("data_changes")
    op.drop_index(
        "uq_category_changes_waiting",
        table_name="category_changes",
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.drop_table("category_changes")
    op.drop_table("roster_batches")
