"""Where anything about a holder is kept (个人信息目录): the one place that knows.

Whoever shows, counts or erases what is kept of somebody goes by it.  Every table is either here or
in `NOT_ABOUT_HOLDERS` with the reason; a test compares both with the tables that there are.

Source: PIPL (个人信息保护法) 45.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Table, select

from backend.applications.models import Applicant, Application, EarlyLeaving
from backend.arrears.models import Arrears
from backend.cards.models import (
    Card,
    CounterOperation,
    Delegation,
    FoundCard,
    LossReport,
    Replacement,
    ReplacementRequest,
    Restoration,
)
from backend.cases.models import LendingSignal, Resolution, WriteOff
from backend.cash_desk.models import CashReversal, CashTopUp
from backend.charges.models import Charge, ChargeReversal, SurchargeReturn
from backend.closings.models import (
    Closing,
    Graduate,
    Leaver,
    Reopening,
    Retirement,
    ScreeningItem,
)
from backend.db import Base
from backend.gates.models import AccessRule, Passage
from backend.holders.models import (
    Binding,
    BindingTry,
    CategoryChange,
    DataChange,
    Holder,
    HolderNumber,
    HolderSession,
    PermissionOverride,
    RosterConflict,
)
from backend.issues.models import IssueDecision, IssueItem
from backend.ledger.models import Account, Transfer
from backend.notices.models import (
    HolderNotice,
    InboxMark,
    MessageConsent,
    NoticeMessage,
    SubscriptionCredit,
)
from backend.operation_log.models import LogEntry
from backend.refunds.models import ChannelRefund, Payout, PayoutLine
from backend.subsidies.models import SubsidyItem, SubsidyWithdrawal
from backend.topups.models import ChannelNotice, HolderRefund, StrayPayment, TopUp, TopUpResolution
from backend.uploads.models import LateUpload

Whose = Callable[[UUID], ColumnElement[bool]]
OF_OTHERS = frozenset(
    (
        "answered_by", "approved_by", "cashier_id", "checker_id", "decided_by", "found_by",
        "handed_back_by", "holder_ids", "made_by", "maker_id", "operator_id", "restored_by",
        "settled_by", "signed_by", "sponsor_id", "started_by", "supervisor_id", "told_by",
        "withdrawn_by",
    )
)  # fmt: skip
"""Columns that name other people: staff by their ids, and who signed for somebody."""
OF_MACHINES = frozenset(
    (
        "client_params", "content", "due_at", "next_query_at", "next_try_at", "prepayment",
        "other_indexes", "queries", "tried_at", "tries", "written_by",
    )
)  # fmt: skip
"""Columns that only steer programs."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one table that are about a holder."""

    model: type[Base]
    whose: Whose
    """Which rows are a holder's."""

    @property
    def table(self) -> Table:
        """The table."""
        table = self.model.__table__
        assert isinstance(table, Table)  # noqa: S101 - of a mapped class it is one
        return table

    @property
    def told(self) -> list[ColumnElement[object]]:
        """The columns that a holder is shown.

        Not hashes, sealed boxes and keys: they are bytes, and say nothing to anybody.
        """
        return [
            column
            for column in self.table.columns
            if not isinstance(column.type, LargeBinary) and column.name not in LEFT_OUT
        ]


LEFT_OUT = OF_OTHERS | OF_MACHINES


def _of_holder(model: type[Base]) -> Part:
    return Part(model, lambda holder_id: model.__table__.c.holder_id == holder_id)


def _of(model: type[Base], column: str, owner: type[Base]) -> Part:
    """Return a part whose rows name a row of another table, and that one its holder."""
    names, named = model.__table__.c, owner.__table__.c
    return Part(
        model,
        lambda holder_id: names[column].in_(select(named.id).where(named.holder_id == holder_id)),
    )


def _of_account(model: type[Base]) -> Part:
    """Return a part whose rows name a platform account that is, or was, bound to the holder."""
    names = model.__table__.c
    return Part(
        model,
        lambda holder_id: names.account_index.in_(
            select(Binding.account_index).where(Binding.holder_id == holder_id)
        ),
    )


def _moved(holder_id: UUID) -> ColumnElement[bool]:
    purses = select(Account.id).where(Account.holder_id == holder_id)
    return Transfer.debit_account_id.in_(purses) | Transfer.credit_account_id.in_(purses)


def _withdrawn_from(holder_id: UUID) -> ColumnElement[bool]:
    items = select(SubsidyItem.id).where(SubsidyItem.holder_id == holder_id)
    return SubsidyWithdrawal.item_id.in_(items)


def _left(holder_id: UUID) -> ColumnElement[bool]:
    applied = select(Applicant.id).where(Applicant.holder_id == holder_id)
    return EarlyLeaving.applicant_id.in_(applied)


PARTS: tuple[Part, ...] = (
    Part(Holder, lambda holder_id: Holder.id == holder_id),
    *map(
        _of_holder,
        (
            HolderNumber, CategoryChange, DataChange, PermissionOverride, RosterConflict, Binding,
        ),
    ),
    _of_account(HolderSession),
    _of_account(BindingTry),
    *map(_of_holder, (Card, LossReport, Restoration, ReplacementRequest, Replacement)),
    _of_holder(CounterOperation),
    _of(FoundCard, "card_id", Card),
    _of(Delegation, "card_id", Card),
    _of_holder(IssueItem),
    _of_holder(IssueDecision),
    _of_holder(Applicant),
    Part(EarlyLeaving, _left),
    Part(Application, lambda holder_id: Application.sponsor_id == holder_id),
    _of_holder(Account),
    Part(Transfer, _moved),
    _of_holder(TopUp),
    _of(ChannelNotice, "top_up_id", TopUp),
    _of(TopUpResolution, "top_up_id", TopUp),
    _of(StrayPayment, "top_up_id", TopUp),
    _of_holder(CashTopUp),
    _of(CashReversal, "top_up_id", CashTopUp),
    _of_holder(Charge),
    _of(ChargeReversal, "charge_id", Charge),
    _of(SurchargeReturn, "charge_id", Charge),
    _of_holder(Arrears),
    _of_holder(WriteOff),
    _of_holder(SubsidyItem),
    Part(SubsidyWithdrawal, _withdrawn_from),
    _of_holder(HolderRefund),
    _of_holder(ChannelRefund),
    _of(Payout, "refund_id", ChannelRefund),
    _of_holder(PayoutLine),
    *map(_of_holder, (Closing, Reopening, Leaver, Graduate, Retirement, ScreeningItem)),
    _of_holder(Passage),
    Part(AccessRule, lambda holder_id: AccessRule.holder_ids.contains([str(holder_id)])),
    _of_holder(LateUpload),
    _of(Resolution, "upload_id", LateUpload),
    _of_holder(LendingSignal),
    *map(
        _of_holder,
        (HolderNotice, InboxMark, NoticeMessage, MessageConsent, SubscriptionCredit, LogEntry),
    ),
)  # fmt: skip
"""In the order in which they are shown: who somebody is, the cards, the money, where they were."""

NOT_ABOUT_HOLDERS: dict[str, str] = {
    **dict.fromkeys(
        (
            "policies", "policy_proposals", "merchants", "stalls", "terminals", "terminal_bundles",
            "gate_settings", "emergencies", "passage_counts", "operation_log_seals",
            "surcharge_reratings",
        ),
        "the school, its rules and its machines",
    ),
    **dict.fromkeys(
        (
            "application_approvals", "application_extensions", "closing_batches", "departures",
            "issue_batches", "payout_batches", "roster_batches", "screenings", "subsidy_batches",
        ),
        "an operation on many people; each one's row of it is a part",
    ),
    **dict.fromkeys(
        (
            "operators", "operator_changes", "operator_enrolments", "operator_sessions",
            "operator_tries", "cash_shifts",
        ),
        "the staff at work",
    ),
    **dict.fromkeys(
        ("bill_fetches", "bill_files", "bill_lines", "channel_bills", "refunded_payments",
         "strange_refunds"),
        "a channel's books: numbers of payments, the payer's top-ups and refunds have them",
    ),
    **dict.fromkeys(
        ("card_aliases", "spent_codes", "delegation_challenges"),
        "random bytes that were good once; they say nothing without the card's rows",
    ),
}  # fmt: skip
"""Every other table, and why it has nothing about a holder."""
