"""Closings (销户): what goes on, one of them with its checks, and the payout list."""

from functools import partial
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from backend import clock
from backend.closings import counter, reopenings, service
from backend.closings.counter import ClosingKindNotPossible, ExemptFromClosing
from backend.closings.models import ClosingKind, ClosingState
from backend.closings.routes import MAY_CLOSE, full, told
from backend.closings.rules import WAIVABLE, CheckName
from backend.closings.schemas import MOST_DOCUMENT, MOST_NUMBER, MOST_REASON, ReopeningRequest
from backend.console import access, forms, language
from backend.db import transaction
from backend.errors import DomainError
from backend.holders import viewing
from backend.holders.models import Holder
from backend.http.paging import page_of
from backend.http.words import Words
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.refunds import payout_list
from backend.refunds.batch_routes import lines_told

MOST = 50
MOST_LINES = 100

blueprint = Blueprint("closings", __name__, url_prefix="/closings")


@blueprint.get("")
def show() -> str:
    """List closings, those that go on unless a state is asked for, and what is to be paid."""
    said = request.args.get("state", "")
    wanted = next((state for state in ClosingState if state == said), None)
    with transaction() as session:
        found = page_of(
            partial(
                service.list_closings, session, states=[wanted] if wanted else service.GOING_ON
            ),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="started_at",
        )
        return render_template(
            "console/closings.html",
            wanted=wanted,
            states=list(ClosingState),
            closings=told(session, found["items"]),
            next_cursor=found["next_cursor"],
            lines=lines_told(session, payout_list.list_open(session, limit=MOST_LINES)),
            may_close=access.operator().role in MAY_CLOSE,
            most_number=MOST_NUMBER,
        )


@blueprint.get("/<uuid:closing_id>")
def look(closing_id: UUID) -> str:
    """Show one closing: what stands against it, where the money goes, and how to undo it later."""
    return _closing(closing_id)


def _closing(closing_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        found = service.find(session, closing_id=closing_id)
        live = service.live_closing(session, holder_id=found.holder_id)
        closing = full(session, found)
        holder = session.get_one(Holder, found.holder_id)
        named = reopenings.naming(session, holder=holder, closing=found)
        roster = (
            {"id": named[0].id, "source": named[0].source, "day": clock.business_date(named[0].at)}
            if named
            else None
        )
        valid_until = holder.valid_until
    may_close = access.operator().role in MAY_CLOSE
    holds = live is not None and live.id == closing_id
    return render_template(
        "console/closing.html",
        closing=closing,
        may_close=may_close,
        may_cancel=closing["state"] in (ClosingState.STARTED, ClosingState.SETTLING),
        may_reopen=may_close and holds and closing["state"] is ClosingState.CLOSED,
        new_reopening_id=new_id(),
        roster=roster,
        valid_until=valid_until,
        waivable=WAIVABLE,
        most_reason=MOST_REASON,
        most_document=MOST_DOCUMENT,
        said=request.form,
        problem=problem,
    )


@blueprint.post("/preview")
def preview() -> str | FlaskResponse:
    """Show whose account a number names, and what closing it would mean."""
    access.operator_in(*MAY_CLOSE)
    try:
        return _draft(request.form.get("holder_number", "").strip(), new_id())
    except DomainError as error:
        return forms.again(error, _lookup)


def _lookup(problem: Words | None = None) -> str:
    return render_template("console/closing_lookup.html", problem=problem, most_number=MOST_NUMBER)


def _draft(number: str, closing_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=number)
        return render_template(
            "console/closing_preview.html",
            draft=counter.preview(session, holder_id=holder_id, now=clock.now()),
            closing_id=closing_id,
            said=request.form,
            problem=problem,
            most_document=MOST_DOCUMENT,
        )


@blueprint.post("/<uuid:closing_id>")
@logged("closing.start", subject="closing_id")
def start(closing_id: UUID) -> Response:
    """Start to close an account.  The page made the id, so a form sent twice is one closing."""
    who, number = access.operator_in(*MAY_CLOSE), request.form.get("holder_number", "").strip()
    document = request.form.get("document", "").strip()
    kind = next((kind for kind in ClosingKind if kind == request.form.get("kind")), None)
    if kind is None or not document.isprintable() or len(document) > MOST_DOCUMENT:
        abort(422)
    try:
        with transaction() as session:
            holder_id = viewing.id_by_present_number(session, holder_number=number)
            counter.start(
                session,
                closing_id=closing_id,
                holder_id=holder_id,
                kind=kind,
                document=document or None,
                operator=who,
                now=clock.now(),
            )
    except (ClosingKindNotPossible, ExemptFromClosing) as error:
        return forms.again(error, lambda problem: _draft(number, closing_id, problem))
    return _back(closing_id)


@blueprint.post("/<uuid:closing_id>/waivers")
@logged("closing.waive", subject="closing_id")
def waive(closing_id: UUID) -> Response:
    """Let a check pass, with a reason."""
    who, reason = access.operator_in(*MAY_CLOSE), forms.line("reason", most=MOST_REASON)
    check = next((name for name in CheckName if name == request.form.get("check")), None)
    if check is None or reason is None:
        abort(422)
    with transaction() as session:
        service.waive(
            session,
            closing_id=closing_id,
            check=check,
            reason=reason,
            actor=who.actor,
            now=clock.now(),
        )
    return _back(closing_id)


@blueprint.post("/<uuid:closing_id>/cancellation")
@logged("closing.cancel", subject="closing_id")
def cancel(closing_id: UUID) -> Response:
    """Undo a closing that was a mistake."""
    who = access.operator_in(*MAY_CLOSE)
    with transaction() as session:
        service.cancel(session, closing_id=closing_id, actor=who.actor, now=clock.now())
    return _back(closing_id)


@blueprint.post("/<uuid:closing_id>/reopenings/<uuid:reopening_id>")
@logged("card.reopen_account", subject="reopening_id")
def reopen(closing_id: UUID, reopening_id: UUID) -> Response:
    """Open a closed account again (复户) for who comes back; leads to them, whose card waits."""
    who = access.operator_in(*MAY_CLOSE)
    with transaction() as session:
        holder_id = service.find(session, closing_id=closing_id).holder_id
        number = session.get_one(Holder, holder_id).holder_number
    try:
        said = ReopeningRequest().load(
            forms.typed("document", "valid_until", "roster_batch_id") | {"holder_number": number}
        )
        said.pop("holder_number")
        with transaction() as session:
            reopenings.make(
                session,
                reopening_id=reopening_id,
                holder_id=holder_id,
                operator=who,
                now=clock.now(),
                **said,
            )
    except (ma.ValidationError, DomainError) as error:
        labels = {
            "document": language.say("closings", "document"),
            "valid_until": language.say("closings", "valid_until"),
            "roster_batch_id": language.say("closings", "reopen_by_roster"),
        }
        return forms.again(error, lambda problem: _closing(closing_id, problem), labels)
    return redirect(url_for("console.holders.show", holder_id=holder_id), 303)


def _back(closing_id: UUID) -> Response:
    return redirect(url_for("console.closings.look", closing_id=closing_id), 303)
