"""Allow what the life of a card posts, and open the account of card fees.

Revises: 0013_seal_operation_log
"""

from alembic import op

revision = "0014_add_card_fees"
down_revision = "0013_seal_operation_log"
branch_labels = None
depends_on = None


CHECKS = (
    (
        "accounts",
        "accountkind",
        (
            "main_purse", "subsidy_purse", "merchant", "surcharge", "channel", "subsidy_fund",
            "arrears", "risk", "refunds_due", "cash", "cash_difference", "bank",
            "card_fees",
        ),
    ),
    (
        "transfers",
        "transferkind",
        (
            "charge", "surcharge", "charge_reversal", "surcharge_reversal", "top_up", "subsidy",
            "arrears", "refund", "refund_returned", "refund_sent", "refund_payout",
            "stray_payment", "cash_top_up", "cash_top_up_reversal", "cash_handed_in",
            "cash_difference", "card_fee", "closing", "subsidy_withdrawn", "surcharge_returned",
            "correction",
        ),
    ),
)  # fmt: skip
"""Table, name, and every kind there is from now on."""


def upgrade() -> None:
    for table, name, kinds in CHECKS:
        words = ", ".join(f"'{kind}'" for kind in kinds)
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"kind IN ({words})")
    # Each school has one, from now on and whoever founds it.
    op.execute("INSERT INTO accounts (id, kind) VALUES (uuidv7(), 'card_fees')")
