"""Know an applicant's number under every kind of document.

Revises: 0036_answer_claims
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037_know_other_kinds"
down_revision = "0036_answer_claims"
branch_labels = None
depends_on = None


def allow(*faults: str) -> None:
    words = ", ".join(f"'{fault}'" for fault in faults)
    op.drop_constraint(op.f("ck_applicants_fault"), "applicants", type_="check")
    op.create_check_constraint(op.f("ck_applicants_fault"), "applicants", f"fault IN ({words})")


def upgrade() -> None:
    op.add_column(
        "applicants",
        sa.Column("other_indexes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )
    allow("holder_known", "number_known")


def downgrade() -> None:
    op.execute("UPDATE applicants SET fault = 'holder_known' WHERE fault = 'number_known'")
    allow("holder_known")
    op.drop_column("applicants", "other_indexes")
