"""Top-ups (充值): everybody's, newest first, by state; one of them, and settling a frozen one."""

from functools import partial
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.console import access, forms
from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page_of
from backend.http.parts import parts
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.topups import figures, resolving
from backend.topups.models import TopUpState
from backend.topups.staff_schemas import MOST_REASON

MOST = 50

blueprint = Blueprint("top-ups", __name__, url_prefix="/top-ups")


@blueprint.get("")
def show() -> str:
    """List top-ups; those that wait for a person are in the state `exception`."""
    wanted = request.args.get("state", "")
    state = TopUpState(wanted) if wanted in list(TopUpState) else None
    with transaction() as session:
        found = page_of(
            partial(figures.list_by_state, session, state=state),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="created_at",
        )
        return render_template(
            "console/top_ups.html",
            state=state,
            states=list(TopUpState),
            top_ups=found["items"],
            next_cursor=found["next_cursor"],
            holders=viewing.holders_by_id(session, [row.holder_id for row in found["items"]]),
        )


@blueprint.get("/<uuid:top_up_id>")
def look(top_up_id: UUID) -> str:
    """Show one top-up and, to those who may, what can be done about a frozen one."""
    who = access.operator()
    with transaction() as session:
        top_up = resolving.find(session, top_up_id=top_up_id)
        made = resolving.resolutions_of(session, top_up_id=top_up_id)
        entries = operation_log.history_of(
            session, holder_id=top_up.holder_id, subject_id=top_up_id
        )
        people = {row.made_by for row in made} | {
            row.approved_by for row in made if row.approved_by
        }
        return render_template(
            "console/top_up.html",
            top_up=top_up,
            holder=viewing.holders_by_id(session, [top_up.holder_id])[top_up.holder_id],
            resolutions=made,
            waits=next((row for row in made if row.approved is None), None),
            frozen=top_up.state is TopUpState.EXCEPTION,
            may_act=who.role in resolving.MAY_ACT,
            me=who.operator_id,
            names=operators.usernames(session, people),
            entries=entries,
            actors=operators.names_in_log(session, entries),
            new_resolution_id=new_id(),
            most_reason=MOST_REASON,
        )


@blueprint.post("/<uuid:top_up_id>/resolutions/<uuid:resolution_id>")
@logged("top_up.resolution_make", subject="top_up_id")
def propose(top_up_id: UUID, resolution_id: UUID) -> Response:
    """Ask the channel and propose what follows.  The page made the id: sent twice, it is one."""
    who, reason = access.operator_in(*resolving.MAY_ACT), forms.line("reason", most=MOST_REASON)
    if reason is None:
        abort(422)
    resolving.propose(
        resolution_id=resolution_id,
        top_up_id=top_up_id,
        reason=reason,
        channels=parts().channels,
        maker=who,
        now=clock.now(),
    )
    return _back(top_up_id)


@blueprint.post("/<uuid:top_up_id>/resolutions/<uuid:resolution_id>/decision")
@logged("top_up.resolution_decide", subject="top_up_id")
def decide(top_up_id: UUID, resolution_id: UUID) -> Response:
    """Do what somebody else proposed, or refuse it."""
    who, approve = access.operator_in(*resolving.MAY_ACT), forms.decision()
    who.must_have_confirmed(clock.now())
    resolving.decide(
        resolution_id=resolution_id,
        top_up_id=top_up_id,
        approve=approve,
        channels=parts().channels,
        checker=who,
        now=clock.now(),
    )
    return _back(top_up_id)


def _back(top_up_id: UUID) -> Response:
    return redirect(url_for("console.top-ups.look", top_up_id=top_up_id), 303)
