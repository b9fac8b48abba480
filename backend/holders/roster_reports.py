"""What an import of the roster says of its rows (导入报告), and reading it back."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Remark(StrEnum):
    """What is to be known of somebody beside their row; the row was taken all the same."""

    ACCOUNT_CLOSED = "account-closed"
    """The account is closed (已销户): there is no card until it is opened again (复户)."""
    ACCOUNT_CLOSING = "account-closing"
    """The account is closing (销户中): take that back, or open it again when it has ended."""


@dataclass(slots=True)
class RowFault:
    """What is to be said of one row.  Names the column and the fault, never the value."""

    row: int
    column: str
    fault: str


@dataclass(slots=True)
class RowRemark:
    """What is to be known of the person of one row."""

    row: int
    holder_number: str
    remark: Remark


@dataclass(slots=True)
class RosterReport:
    """What an import did, or would do."""

    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    faults: list[RowFault] = field(default_factory=list)
    """Rows that were left out."""
    conflicts: list[RowFault] = field(default_factory=list)
    """Fields that were left alone: they are proven, and differ (名册差异)."""
    remarks: list[RowRemark] = field(default_factory=list)
    """Of people who are here still by the feed.  The rows are counted above like any other."""
    unread_sheets: list[str] = field(default_factory=list)
    """Sheets of the file that hold something and were not read (未读工作表), by their names."""
    absent: list[str] = field(default_factory=list)
    """Holder numbers of people whom a whole list does not have; nothing is done to them."""


def read_report(stored: dict[str, Any]) -> RosterReport:
    """Return a report as it was given.  Older ones have no remarks, or no sheets."""
    lists = {
        name: [RowFault(**fault) for fault in stored[name]] for name in ("faults", "conflicts")
    }
    remarks = [
        RowRemark(one["row"], one["holder_number"], Remark(one["remark"]))
        for one in stored.get("remarks", ())
    ]
    return RosterReport(**(stored | lists | {"remarks": remarks}))
