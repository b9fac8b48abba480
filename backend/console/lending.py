"""Signals of lending (出借迹象): what looks as if a card were lent, and what came of looking."""

from datetime import datetime
from functools import partial
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.cases import lending
from backend.cases.models import SignalOutcome
from backend.console import access, forms
from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page_of
from backend.operation_log.refusals import logged

MOST = 50
MOST_REASON = 200

blueprint = Blueprint("lending", __name__, url_prefix="/lending")


@blueprint.get("")
def show() -> str:
    """List signals, those that nobody has looked at unless others are asked for."""
    wanted = request.args.get("state", lending.OPEN)
    state = wanted if wanted in lending.STATES else None
    with transaction() as session:
        found = page_of(
            partial(lending.list_signals, session, state=state),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="found_at",
        )
        return render_template(
            "console/lending.html",
            state=state,
            states=lending.STATES,
            signals=found["items"],
            next_cursor=found["next_cursor"],
            holders=viewing.holders_by_id(session, lending.people_of(found["items"])),
            outcomes=list(SignalOutcome),
            may_decide=access.operator().role in lending.MAY_DECIDE,
            most_reason=MOST_REASON,
            uuid=UUID,
            moment_of=datetime.fromisoformat,
        )


@blueprint.post("/<uuid:signal_id>")
@logged("lending_signal.decide", subject="signal_id")
def decide(signal_id: UUID) -> Response:
    """Note what came of looking at a signal, for a reason in words."""
    who = access.operator_in(*lending.MAY_DECIDE)
    said, reason = request.form.get("outcome", ""), forms.line("reason", most=MOST_REASON)
    if reason is None or said not in list(SignalOutcome):
        abort(422)
    with transaction() as session:
        lending.decide(
            session,
            signal_id=signal_id,
            outcome=SignalOutcome(said),
            reason=reason,
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.lending.show"), 303)
