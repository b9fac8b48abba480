"""Bills (账单): which are here, what they add up to, and how their rows stand beside our books."""

from datetime import date
from functools import partial
from typing import TypeVar
from uuid import UUID

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.clock import business_date
from backend.console import access, language
from backend.db import transaction
from backend.errors import DomainError
from backend.holders.schemas import PLATFORMS
from backend.http.paging import page_of
from backend.http.parts import parts
from backend.http.problems import STATUS, tell
from backend.operation_log.refusals import logged
from backend.reconciliation import fetch_plan, fetching, routes, service
from backend.reconciliation.absent import count_absent, list_absent
from backend.reconciliation.fetching import BillDamaged, BillNotThere, DayTooOld
from backend.reconciliation.importing import BillEmpty, DayNotOver, Imported
from backend.reconciliation.models import BillState, LineMatch
from backend.reconciliation.service import MAY_IMPORT
from backend.refunds.handling import ChannelSilent
from backend.topups.service import ChannelOff
from payments import BillRowKind

MOST = 50
Choice = TypeVar("Choice", LineMatch, BillRowKind)

blueprint = Blueprint("bills", __name__, url_prefix="/bills")


@blueprint.get("")
def show() -> str:
    """List bills, the newest import first, and those that are missing."""
    with transaction() as session:
        return _page(session)


@blueprint.get("/<uuid:bill_id>")
def look(bill_id: UUID) -> str:
    """Show one bill and its rows, all or some of them."""
    match = _one_of(LineMatch, request.args.get("match", ""))
    kind = _one_of(BillRowKind, request.args.get("kind", ""))
    with transaction() as session:
        bill = service.find(session, bill_id=bill_id)
        found = page_of(
            partial(service.list_lines, session, bill_id=bill_id, match=match, kind=kind),
            cursor=request.args.get("cursor"),
            limit=MOST,
        )
        return render_template(
            "console/bill.html",
            bill=bill,
            counted=service.count_matches(session, bill_ids=[bill_id])[bill_id],
            lines=found["items"],
            absent=list_absent(session, bill=bill, limit=MOST),
            not_in_bill=count_absent(session, bills=[bill])[bill_id],
            next_cursor=found["next_cursor"],
            match=match,
            matches=list(LineMatch),
            kind=kind,
            kinds=list(BillRowKind),
        )


@blueprint.post("/fetch")
@logged("bill.import")
def fetch() -> AnyResponse:
    """Fetch a bill from its channel now."""
    who = access.operator_in(*MAY_IMPORT)
    channel, day = _wanted()
    try:
        imported = fetching.fetch(
            routes.channel_of(channel),
            day,
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
        )
    except (
        BillNotThere,
        BillDamaged,
        BillEmpty,
        ChannelOff,
        ChannelSilent,
        DayNotOver,
        DayTooOld,
    ) as error:
        return _refused(error)
    return _to(imported)


@blueprint.post("/upload")
@logged("bill.import")
def upload() -> AnyResponse:
    """Import a file that was fetched at the platform's desk."""
    who = access.operator_in(*MAY_IMPORT)
    channel, day = _wanted()
    sent = request.files.get("file")
    if sent is None:
        abort(422)
    content = sent.read()
    try:
        imported = routes.upload(channel, day, content, operator=who)
    except (BillEmpty, ChannelOff, DayNotOver) as error:
        return _refused(error)
    return _to(imported)


def _wanted() -> tuple[str, date]:
    """Return the channel and the day of a form.

    Raises:
        422: it names none.
    """
    channel = request.form.get("channel", "")
    try:
        day = date.fromisoformat(request.form.get("day", ""))
    except ValueError:
        abort(422)
    if channel not in PLATFORMS:
        abort(422)
    return channel, day


def _to(imported: Imported) -> AnyResponse:
    """Go to the bill that came of it, and say there what became of it."""
    became = "refused" if imported.bill.state is BillState.REFUSED else "again"
    if imported.superseded:
        became = "superseding"
    elif imported.first and imported.bill.state is BillState.IMPORTED:
        became = "first"
    return redirect(url_for("console.bills.look", bill_id=imported.bill.id, became=became), 303)


def _refused(error: DomainError) -> Response:
    tell(error)
    with transaction() as session:
        told = _page(session, problem=language.refusal(error.code, dict(error.facts)))
    return Response(told, STATUS[error.kind])


def _page(session: Session, **facts: object) -> str:
    channel = request.args.get("channel", "")
    found = page_of(
        partial(service.list_bills, session, channel=channel if channel in PLATFORMS else None),
        cursor=request.args.get("cursor"),
        limit=MOST,
        at="imported_at",
    )
    bills = found["items"]
    return render_template(
        "console/bills.html",
        bills=bills,
        next_cursor=found["next_cursor"],
        counted=service.count_matches(session, bill_ids=[bill.id for bill in bills]),
        not_in_bill=count_absent(session, bills=bills),
        missing=fetch_plan.overdue_fetches(session),
        channel=channel,
        channels=PLATFORMS,
        may_import=access.operator().role in MAY_IMPORT,
        today=business_date(clock.now()),
        **facts,
    )


def _one_of(choices: type[Choice], text: str) -> Choice | None:
    return choices(text) if text in list(choices) else None
