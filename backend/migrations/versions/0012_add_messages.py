"""Add what a holder has read, and messages to their platform account.

Revises: 0011_add_bills
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012_add_messages"
down_revision = "0011_add_bills"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_holder_notices_at"), "holder_notices", ["at"], postgresql_using="brin")
    op.create_table(
        "inbox_marks",
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("written_by", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_inbox_marks_holder_id")
        ),
        sa.PrimaryKeyConstraint("holder_id", name=op.f("pk_inbox_marks")),
    )
    op.create_table(
        "message_consents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("accepted", JSONB(), nullable=False),
        sa.Column("rejected", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_message_consents_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_consents")),
    )
    op.create_table(
        "subscription_credits",
        sa.Column("account_index", sa.LargeBinary(), nullable=False),
        sa.Column("template_id", sa.String(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("account_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("kinds", JSONB(), nullable=False),
        sa.Column("long_term", sa.Boolean(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("agreed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("credits >= 0", name=op.f("ck_subscription_credits_never_below_zero")),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_subscription_credits_holder_id")
        ),
        sa.PrimaryKeyConstraint(
            "account_index", "template_id", name=op.f("pk_subscription_credits")
        ),
    )
    op.create_index(
        op.f("ix_subscription_credits_holder_id"), "subscription_credits", ["holder_id"]
    )
    op.create_table(
        "notice_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("account_index", sa.LargeBinary(), nullable=False),
        sa.Column("account_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("template_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("facts", JSONB(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                *("due", "sending", "sent", "refused", "unknown", "dropped"),
                name="messagestate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('due', 'sending')) = (account_sealed IS NOT NULL)",
            name=op.f("ck_notice_messages_ended_ones_forget_the_account"),
        ),
        sa.ForeignKeyConstraint(
            ["holder_id"], ["holders.id"], name=op.f("fk_notice_messages_holder_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_messages")),
    )
    op.create_index(
        "ix_notice_messages_due",
        "notice_messages",
        ["due_at"],
        postgresql_where=sa.text("state IN ('due', 'sending')"),
    )
    op.create_index(op.f("ix_notice_messages_holder_id"), "notice_messages", ["holder_id"])
    op.create_index(op.f("ix_notice_messages_written_at"), "notice_messages", ["written_at"])


def downgrade() -> None:
    for table in ("notice_messages", "subscription_credits", "message_consents", "inbox_marks"):
        op.drop_table(table)
    op.drop_index(op.f("ix_holder_notices_at"), table_name="holder_notices")
