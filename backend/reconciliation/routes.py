"""HTTP for staff: the channels' bills (账单), their rows, and those that are missing."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

from flask import abort, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import DomainError, Kind, NotFound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page, page_of, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import OperatorCaller, RoleNotAllowed, caller_in
from backend.reconciliation import fetch_plan, fetching, service
from backend.reconciliation.absent import count_absent, list_absent
from backend.reconciliation.fetching import BillDamaged, BillNotThere, DayTooOld
from backend.reconciliation.importing import BillEmpty, DayNotOver, Imported
from backend.reconciliation.models import BillSource, BillState, ChannelBill
from backend.reconciliation.schemas import (
    AbsentList,
    BillDay,
    BillLineList,
    BillLinesQuery,
    BillList,
    BillReply,
    BillsQuery,
    MissingBillList,
)
from backend.reconciliation.service import MAY_IMPORT, MAY_LOOK
from backend.refunds.handling import ChannelSilent
from backend.topups.service import ChannelOff
from payments import Channel

MEDIA_TYPES = ("application/zip", "application/gzip", "text/csv")
FILE = {
    "description": "As the platform wrote it: WeChat's CSV, gzipped or not; Alipay's zip.",
    "required": True,
    "content": {
        media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES
    },
}

blueprint = guard(
    Blueprint(
        "staff-bills", __name__, url_prefix="/staff/bills", description="Staff: bills (账单)"
    ),
    "operator",
    operators.authenticate,
)


class BillRefused(DomainError, code="bill-refused", kind=Kind.INVALID):
    """The file is not that channel's bill of that day, or not whole; it is kept.

    Facts: `fault`, `fault_line`, `bill_id`.
    """


@blueprint.route("", methods=["GET"])
@blueprint.arguments(BillsQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, BillList)
def list_bills(query: dict[str, Any]) -> dict[str, Any]:
    """List bills, the newest import first: also those that were refused or no longer count."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(
                service.list_bills, session, channel=query.get("channel"), day=query.get("day")
            ),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="imported_at",
        )
        return found | {"items": _replies(session, found["items"])}


@blueprint.route("/missing", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, MissingBillList)
def list_missing_bills() -> dict[str, Any]:
    """List the bills that should be there and are not: somebody should look."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        return {"items": fetch_plan.overdue_fetches(session)}


@blueprint.route("/<uuid:bill_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, BillReply)
def read_bill(bill_id: UUID) -> dict[str, Any]:
    """Show one bill with its counts and sums."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        return _replies(session, [service.find(session, bill_id=bill_id)])[0]


@blueprint.route("/<uuid:bill_id>/lines", methods=["GET"])
@blueprint.arguments(BillLinesQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, CursorUnknown)
@blueprint.response(200, BillLineList)
def list_bill_lines(query: dict[str, Any], bill_id: UUID) -> dict[str, Any]:
    """List a bill's rows and how each stands beside our books, newest first."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        service.find(session, bill_id=bill_id)
        lines = service.list_lines(
            session,
            bill_id=bill_id,
            match=query.get("match"),
            kind=query.get("kind"),
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
    return page(lines, limit=query["limit"])


@blueprint.route("/<uuid:bill_id>/not-in-bill", methods=["GET"])
@blueprint.arguments(PageQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, CursorUnknown)
@blueprint.response(200, AbsentList)
def list_not_in_bill(query: dict[str, Any], bill_id: UUID) -> dict[str, Any]:
    """List our payments and succeeded refunds of the day that the bill lacks, newest first."""
    caller().must_be(*MAY_LOOK)
    with transaction() as session:
        rows = list_absent(
            session,
            bill=service.find(session, bill_id=bill_id),
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
    return page(rows, limit=query["limit"])


@blueprint.route("/fetch", methods=["POST"])
@blueprint.arguments(BillDay)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    ChannelOff,
    DayNotOver,
    DayTooOld,
    BillNotThere,
    BillDamaged,
    BillEmpty,
    BillRefused,
    ChannelSilent,
)
@blueprint.alt_response(201, schema=BillReply, description="Imported now.")
@blueprint.response(200, BillReply)
@logged("bill.import")
def fetch_bill(body: dict[str, Any]) -> Any:
    """Fetch a day's bill from its channel now.

    One that is here and counts stays as it is; one that another file superseded counts again.
    """
    who = caller_in(*MAY_IMPORT)
    imported = fetching.fetch(
        channel_of(body["channel"]),
        body["day"],
        sealer=parts().sealer,
        actor=who.actor,
        now=clock.now(),
    )
    return _answer(imported)


@blueprint.route("", methods=["POST"])
@blueprint.doc(requestBody=FILE)
@blueprint.arguments(BillDay, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, ChannelOff, DayNotOver, BillEmpty, BillRefused)
@blueprint.alt_response(201, schema=BillReply, description="Imported now.")
@blueprint.response(200, BillReply)
@logged("bill.import")
def upload_bill(query: dict[str, Any]) -> Any:
    """Import a bill that was fetched at the platform's desk: the body is the file.

    The same file again is the first import.  Another file of the same day counts in its place, and
    the former no longer does, until it is brought again.  A file that tells of no trade is refused
    where our books or an earlier bill know of one.
    """
    who = caller_in(*MAY_IMPORT)
    if request.mimetype not in MEDIA_TYPES:
        abort(415)
    imported = upload(query["channel"], query["day"], request.get_data(cache=False), operator=who)
    return _answer(imported)


upload_bill.takes_files = True


def channel_of(name: str) -> Channel:
    """Return a channel that the school uses.

    Raises:
        ChannelOff: it does not.
    """
    channel = parts().channels.get(name)
    if channel is None:
        raise ChannelOff(channel=name)
    return channel


def upload(name: str, day: date, content: bytes, *, operator: OperatorCaller) -> Imported:
    """Import a file that an operator brought.

    Raises:
        ChannelOff: the school does not use the channel.
        DayNotOver: that day has no bill yet.
        BillEmpty: it tells of no trade, and we know of one, or it has no bytes.
    """
    return fetching.take_in(
        channel_of(name),
        day,
        content,
        source=BillSource.UPLOADED,
        sealer=parts().sealer,
        actor=operator.actor,
        now=clock.now(),
    )


def _answer(imported: Imported) -> tuple[dict[str, Any], int]:
    bill = imported.bill
    if bill.state is BillState.REFUSED:
        raise BillRefused(fault=bill.fault, fault_line=bill.fault_line, bill_id=str(bill.id))
    with transaction() as session:
        answer = _replies(session, [bill])[0]
    return answer, 201 if imported.first else 200


def _replies(session: Session, bills: Sequence[ChannelBill]) -> list[dict[str, Any]]:
    counted = service.count_matches(session, bill_ids=[bill.id for bill in bills])
    absent = count_absent(session, bills=bills)
    names = [name for name in BillReply().fields if name not in ("matches", "not_in_bill")]
    return [
        {name: getattr(bill, name) for name in names}
        | {
            "not_in_bill": absent[bill.id],
            "matches": [
                {"match": match, "count": count} for match, count in counted[bill.id].items()
            ],
        }
        for bill in bills
    ]
