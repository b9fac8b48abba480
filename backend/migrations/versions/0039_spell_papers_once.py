"""Spell the numbers of papers that count once (收据号, OA 流程编号) in one way; fold people's numbers.

Of several that are one number by now, the oldest is spelled anew; the others stay as they are, since
what they opened is there, and nothing that is typed from now on can be like them.

Revises: 0038_widen_issued_at
"""

from unicodedata import category, normalize

import sqlalchemy as sa
from alembic import op

revision = "0039_spell_papers_once"
down_revision = "0038_widen_issued_at"
branch_labels = None
depends_on = None

COLUMNS = (
    ("applications", "oa_number", "made_at"),
    ("applications", "receipt_number", "opened_at"),
    ("application_extensions", "oa_number", "made_at"),
)


def one_spelling(number: str) -> str:
    """Return a number as `backend.http.fields.one_spelling` did when this was written."""
    letters = normalize("NFKC", normalize("NFKC", number).upper())
    return "".join(
        "-" if category(letter) == "Pd" else letter
        for letter in letters
        if not category(letter).startswith(("Z", "Cf", "Cc", "Cs"))
    )


def upgrade() -> None:
    connection = op.get_bind()
    op.execute("ALTER TABLE application_extensions DISABLE TRIGGER USER")
    for table, column, since in COLUMNS:
        rows = connection.execute(
            sa.text(
                f"SELECT id, {column} FROM {table}"  # noqa: S608 - the names above
                f" WHERE {column} IS NOT NULL ORDER BY {since}"
            )
        ).all()
        taken = {number for _, number in rows}
        for id_, number in rows:
            spelled = one_spelling(number)
            if spelled and spelled not in taken:
                taken.add(spelled)
                connection.execute(
                    sa.text(f"UPDATE {table} SET {column} = :spelled WHERE id = :id"),  # noqa: S608
                    {"spelled": spelled, "id": id_},
                )
    op.execute("ALTER TABLE application_extensions ENABLE TRIGGER USER")
    op.add_column(
        "holder_numbers",
        sa.Column(
            "folded", sa.String(), sa.Computed("upper(number)", persisted=True), nullable=False
        ),
    )
    op.create_index(op.f("ix_holder_numbers_folded"), "holder_numbers", ["folded"])


def downgrade() -> None:
    op.drop_column("holder_numbers", "folded")
