"""Allow what refunds and the cash desk post, and open their accounts.

Revises: 0006_add_late_uploads
"""

from alembic import op

revision = "0007_add_money_out"
down_revision = "0006_add_late_uploads"
branch_labels = None
depends_on = None


CHECKS = (
    (
        "accounts",
        "accountkind",
        (
            "main_purse", "subsidy_purse", "merchant", "surcharge", "channel", "subsidy_fund",
            "arrears", "risk", "refunds_due", "cash", "cash_difference", "bank",
        ),
    ),
    (
        "transfers",
        "transferkind",
        (
            "charge", "surcharge", "charge_reversal", "surcharge_reversal", "top_up", "subsidy",
            "arrears", "refund", "refund_returned", "refund_sent", "refund_payout",
            "stray_payment", "cash_top_up", "cash_top_up_reversal", "cash_handed_in",
            "cash_difference",
        ),
    ),
)  # fmt: skip
"""Table, name, and every kind there is from now on."""


def upgrade() -> None:
    for table, name, kinds in CHECKS:
        words = ", ".join(f"'{kind}'" for kind in kinds)
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"kind IN ({words})")
    # Each school has one of each, from now on and whoever founds it.
    op.execute(
        "INSERT INTO accounts (id, kind) VALUES (uuidv7(), 'refunds_due'), (uuidv7(), 'cash'),"
        " (uuidv7(), 'cash_difference'), (uuidv7(), 'bank')"
    )
