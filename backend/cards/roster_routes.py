"""HTTP for staff: the roster (名册) imported."""

from typing import Any

from flask import abort
from flask import request as http_request
from flask_smorest import Blueprint

from backend import clock
from backend.cards import service
from backend.cards.counter import wake_all
from backend.cards.schemas import RosterQuery, RosterReply
from backend.db import transaction
from backend.errors import IdReused
from backend.holders import roster
from backend.holders.models import RosterSource
from backend.holders.roster import RosterReport, RosterUnreadable
from backend.http.auth import Unauthenticated, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "staff-roster",
        __name__,
        url_prefix="/staff/roster-imports",
        description="Staff: the roster (名册)",
    ),
    "operator",
    operators.authenticate,
)
ROSTER_MEDIA_TYPES = (
    "text/csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
ROSTER_FILE = {
    "description": "CSV (UTF-8 or GB 18030) or XLSX, headed in Chinese or English.",
    "required": True,
    "content": {
        media_type: {"schema": {"type": "string", "format": "binary"}}
        for media_type in ROSTER_MEDIA_TYPES
    },
}


@staff.route("", methods=["POST"])
@staff.doc(requestBody=ROSTER_FILE)
@staff.arguments(RosterQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, RosterUnreadable, IdReused)
@staff.response(200, RosterReply)
@logged("roster.import")
def import_roster(query: dict[str, Any]) -> RosterReport:
    """Import a feed of people: the body is a CSV or XLSX file.

    Rows at fault are left out and named; a dry run writes nothing and reports the same.  With
    `whole`, people whom the list does not have are named; nothing is done to them.  A `batch_id`
    that was imported gets its report again.
    """
    who = caller_in(*roster.ROLE_SOURCES)
    own = roster.ROLE_SOURCES[who.role]
    source = query.get("source", own[0])
    if source not in own:
        raise RoleNotAllowed(
            roles=[role.value for role, may in roster.ROLE_SOURCES.items() if source in may]
        )
    if http_request.mimetype not in ROSTER_MEDIA_TYPES:
        abort(415)
    with transaction() as session:
        return roster.import_roster(
            session,
            content=http_request.get_data(cache=False),
            source=RosterSource(source),
            batch_id=query.get("batch_id"),
            whole=query["whole"],
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
            dry_run=query["dry_run"],
            open_accounts=service.open_accounts_to_issue,
            ended_accounts=service.ended_accounts,
            wake_cards=wake_all,
        )


import_roster.takes_files = True
