"""HTTP for arrears of closed accounts: who owes, and writing off by two people (核销欠费)."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.arrears.service import ArrearsDiffer, TopUpPays
from backend.cases import write_offs
from backend.cases.models import WriteOff
from backend.cases.schemas import (
    DebtorList,
    WriteOffDecisionRequest,
    WriteOffReply,
    WriteOffRequest,
)
from backend.cases.write_offs import MAY_ACT, MAY_LOOK, WriteOffDecided, WriteOffWaits
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, PageQuery, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed, caller_in

staff = guard(
    Blueprint(
        "arrears",
        __name__,
        url_prefix="/staff",
        description="Staff: arrears of closed accounts (欠费)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("/arrears", methods=["GET"])
@staff.arguments(PageQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, DebtorList)
def list_arrears(query: dict[str, Any]) -> dict[str, Any]:
    """List whose closing or closed accounts owe, the latest first, and what was proposed."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(write_offs.list_debtors, session),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="opened_at",
        )
        ids = [debtor.id for debtor in found["items"]]
        holders = viewing.holders_by_id(session, ids)
        waits = write_offs.waiting(session, holder_ids=ids)
        return found | {
            "items": [
                {
                    "holder_id": debtor.id,
                    "holder_number": holders[debtor.id].holder_number,
                    "name_masked": masked_name(holders[debtor.id].name),
                    "arrears_fen": debtor.arrears_fen,
                    "opened_at": debtor.opened_at,
                    "write_off_id": waits[debtor.id].id if debtor.id in waits else None,
                }
                for debtor in found["items"]
            ]
        }


@staff.route("/arrears-write-offs/<uuid:write_off_id>", methods=["PUT"])
@staff.arguments(WriteOffRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    TopUpPays,
    WriteOffWaits,
    ArrearsDiffer,
)
@staff.alt_response(201, schema=WriteOffReply, description="Proposed now.")
@staff.response(200, WriteOffReply)
@logged("arrears.write_off_make", subject="write_off_id")
def propose_write_off(body: dict[str, Any], write_off_id: UUID) -> Any:
    """Propose to give up all that a closed account owes; `amount_fen` says how much that is."""
    who, number = caller_in(*MAY_ACT), body.pop("holder_number")
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=number)
        about(holder_id=holder_id)
        made, first = write_offs.propose(
            session,
            write_off_id=write_off_id,
            holder_id=holder_id,
            maker=who,
            now=clock.now(),
            **body,
        )
        answer = _told(session, [made])[0]
    if not first:
        answer |= {"approved": None, "approved_by": None, "decided_at": None}
    return answer, 201 if first else 200


@staff.route("/arrears-write-offs/<uuid:write_off_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, WriteOffReply)
def read_write_off(write_off_id: UUID) -> dict[str, Any]:
    """Show a write-off, and what became of it."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _told(session, [write_offs.find(session, write_off_id=write_off_id)])[0]


@staff.route("/arrears-write-offs/<uuid:write_off_id>/decision", methods=["POST"])
@staff.arguments(WriteOffDecisionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    WriteOffDecided,
    SecondPersonNeeded,
    TopUpPays,
    ArrearsDiffer,
)
@staff.alt_response(201, schema=WriteOffReply, description="Decided now.")
@staff.response(200, WriteOffReply)
@logged("arrears.write_off_decide", subject="write_off_id")
def decide_write_off(body: dict[str, Any], write_off_id: UUID) -> Any:
    """Write off what somebody else proposed, or refuse it; the same again gets the first answer."""
    who = caller_in(*MAY_ACT)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        decided, first = write_offs.decide(
            session,
            write_off_id=write_off_id,
            approve=body["approve"],
            checker=who,
            now=clock.now(),
        )
        return _told(session, [decided])[0], 201 if first else 200


def _told(session: Session, made: Sequence[WriteOff]) -> list[dict[str, Any]]:
    people = {id_ for row in made for id_ in (row.made_by, row.approved_by) if id_}
    names = operators.usernames(session, people)
    holders = viewing.holders_by_id(session, [row.holder_id for row in made])
    return [
        {name: getattr(row, name, None) for name in WriteOffReply().fields}
        | {
            "holder_number": holders[row.holder_id].holder_number,
            "name_masked": masked_name(holders[row.holder_id].name),
            "made_by": names.get(row.made_by, ""),
            "approved_by": row.approved_by and names.get(row.approved_by, ""),
        }
        for row in made
    ]
