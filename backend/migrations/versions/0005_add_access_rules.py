"""Add what the school decides about gates: settings with their rules in versions, emergencies.

Revises: 0004_add_device_keys
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_add_access_rules"
down_revision = "0004_add_device_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gate_settings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "offline",
            sa.Enum(
                "open",
                "signed",
                "closed",
                name="offlinepolicy",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("passback_minutes", sa.Integer(), nullable=False),
        sa.Column(
            "default",
            sa.Enum(
                "allow",
                "deny",
                name="decision",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "passback_minutes >= 0", name=op.f("ck_gate_settings_passback_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.id"], name=op.f("fk_gate_settings_terminal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_settings")),
        sa.UniqueConstraint(
            "terminal_id", "version", name=op.f("uq_gate_settings_terminal_id_version")
        ),
    )
    op.create_index(
        "uq_gate_settings_current",
        "gate_settings",
        ["terminal_id"],
        unique=True,
        postgresql_where=sa.text("valid_until IS NULL"),
    )
    op.create_table(
        "access_rules",
        sa.Column("settings_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("allow", sa.Boolean(), nullable=False),
        sa.Column("days", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("begins", sa.Integer(), nullable=False),
        sa.Column("ends", sa.Integer(), nullable=False),
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
            nullable=True,
        ),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column("holder_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "begins BETWEEN 0 AND 1439 AND ends BETWEEN 0 AND 1440",
            name=op.f("ck_access_rules_within_a_day"),
        ),
        sa.ForeignKeyConstraint(
            ["settings_id"], ["gate_settings.id"], name=op.f("fk_access_rules_settings_id")
        ),
        sa.PrimaryKeyConstraint("settings_id", "number", name=op.f("pk_access_rules")),
    )
    op.create_table(
        "emergencies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=True),
        sa.Column("place", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("declared_by", sa.String(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_emergencies_period")),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.id"], name=op.f("fk_emergencies_terminal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergencies")),
    )
    op.create_index(op.f("ix_emergencies_ends_at"), "emergencies", ["ends_at"], unique=False)
    op.add_column(
        "passages",
        sa.Column(
            "facts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.add_column("passages", sa.Column("settings_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_passages_settings_id"), "passages", "gate_settings", ["settings_id"], ["id"]
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_passages_settings_id"), "passages", type_="foreignkey")
    op.drop_column("passages", "settings_id")
    op.drop_column("passages", "facts")
    op.drop_index(op.f("ix_emergencies_ends_at"), table_name="emergencies")
    op.drop_table("emergencies")
    op.drop_table("access_rules")
    op.drop_index(
        "uq_gate_settings_current",
        table_name="gate_settings",
        postgresql_where=sa.text("valid_until IS NULL"),
    )
    op.drop_table("gate_settings")
