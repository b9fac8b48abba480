"""HTTP for gates: read the code, decide, answer."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.codes import read_code
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.gates import late, service
from backend.gates.models import Decision, Passage
from backend.gates.schemas import (
    LatePassage,
    LatePassagesRequest,
    PassageList,
    PassageReply,
    PassageRequest,
)
from backend.holders import login
from backend.holders.login import NotBound
from backend.http import words
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.terminals import service as terminals
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller, TerminalNotAllowed
from backend.uploads import routes as uploads
from backend.uploads.schemas import OutcomesReply
from qr import CodeError, Scope

blueprint = guard(
    Blueprint("passages", __name__, url_prefix="/passages", description="Pass a gate (通行)"),
    "terminal",
    terminals.authenticate,
    terminals.authenticate_signed,
)
own = guard(
    Blueprint("own-passages", __name__, url_prefix="/me", description="My passages (通行记录)"),
    "holder",
    login.authenticate,
)


@blueprint.route("/<uuid:passage_id>", methods=["PUT"])
@blueprint.arguments(PassageRequest)
@raises(blueprint, Unauthenticated, TerminalNotAllowed, NotFound, IdReused)
@blueprint.alt_response(201, schema=PassageReply, description="Decided now.")
@blueprint.response(200, PassageReply)
def decide_passage(request: dict[str, Any], passage_id: UUID) -> Any:
    """Decide whether a holder may pass.  A denial is an answer too, with its reason."""
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.GATE)
    now, wired = clock.now(), parts()
    try:
        code: Any = read_code(
            request["code"],
            need=Scope.GATE,
            key_ring=wired.code_keys,
            issuer=wired.settings.issuer,
            redis=wired.redis,
            rates=wired.rates,
            reader=str(who.terminal_id),
            now=now,
        )
    except CodeError as error:
        code = error
    with transaction() as session:
        passage, first = service.decide(
            session,
            passage_id=passage_id,
            terminal=who,
            code=code,
            code_text=request["code"],
            direction=request["direction"],
            now=now,
        )
    return _passage(passage), 201 if first else 200


def _passage(passage: Passage) -> dict[str, Any]:
    opens_at = passage.facts.get("opens_at")
    return {
        "id": passage.id,
        "decision": passage.decision,
        "reason": passage.reason,
        "direction": passage.direction,
        "hours_today": passage.facts.get("hours_today"),
        "opens_at": opens_at and datetime.fromisoformat(opens_at),
        "holder": {"name_masked": passage.name_masked, "category": passage.category}
        if passage.name_masked
        else None,
        "display": _display(passage),
        "decided_at": passage.decided_at,
        "server_time": passage.decided_at,
        "reference": passage.reference,
    }


def _display(passage: Passage) -> dict[str, str]:
    if passage.decision is Decision.DENY:
        return words.refusal_display(passage.reason or "other", passage.facts)
    if passage.reason is not None:
        return words.display("passage-emergency")
    return words.display(f"passage-{passage.direction}", name=passage.name_masked or "")


@blueprint.route("/late", methods=["POST"])
@blueprint.arguments(LatePassagesRequest)
@raises(blueprint, Unauthenticated, TerminalNotAllowed)
@blueprint.response(200, OutcomesReply)
def upload_passages(request: dict[str, Any]) -> dict[str, Any]:
    """Tell what was decided without network (脱机上送); it is recorded as it was.

    Each item has an outcome of its own, in the same order; the same item again gets the same.
    """
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.GATE)
    return uploads.work(
        request["items"], schema=LatePassage(), accepted=Decision.ALLOW, record=late.record
    )


@blueprint.route("/<uuid:passage_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, NotFound)
@blueprint.response(200, PassageReply)
def read_passage(passage_id: UUID) -> dict[str, Any]:
    """Tell what was decided."""
    with transaction() as session:
        return _passage(service.find(session, passage_id=passage_id, terminal=caller()))


@own.route("/passages", methods=["GET"])
@own.arguments(PageQuery, location="query")
@raises(own, Unauthenticated, NotBound, CursorUnknown)
@own.response(200, PassageList)
def list_own_passages(query: dict[str, Any]) -> dict[str, Any]:
    """List the caller's passages, newest first."""
    with transaction() as session:
        rows = service.list_passages(
            session,
            holder_id=caller().holder_id,
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
    return page(rows, limit=query["limit"], at="decided_at")
