"""HTTP for signals of lending (出借迹象): the list, and what a person made of one."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cases import lending
from backend.cases.lending import SignalDecided
from backend.cases.models import LendingSignal
from backend.cases.schemas import SignalDecisionRequest, SignalList, SignalReply, SignalsQuery
from backend.db import transaction
from backend.errors import NotFound
from backend.holders import viewing
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "lending-signals",
        __name__,
        url_prefix="/staff/lending-signals",
        description="Staff: what looks as if a card were lent (出借迹象)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@staff.arguments(SignalsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, SignalList)
def list_lending_signals(query: dict[str, Any]) -> dict[str, Any]:
    """List what looks as if a card were lent, newest first.  Nothing follows from it by itself."""
    caller_in(*lending.MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(
                lending.list_signals,
                session,
                state=None if query["state"] == "all" else query["state"],
            ),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="found_at",
        )
        return found | {"items": _told(session, found["items"])}


@staff.route("/<uuid:signal_id>/decision", methods=["POST"])
@staff.arguments(SignalDecisionRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, SignalDecided)
@staff.alt_response(201, schema=SignalReply, description="Noted now.")
@staff.response(200, SignalReply)
@logged("lending_signal.decide", subject="signal_id")
def decide_lending_signal(body: dict[str, Any], signal_id: UUID) -> Any:
    """Note what came of looking at a signal; the card goes on."""
    who = caller_in(*lending.MAY_DECIDE)
    with transaction() as session:
        signal, first = lending.decide(
            session, signal_id=signal_id, operator=who, now=clock.now(), **body
        )
        return _told(session, [signal])[0], 201 if first else 200


def _told(session: Session, signals: Sequence[LendingSignal]) -> list[dict[str, Any]]:
    holders = viewing.holders_by_id(session, lending.people_of(signals))
    same = ("id", "kind", "seen_at", "found_at", "outcome", "reason", "decided_at")

    def named(id_: UUID) -> dict[str, str]:
        return viewing.masked(holders[id_])

    return [
        {name: getattr(signal, name) for name in same}
        | named(signal.holder_id)
        | {
            "uses": [use | {"at": datetime.fromisoformat(use["at"])} for use in signal.uses],
            "people": [named(UUID(id_)) for id_ in signal.holder_ids],
        }
        for signal in signals
    ]
