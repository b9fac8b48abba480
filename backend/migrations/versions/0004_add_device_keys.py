"""Add device keys and what terminals tell of themselves; say in old loss reports who was offline.

Revises: 0003_add_delegations
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004_add_device_keys"
down_revision = "0003_add_delegations"
branch_labels = None
depends_on = None

COLUMNS = (
    ("public_key", sa.LargeBinary()),
    ("key_id", sa.String()),
    ("online_since", sa.DateTime(timezone=True)),
    ("queue_length", sa.Integer()),
    ("queue_since", sa.DateTime(timezone=True)),
    ("last_sequence", sa.BigInteger()),
    ("clock_offset_seconds", sa.BigInteger()),
    ("clock_off_since", sa.DateTime(timezone=True)),
    ("bundle_sequence", sa.BigInteger()),
    ("bundle_confirmed_at", sa.DateTime(timezone=True)),
    ("bundle_issued_at", sa.DateTime(timezone=True)),
    ("bundle_latest_sequence", sa.BigInteger()),
    ("bundle_latest_issued_at", sa.DateTime(timezone=True)),
    ("gap_since", sa.DateTime(timezone=True)),
    ("missing_sequences", JSONB()),
)
CHECKS = (
    ("token_or_key", "num_nonnulls(token_hash, public_key) <= 1"),
    ("keys_have_names", "(public_key IS NULL) = (key_id IS NULL)"),
    (
        "revoked_hold_nothing",
        "revoked_at IS NULL OR num_nonnulls(token_hash, public_key, enrolment_hash) = 0",
    ),
)


def upgrade() -> None:
    for name, type_ in COLUMNS:
        op.add_column("terminals", sa.Column(name, type_, nullable=True))
    op.create_unique_constraint(op.f("uq_terminals_key_id"), "terminals", ["key_id"])
    for name, rule in CHECKS:
        op.create_check_constraint(op.f(f"ck_terminals_{name}"), "terminals", rule)
    # Until now every terminal asked for each scan: none was listed as offline.
    op.execute("""
        UPDATE loss_reports SET answer = jsonb_set(answer, '{terminals}', (
            SELECT coalesce(jsonb_agg(terminal || '{"offline_since": null}' ORDER BY place), '[]')
            FROM jsonb_array_elements(answer -> 'terminals') WITH ORDINALITY AS t (terminal, place)
        ))
    """)


def downgrade() -> None:
    for name, _ in CHECKS:
        op.drop_constraint(op.f(f"ck_terminals_{name}"), "terminals")
    for name, _ in COLUMNS:
        op.drop_column("terminals", name)
