"""Policies (规定): what holds and comes, proposals to decide, and the history of one key."""

from typing import Any
from uuid import UUID

from flask import Blueprint, abort, json, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.console import access, language
from backend.db import transaction
from backend.http import words
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators.service import OperatorCaller
from backend.policies.models import Policy
from backend.policies.rules import CATALOGUE, approvers, proposers
from backend.rulebook import proposals
from backend.rulebook.proposals import Asked
from backend.rulebook.routes import replies
from backend.rulebook.schemas import MOST_DOCUMENT_NUMBER, MOST_REASON

blueprint = Blueprint("policies", __name__, url_prefix="/policies")


@blueprint.get("")
def show() -> str:
    """Show what holds, what comes, and what waits for a second person."""
    who, now = access.operator(), clock.now()
    with transaction() as session:
        waiting = replies(session, proposals.waiting(session, now=now))
        for one in waiting:
            one["may_approve"] = who.role in approvers(one["changes"])
            one["own"] = one["made_by"] == who.username
        return render_template(
            "console/policies.html",
            present=[_said(row) for row in proposals.in_force(session, now=now)],
            coming=[
                _said(row) for row in proposals.coming(session, now=now) if row.key in CATALOGUE
            ],
            waiting=waiting,
            title_of=_title,
            text_of=_text,
        )


@blueprint.get("/<key>")
def look(key: str) -> str:
    """Show all that one policy ever said, and let those who may propose another value."""
    with transaction() as session:
        rows = [_said(row) for row in proposals.history(session, key=key)]
    return render_template(
        "console/policy.html",
        key=key,
        said=words.policy(key, language.language()),
        rule=CATALOGUE[key],
        rows=rows,
        may_propose=access.operator().role in proposers([key]),
        new_proposal_id=new_id(),
        most_document_number=MOST_DOCUMENT_NUMBER,
    )


@blueprint.post("/<key>/proposals/<uuid:proposal_id>")
@logged("policy.propose", subject="proposal_id")
def propose(key: str, proposal_id: UUID) -> Response:
    """Propose another value, from its approval on.  A form sent twice is one proposal."""
    who = _may_propose()
    try:
        value = json.loads(request.form.get("value", ""))
    except ValueError:
        abort(422)
    asked = Asked({key: value}, None, _line("document_number", MOST_DOCUMENT_NUMBER), None)
    with transaction() as session:
        proposals.propose(session, proposal_id=proposal_id, asked=asked, maker=who, now=clock.now())
    return _back()


@blueprint.post("/proposals/<uuid:proposal_id>/approval")
@logged("policy.approve", subject="proposal_id")
def approve(proposal_id: UUID) -> Response:
    """Approve what somebody else proposed."""
    with transaction() as session:
        proposals.approve(session, proposal_id=proposal_id, checker=_may_propose(), now=clock.now())
    return _back()


@blueprint.post("/proposals/<uuid:proposal_id>/withdrawal")
@logged("policy.withdraw", subject="proposal_id")
def withdraw(proposal_id: UUID) -> Response:
    """Take a proposal back."""
    who = _may_propose()
    with transaction() as session:
        proposals.withdraw(
            session,
            proposal_id=proposal_id,
            reason=_line("reason", MOST_REASON),
            who=who,
            now=clock.now(),
        )
    return _back()


def _may_propose() -> OperatorCaller:
    who = access.operator()
    who.must_be(*proposals.MAY_PROPOSE)
    return who


def _line(name: str, most: int) -> str:
    said = request.form.get(name, "").strip()
    if not said.isprintable() or not 0 < len(said) <= most:
        abort(422)
    return said


def _back() -> Response:
    return redirect(url_for("console.policies.show"), 303)


def _title(key: str) -> str:
    return words.policy(key, language.language()).title


def _text(key: str, value: Any) -> str:
    return words.policy_value(CATALOGUE[key].unit, value, language.language())


def _said(row: Policy) -> dict[str, Any]:
    return {"row": row, "title": _title(row.key), "text": _text(row.key, row.value)}
