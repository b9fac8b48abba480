"""HTTP for staff: subsidies in batches, and taking mistaken ones back."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    RoleNotAllowed,
    caller_in,
)
from backend.subsidies import rules, service, taking_back
from backend.subsidies.models import ItemState, SubsidyBatch, SubsidyWithdrawal
from backend.subsidies.rules import ListUnreadable, Row
from backend.subsidies.schemas import (
    SubsidyBatchesQuery,
    SubsidyBatchFull,
    SubsidyBatchList,
    SubsidyBatchReply,
    SubsidyBatchRequest,
    SubsidyItemList,
    SubsidyItemsQuery,
    SubsidyPreviewRequest,
    SubsidyReasonRequest,
    SubsidyReport,
    SubsidyWithdrawalReply,
    SubsidyWithdrawalRequest,
)
from backend.subsidies.service import (
    MAY_APPROVE,
    MAY_LOOK,
    MAY_MAKE,
    MAY_WITHDRAW,
    Asked,
    SubsidyBatchDecided,
    SubsidyDayOver,
    SubsidyListUnreadable,
    SubsidyRowsFaulty,
)
from backend.subsidies.taking_back import SubsidyNotPaid, SubsidyWithdrawalWaits

staff = guard(
    Blueprint("subsidies", __name__, url_prefix="/staff", description="Staff: subsidies (补贴)"),
    "operator",
    operators.authenticate,
)


@staff.route("/subsidy-batches", methods=["GET"])
@staff.arguments(SubsidyBatchesQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, SubsidyBatchList)
def list_subsidy_batches(query: dict[str, Any]) -> dict[str, Any]:
    """List batches, newest first."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(service.list_batches, session),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="made_at",
        )
        return found | {"items": replies(session, found["items"])}


@staff.route("/subsidy-batches/previews", methods=["POST"])
@staff.arguments(SubsidyPreviewRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, SubsidyListUnreadable)
@staff.response(200, SubsidyReport)
@logged("subsidy.preview")
def preview_subsidy_batch(body: dict[str, Any]) -> Any:
    """Report what is wrong with a list, row by row, and what it comes to; writes nothing."""
    caller_in(*MAY_MAKE)
    rows = rows_of(body["items"], body["csv"])
    with transaction() as session:
        return service.check(session, rows, now=clock.now())


@staff.route("/subsidy-batches/<uuid:batch_id>", methods=["PUT"])
@staff.arguments(SubsidyBatchRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    SubsidyListUnreadable,
    NotFound,
    IdReused,
    SubsidyDayOver,
    SubsidyRowsFaulty,
)
@staff.alt_response(201, schema=SubsidyBatchReply, description="Made now.")
@staff.response(200, SubsidyBatchReply)
@logged("subsidy.make", subject="batch_id")
def make_subsidy_batch(body: dict[str, Any], batch_id: UUID) -> Any:
    """Make a batch, whole or not at all; finance approves it, and a job pays it."""
    who = caller_in(*MAY_MAKE)
    asked = Asked(
        name=body["name"],
        document_number=body["document_number"],
        fund=body["fund"],
        pay_on=body["pay_on"],
        rows=rows_of(body["items"], body["csv"]),
    )
    with transaction() as session:
        batch, first = service.make(
            session, batch_id=batch_id, asked=asked, maker=who, now=clock.now()
        )
        return replies(session, [batch])[0], 201 if first else 200


@staff.route("/subsidy-batches/<uuid:batch_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, SubsidyBatchFull)
def read_subsidy_batch(batch_id: UUID) -> dict[str, Any]:
    """Show one batch and how far it is paid."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        batch = service.find(session, batch_id=batch_id)
        counts = service.counts_of(session, batch_id=batch_id)
        return replies(session, [batch])[0] | {
            f"{state.value}_count": counts[state] for state in ItemState
        }


@staff.route("/subsidy-batches/<uuid:batch_id>/items", methods=["GET"])
@staff.arguments(SubsidyItemsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, SubsidyItemList)
def list_subsidy_items(query: dict[str, Any], batch_id: UUID) -> dict[str, Any]:
    """List the items of a batch in the order of its list."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        service.find(session, batch_id=batch_id)
        found = service.items_of(session, batch_id=batch_id, **query)
        taken = withdrawals(session, [one for *_, one in found if one])
        return {
            "items": [
                {
                    "id": item.id,
                    "holder_number": holder.holder_number,
                    "name_masked": masked_name(holder.name),
                    "amount_fen": item.amount_fen,
                    "state": item.state,
                    "settled_at": item.settled_at,
                    "withdrawal": taken.get(item.id),
                }
                for item, holder, _ in found
            ]
        }


@staff.route("/subsidy-batches/<uuid:batch_id>/approval", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    SubsidyBatchDecided,
    SecondPersonNeeded,
)
@staff.alt_response(201, schema=SubsidyBatchReply, description="Approved now.")
@staff.response(200, SubsidyBatchReply)
@logged("subsidy.approve", subject="batch_id")
def approve_subsidy_batch(batch_id: UUID) -> Any:
    """Approve a batch that somebody else made; it is paid within seconds, or on its day."""
    who = caller_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        batch, first = service.approve(session, batch_id=batch_id, checker=who, now=clock.now())
        return replies(session, [batch])[0], 201 if first else 200


@staff.route("/subsidy-batches/<uuid:batch_id>/withdrawal", methods=["POST"])
@staff.arguments(SubsidyReasonRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, SubsidyBatchDecided)
@staff.alt_response(201, schema=SubsidyBatchReply, description="Withdrawn now.")
@staff.response(200, SubsidyBatchReply)
@logged("subsidy.withdraw_batch", subject="batch_id")
def withdraw_subsidy_batch(body: dict[str, Any], batch_id: UUID) -> Any:
    """Take a batch back, or refuse it, before it is approved."""
    who = caller_in(*MAY_WITHDRAW)
    with transaction() as session:
        batch, first = service.withdraw_batch(
            session, batch_id=batch_id, reason=body["reason"], who=who, now=clock.now()
        )
        return replies(session, [batch])[0], 201 if first else 200


@staff.route("/subsidy-withdrawals/<uuid:withdrawal_id>", methods=["PUT"])
@staff.arguments(SubsidyWithdrawalRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    SubsidyNotPaid,
    SubsidyWithdrawalWaits,
)
@staff.alt_response(201, schema=SubsidyWithdrawalReply, description="Asked for now.")
@staff.response(200, SubsidyWithdrawalReply)
@logged("subsidy.ask_back", subject="withdrawal_id")
def ask_subsidy_back(body: dict[str, Any], withdrawal_id: UUID) -> Any:
    """Ask for a mistaken subsidy to be taken back; finance approves it."""
    who = caller_in(*MAY_WITHDRAW)
    with transaction() as session:
        withdrawal, first = taking_back.ask_back(
            session, withdrawal_id=withdrawal_id, **body, maker=who, now=clock.now()
        )
        session.flush()
        return _withdrawal(session, withdrawal), 201 if first else 200


@staff.route("/subsidy-withdrawals/<uuid:withdrawal_id>/approval", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, ConfirmationNeeded, NotFound, SecondPersonNeeded)
@staff.alt_response(201, schema=SubsidyWithdrawalReply, description="Taken back now.")
@staff.response(200, SubsidyWithdrawalReply)
@logged("subsidy.take_back", subject="withdrawal_id")
def take_subsidy_back(withdrawal_id: UUID) -> Any:
    """Take a mistaken subsidy back, at most what is left of it."""
    who = caller_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        withdrawal, first = taking_back.take_back(
            session, withdrawal_id=withdrawal_id, checker=who, now=clock.now()
        )
        return _withdrawal(session, withdrawal), 201 if first else 200


def rows_of(items: Sequence[dict[str, Any]] | None, csv: str | None) -> list[Row]:
    """Return the rows of a list that came as JSON, numbered from 1, or as CSV.

    Raises:
        SubsidyListUnreadable: the CSV is none.
    """
    if items is not None:
        numbered = enumerate(items, start=1)
        return [Row(at, one["holder_number"], one["amount_fen"]) for at, one in numbered]
    try:
        return rules.read_csv(csv or "")
    except ListUnreadable as error:
        raise SubsidyListUnreadable(fault=error.fault) from error


def replies(session: Session, found: Sequence[SubsidyBatch]) -> list[dict[str, Any]]:
    """Return batches as they are told, with the user names of who acted."""
    people = {
        id_ for one in found for id_ in (one.made_by, one.approved_by, one.withdrawn_by) if id_
    }
    names = operators.usernames(session, people)
    same = (
        "id", "name", "document_number", "fund", "pay_on", "state", "item_count", "total_fen",
        "made_at", "approved_at", "withdrawn_at", "withdrawn_reason", "paid_at",
    )  # fmt: skip
    return [
        {name: getattr(one, name) for name in same}
        | {
            "made_by": names.get(one.made_by, ""),
            "approved_by": one.approved_by and names.get(one.approved_by, ""),
            "withdrawn_by": one.withdrawn_by and names.get(one.withdrawn_by, ""),
        }
        for one in found
    ]


def withdrawals(session: Session, found: Sequence[SubsidyWithdrawal]) -> dict[UUID, dict[str, Any]]:
    """Return withdrawals as they are told, by their item."""
    people = {id_ for one in found for id_ in (one.made_by, one.approved_by) if id_}
    names = operators.usernames(session, people)
    same = ("id", "item_id", "reason", "made_at", "approved_at", "amount_fen")
    return {
        one.item_id: {name: getattr(one, name) for name in same}
        | {
            "made_by": names.get(one.made_by, ""),
            "approved_by": one.approved_by and names.get(one.approved_by, ""),
        }
        for one in found
    }


def _withdrawal(session: Session, one: SubsidyWithdrawal) -> dict[str, Any]:
    return withdrawals(session, [one])[one.item_id]
