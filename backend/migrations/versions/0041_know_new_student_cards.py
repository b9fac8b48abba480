"""Know new-student cards (新生卡) by the card, so that they are exchanged whatever became of people.

Revises: 0040_settle_by_two
"""

import sqlalchemy as sa
from alembic import op

revision = "0041_know_new_student_cards"
down_revision = "0040_settle_by_two"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "cards",
        sa.Column("new_student", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    # Of those who are new students, or were when the card was made and became students since by a
    # roster or a change of category.  After an exchange there is a newer card.
    op.execute("""
        UPDATE cards c SET new_student = true FROM holders h
         WHERE h.id = c.holder_id AND c.kind = 'physical' AND c.state NOT IN ('void', 'closed')
           AND (h.category = 'new_student'
            OR h.category = 'student' AND (
               EXISTS (SELECT FROM operation_log e
                        WHERE e.holder_id = h.id AND e.action = 'roster.change'
                          AND e.before ->> 'category' = 'new_student' AND e.at >= c.created_at)
            OR EXISTS (SELECT FROM category_changes k
                        WHERE k.holder_id = h.id AND k.before ->> 'category' = 'new_student'
                          AND k.applied_at >= c.created_at)))
    """)


def downgrade() -> None:
    op.drop_column("cards", "new_student")
    op.execute("DROP FUNCTION note_new_student_card CASCADE")
