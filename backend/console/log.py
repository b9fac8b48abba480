"""The operation log (台账), newest first."""

from flask import Blueprint, render_template, request

from backend.console.language import dictionary, language
from backend.db import transaction
from backend.http.paging import page, place_of
from backend.operation_log import service
from backend.operators import service as operators

MOST = 50

blueprint = Blueprint("log", __name__, url_prefix="/log")


@blueprint.get("")
def show() -> str:
    """List operations, all or those of one action."""
    known = dictionary(language())["actions"]
    wanted = request.args.get("action")
    with transaction() as session:
        found = page(
            service.list_entries(
                session,
                action=wanted if wanted in known else None,
                before=place_of(request.args.get("cursor")),
                limit=MOST + 1,
            ),
            limit=MOST,
        )
        return render_template(
            "console/log.html",
            actions=known,
            action=wanted if wanted in known else None,
            entries=found["items"],
            next_cursor=found["next_cursor"],
            actors=operators.names_in_log(session, found["items"]),
        )
