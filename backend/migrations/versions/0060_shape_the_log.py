"""Let a row of the operation log, or a seal, be nothing but what one can be.

Rows that are there stay, whatever they are: a verification judges them, and a constraint that looked
at them first could keep a log that somebody spoilt from ever being upgraded.

Revises: 0038_widen_issued_at
"""

from alembic import op

revision = "0060_shape_the_log"
down_revision = "0038_widen_issued_at"
branch_labels = None
depends_on = None

CHECKS = (
    (
        "operation_log",
        "moment",
        "at >= '1970-01-01 00:00:00+00' AND at < '3000-01-01 00:00:00+00'",
    ),
    (
        "operation_log",
        "shapes",
        (
            "jsonb_typeof(facts) = 'object'"
            " AND coalesce(jsonb_typeof(documents), 'array') = 'array'"
            " AND coalesce(jsonb_typeof(policy_ids), 'array') = 'array'"
            " AND concat(before, after, documents, policy_ids, facts) !~ '[0-9]{255}'"
        ),
    ),
    (
        "operation_log_seals",
        "moment",
        "sealed_at >= '1970-01-01 00:00:00+00' AND sealed_at < '3000-01-01 00:00:00+00'",
    ),
    ("operation_log_seals", "heads", "length(head) = 32 AND length(previous_head) = 32"),
)


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS dispose_log(bigint)")
    for table, name, check in CHECKS:
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_{name} CHECK ({check}) NOT VALID"
        )


def downgrade() -> None:
    for table, name, _ in CHECKS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{name}")
