"""Everybody's top-ups (充值), newest first, by state."""

from flask import Blueprint, render_template, request

from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page, place_of
from backend.topups import figures
from backend.topups.models import TopUpState

MOST = 50

blueprint = Blueprint("top-ups", __name__, url_prefix="/top-ups")


@blueprint.get("")
def show() -> str:
    """List top-ups; those that wait for a person are in the state `exception`."""
    wanted = request.args.get("state", "")
    state = TopUpState(wanted) if wanted in list(TopUpState) else None
    with transaction() as session:
        found = page(
            figures.list_by_state(
                session, state=state, before=place_of(request.args.get("cursor")), limit=MOST + 1
            ),
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
