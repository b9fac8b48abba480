"""Take back a change of category and a graduates' batch; say whom a departure was filed for.

A departure is of the category that its people had when it was filed.

Revises: 0042_let_sponsors_tell
"""

import sqlalchemy as sa
from alembic import op

revision = "0043_withdraw_plans"
down_revision = "0042_let_sponsors_tell"
branch_labels = None
depends_on = None

CATEGORIES = (
    "student", "new_student", "staff", "temporary_retired", "temporary_trainee",
    "temporary_outsider",
)  # fmt: skip
STATES = ("scheduled", "applied", "withdrawn")


def upgrade() -> None:
    _withdraw_changes()
    _know_for_whom_departures_are()
    _withdraw_batches()


def _withdraw_changes() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("category_changes", sa.Column("withdrawn_at", moment, nullable=True))
    op.add_column("category_changes", sa.Column("withdrawn_by", sa.String(), nullable=True))
    op.create_check_constraint(
        op.f("ck_category_changes_withdrawn_when"),
        "category_changes",
        "applied_at IS NULL OR withdrawn_at IS NULL",
    )
    op.create_check_constraint(
        op.f("ck_category_changes_withdrawn_whole"),
        "category_changes",
        "(withdrawn_at IS NULL) = (withdrawn_by IS NULL)",
    )
    op.drop_index("uq_category_changes_waiting", "category_changes")
    op.create_index(
        "uq_category_changes_waiting",
        "category_changes",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("applied_at IS NULL AND withdrawn_at IS NULL"),
    )
    op.drop_constraint("uq_category_changes_holder_number", "category_changes")
    op.create_index(
        "uq_category_changes_holder_number",
        "category_changes",
        ["holder_number"],
        unique=True,
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )


def _know_for_whom_departures_are() -> None:
    category = sa.Enum(
        *CATEGORIES, name="category", native_enum=False, create_constraint=False, length=32
    )
    op.add_column("leavers", sa.Column("category", category, nullable=True))
    op.execute("UPDATE leavers l SET category = h.category FROM holders h WHERE h.id = l.holder_id")
    op.alter_column("leavers", "category", nullable=False)
    op.create_check_constraint(
        op.f("ck_leavers_category"), "leavers", f"category IN {CATEGORIES!r}"
    )
    op.drop_constraint("ck_leavers_leaverstate", "leavers")
    op.create_check_constraint(
        op.f("ck_leavers_leaverstate"), "leavers", f"state IN {(*STATES, 'superseded')!r}"
    )


def _withdraw_batches() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("closing_batches", sa.Column("withdrawn_by", sa.Uuid(), nullable=True))
    op.add_column("closing_batches", sa.Column("withdrawn_at", moment, nullable=True))
    op.create_foreign_key(
        op.f("fk_closing_batches_withdrawn_by"),
        "closing_batches",
        "operators",
        ["withdrawn_by"],
        ["id"],
    )
    op.create_check_constraint(
        op.f("ck_closing_batches_withdrawn_when"),
        "closing_batches",
        "(withdrawn_by IS NULL) = (withdrawn_at IS NULL)"
        " AND (withdrawn_at IS NULL OR approved_at IS NULL AND run_at IS NULL)",
    )


def downgrade() -> None:
    op.drop_column("closing_batches", "withdrawn_at")
    op.drop_column("closing_batches", "withdrawn_by")
    op.execute("UPDATE leavers SET state = 'withdrawn' WHERE state = 'superseded'")
    op.drop_constraint("ck_leavers_leaverstate", "leavers")
    op.create_check_constraint(op.f("ck_leavers_leaverstate"), "leavers", f"state IN {STATES!r}")
    op.drop_column("leavers", "category")
    op.execute("DELETE FROM category_changes WHERE withdrawn_at IS NOT NULL")
    op.drop_index("uq_category_changes_holder_number", "category_changes")
    op.drop_index("uq_category_changes_waiting", "category_changes")
    op.drop_column("category_changes", "withdrawn_by")
    op.drop_column("category_changes", "withdrawn_at")
    op.create_unique_constraint(
        op.f("uq_category_changes_holder_number"), "category_changes", ["holder_number"]
    )
    op.create_index(
        "uq_category_changes_waiting",
        "category_changes",
        ["holder_id"],
        unique=True,
        postgresql_where=sa.text("applied_at IS NULL"),
    )
