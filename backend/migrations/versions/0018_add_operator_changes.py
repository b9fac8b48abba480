"""Let operators be appointed, changed, suspended and recovered by two people.

Revises: 0017_know_people
"""

import sqlalchemy as sa
from alembic import op

revision = "0018_add_operator_changes"
down_revision = "0017_know_people"
branch_labels = None
depends_on = None

ROLES = (
    "card_centre", "finance", "logistics", "academic", "student_affairs", "personnel", "auditor",
    "system_administrator",
)  # fmt: skip
STATES = ("invited", "active", "suspended")
KINDS = ("appoint", "change_role", "suspend", "resume", "recover")
POLICIES = {
    "operator.daily_exports": 10,
    "operator.auditor.daily_reveals": 30,
    "operator.card_centre.daily_reveals": 30,
    "operator.cash_day_fen": 5_000_000,
    "operator.payout_day_fen": 2_000_000,
}


def words(name: str, known: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*known, name=name, native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    op.drop_constraint(op.f("ck_operators_role"), "operators", type_="check")
    known = ", ".join(f"'{role}'" for role in ROLES)
    op.create_check_constraint(op.f("ck_operators_role"), "operators", f"role IN ({known})")
    op.add_column("operators", sa.Column("name", sa.String(), nullable=True))
    op.execute("UPDATE operators SET name = username")
    op.alter_column("operators", "name", nullable=False)
    op.add_column(
        "operators",
        sa.Column("state", words("operatorstate", STATES), nullable=False, server_default="active"),
    )
    op.alter_column("operators", "state", server_default=None)
    op.alter_column("operators", "password_hash", nullable=True)
    op.alter_column("operators", "totp_sealed", nullable=True)
    op.add_column(
        "operator_sessions", sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute("UPDATE operator_sessions SET confirmed_at = created_at")
    op.alter_column("operator_sessions", "confirmed_at", nullable=False)
    op.create_table(
        "operator_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("kind", words("changekind", KINDS), nullable=False),
        sa.Column("username", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("role", words("role", ROLES), nullable=True),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "approved_by <> made_by", name=op.f("ck_operator_changes_another_person_approves")
        ),
        sa.CheckConstraint(
            "made_by <> operator_id AND approved_by <> operator_id",
            name=op.f("ck_operator_changes_nobody_for_himself"),
        ),
        sa.CheckConstraint(
            "approved IS NOT TRUE OR approved_by IS NOT NULL OR kind = 'suspend'",
            name=op.f("ck_operator_changes_two_people"),
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["operators.id"], name=op.f("fk_operator_changes_approved_by")
        ),
        sa.ForeignKeyConstraint(
            ["made_by"], ["operators.id"], name=op.f("fk_operator_changes_made_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_changes")),
    )
    op.create_index(
        op.f("ix_operator_changes_operator_id"), "operator_changes", ["operator_id"], unique=False
    )
    op.create_index(
        "uq_operator_changes_waiting",
        "operator_changes",
        ["operator_id"],
        unique=True,
        postgresql_where=sa.text("approved IS NULL"),
    )
    op.create_table(
        "operator_enrolments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("operator_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("issued_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("totp_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["issued_by"], ["operators.id"], name=op.f("fk_operator_enrolments_issued_by")
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operators.id"], name=op.f("fk_operator_enrolments_operator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_enrolments")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_operator_enrolments_token_hash")),
    )
    op.create_index(
        op.f("ix_operator_enrolments_operator_id"),
        "operator_enrolments",
        ["operator_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_operation_log_actor_at"), "operation_log", ["actor", "at"], unique=False
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
    op.drop_index(op.f("ix_operation_log_actor_at"), table_name="operation_log")
    op.drop_table("operator_enrolments")
    op.drop_table("operator_changes")
    op.drop_column("operator_sessions", "confirmed_at")
    op.execute("DELETE FROM operators WHERE password_hash IS NULL OR totp_sealed IS NULL")
    op.alter_column("operators", "totp_sealed", nullable=False)
    op.alter_column("operators", "password_hash", nullable=False)
    op.drop_column("operators", "state")
    op.drop_column("operators", "name")
    op.drop_constraint(op.f("ck_operators_role"), "operators", type_="check")
    known = ", ".join(f"'{role}'" for role in ROLES[:-1])
    op.create_check_constraint(op.f("ck_operators_role"), "operators", f"role IN ({known})")
