"""A bill (账单): what a platform says it did for us on one day, row by row.

Each platform's file has its own exact parser, `_wechat_bill.py` and `_alipay_bill.py`.  A file is
read whole or refused whole: nothing in it is guessed, skipped or rounded.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

MAX_BILL_BYTES: Final = 64 * 1024 * 1024
"""The most that a bill may be, packed or unpacked: some 200,000 rows."""


class BillMalformed(Exception):
    """A file that is not that channel's bill of that day, or not whole.  Use nothing of it.

    `reason` says what is wrong, never with the value:

    - `size`: larger than `MAX_BILL_BYTES`, packed or unpacked
    - `archive`: not gzip or zip as the platform packs it
    - `encoding`: not text in the platform's encoding
    - `header`: column names that this version does not know
    - `columns`: a line that is no row
    - `merchant`, `currency`, `day`, `time`, `number`, `state`, `amount`: a row or head that says
      something impossible, or is meant for somebody else or for another day
    - `summary`: the platform's own totals are missing, or cannot be read
    - `count`, `sum`: the rows do not add up to the platform's own totals

    Attributes:
        line: of the text that holds the rows, from 1; None where no line can be named.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} in line {line}")
        self.reason = reason
        self.line = line


class BillRowKind(StrEnum):
    """What a row tells."""

    PAYMENT = "payment"
    """支付"""
    REFUND = "refund"
    """退款"""


@dataclass(frozen=True, slots=True)
class BillRow:
    """One payment or refund, as the bill tells it.

    Attributes:
        out_trade_no: our number of the order, if it is ours.
        trade_no: the platform's number of the payment.
        out_refund_no: our number of the refund, or the one that the platform made up where the
            refund was made at its own desk; None for a payment.
        refund_no: the platform's number of the refund; Alipay tells none.
        amount_fen: what the order cost, or what went back; always positive.
        fee_fen: what the platform kept for it; negative where it gave a fee back.
        at: a payment's success; a refund's acceptance, which is not its success.
        state: the platform's own word: of a WeChat refund the state of the refund at that time.
        line: where it stands in the text, from 1.
    """

    kind: BillRowKind
    out_trade_no: str
    trade_no: str
    out_refund_no: str | None
    refund_no: str | None
    amount_fen: int
    fee_fen: int
    at: datetime
    state: str
    line: int


@dataclass(frozen=True, slots=True)
class BillTotals:
    """What the rows of a bill add up to."""

    payments: int
    payments_fen: int
    refunds: int
    refunds_fen: int
    fee_fen: int


@dataclass(frozen=True, slots=True)
class Bill:
    """One channel's bill of one day in Asia/Shanghai; a day without any trade has no rows.

    Its rows add up to the platform's own totals, or it would not have been read.
    """

    channel: str
    day: date
    rows: tuple[BillRow, ...]

    @property
    def totals(self) -> BillTotals:
        """Add up the rows."""
        payments = [row.amount_fen for row in self.rows if row.kind is BillRowKind.PAYMENT]
        refunds = [row.amount_fen for row in self.rows if row.kind is BillRowKind.REFUND]
        return BillTotals(
            payments=len(payments),
            payments_fen=sum(payments),
            refunds=len(refunds),
            refunds_fen=sum(refunds),
            fee_fen=sum(row.fee_fen for row in self.rows),
        )
