"""HTTP for staff: policies and proposals; for all: the rules in force, as JSON and as a page."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import flask
from flask import Response, render_template
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.clock import business_date
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.http import words
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    RoleNotAllowed,
    caller_in,
)
from backend.policies.models import Policy, PolicyProposal
from backend.policies.rules import CATALOGUE, Unit
from backend.policies.service import MomentTaken
from backend.rulebook import preview, proposals
from backend.rulebook.preview import Difference
from backend.rulebook.proposals import (
    LIFE,
    MAY_LOOK,
    MAY_PROPOSE,
    Asked,
    NothingToChange,
    PoliciesDisordered,
    PolicyInvalid,
    PolicyMomentRefused,
    ProposalChanged,
    ProposalDecided,
    ProposalInForce,
    ProposalLapsed,
)
from backend.rulebook.publishing import public_rules
from backend.rulebook.schemas import (
    PolicyHistory,
    PolicyList,
    PolicyPreview,
    ProposalList,
    ProposalReply,
    ProposalRequest,
    ProposalsQuery,
    PublicRules,
    WithdrawalRequest,
)

POLICY = (
    "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)

public = guard(
    Blueprint("rules", __name__, description="Everybody: the rules in force (规定与收费)"),
    "nobody",
    None,
)
staff = guard(
    Blueprint("policies", __name__, url_prefix="/staff", description="Staff: policies (规定)"),
    "operator",
    operators.authenticate,
)

pages = flask.Blueprint("rules-page", __name__, template_folder="templates")


@public.route("/rules", methods=["GET"])
@public.response(200, PublicRules)
def read_rules() -> dict[str, Any]:
    """Tell the rules and fees that concern holders, with the numbers of their papers."""
    with transaction() as session:
        present, coming = public_rules(session, language=words.language(), now=clock.now())
        return {"items": present, "coming": coming}


@pages.get("/rules")
def show_rules() -> Response:
    """Show the same as a page."""
    name = words.language()
    with transaction() as session:
        present, coming = public_rules(session, language=name, now=clock.now())
        text = render_template(
            "rules/rules.html",
            language=name,
            said=words.dictionary(name)["pages"],
            day=business_date,
            present=present,
            coming=coming,
        )
    answer = Response(text)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Content-Language"] = name
    answer.headers["Cache-Control"] = "max-age=60"
    answer.vary.add("Accept-Language")
    return answer


@staff.route("/policies", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, PolicyList)
def list_policies() -> dict[str, Any]:
    """List every policy in force with its rule, and what is decided and to come."""
    caller_in(*MAY_LOOK)
    now = clock.now()
    with transaction() as session:
        return {
            "items": [_policy(row) for row in proposals.in_force(session, now=now)],
            "coming": proposals.coming(session, now=now),
        }


@staff.route("/policies/<key>/history", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, PolicyHistory)
def read_policy_history(key: str) -> dict[str, Any]:
    """Show all that one policy ever said and will say, newest first."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return {"items": proposals.history(session, key=key)}


@staff.route("/policy-previews", methods=["POST"])
@staff.arguments(ProposalRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    PolicyInvalid,
    PolicyMomentRefused,
    NothingToChange,
    PoliciesDisordered,
)
@staff.response(200, PolicyPreview)
@logged("policy.preview")
def preview_policies(body: dict[str, Any]) -> dict[str, Any]:
    """Show what a change would do; writes nothing."""
    caller_in(*MAY_LOOK)
    now = clock.now()
    with transaction() as session:
        changes = proposals.resolve(session, Asked(**body), now=now)
        at = body["valid_from"] or now
        found = preview.preview(session, changes, at=at, until=body["valid_until"], now=now)
        return {"effective_at": at, "differences": [_difference(one) for one in found]}


@staff.route("/policy-proposals", methods=["GET"])
@staff.arguments(ProposalsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, ProposalList)
def list_policy_proposals(query: dict[str, Any]) -> dict[str, Any]:
    """List proposals, newest first."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(proposals.list_proposals, session),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="made_at",
        )
        return found | {"items": replies(session, found["items"])}


@staff.route("/policy-proposals/<uuid:proposal_id>", methods=["PUT"])
@staff.arguments(ProposalRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    PolicyInvalid,
    PolicyMomentRefused,
    NothingToChange,
    PoliciesDisordered,
)
@staff.alt_response(201, schema=ProposalReply, description="Proposed now.")
@staff.response(200, ProposalReply)
@logged("policy.propose", subject="proposal_id")
def propose_policies(body: dict[str, Any], proposal_id: UUID) -> Any:
    """Propose a change of policies, single ones or a preset; somebody else approves it."""
    who = caller_in(*MAY_PROPOSE)
    with transaction() as session:
        proposal, first = proposals.propose(
            session, proposal_id=proposal_id, asked=Asked(**body), maker=who, now=clock.now()
        )
        session.flush()
        return replies(session, [proposal])[0], 201 if first else 200


@staff.route("/policy-proposals/<uuid:proposal_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ProposalReply)
def read_policy_proposal(proposal_id: UUID) -> dict[str, Any]:
    """Show one proposal."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return replies(session, [proposals.find(session, proposal_id=proposal_id)])[0]


@staff.route("/policy-proposals/<uuid:proposal_id>/approval", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    ProposalDecided,
    SecondPersonNeeded,
    ProposalLapsed,
    ProposalChanged,
    PolicyMomentRefused,
    PolicyInvalid,
    PoliciesDisordered,
    MomentTaken,
)
@staff.alt_response(201, schema=ProposalReply, description="Approved now.")
@staff.response(200, ProposalReply)
@logged("policy.approve", subject="proposal_id")
def approve_policies(proposal_id: UUID) -> Any:
    """Approve what somebody else proposed; the same again gets the first answer."""
    who = caller_in(*MAY_PROPOSE)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        proposal, first = proposals.approve(
            session, proposal_id=proposal_id, checker=who, now=clock.now()
        )
        return replies(session, [proposal])[0], 201 if first else 200


@staff.route("/policy-proposals/<uuid:proposal_id>/withdrawal", methods=["POST"])
@staff.arguments(WithdrawalRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    ProposalDecided,
    ProposalInForce,
    PoliciesDisordered,
)
@staff.alt_response(201, schema=ProposalReply, description="Withdrawn now.")
@staff.response(200, ProposalReply)
@logged("policy.withdraw", subject="proposal_id")
def withdraw_policies(body: dict[str, Any], proposal_id: UUID) -> Any:
    """Take a proposal back, also an approved one, before it takes effect."""
    who = caller_in(*MAY_PROPOSE)
    with transaction() as session:
        proposal, first = proposals.withdraw(
            session, proposal_id=proposal_id, reason=body["reason"], who=who, now=clock.now()
        )
        return replies(session, [proposal])[0], 201 if first else 200


def replies(session: Session, found: Sequence[PolicyProposal]) -> list[dict[str, Any]]:
    """Return proposals as they are told, with the user names of who acted."""
    now = clock.now()
    people = {
        id_ for one in found for id_ in (one.made_by, one.approved_by, one.withdrawn_by) if id_
    }
    names = operators.usernames(session, people)
    same = (
        "id", "preset", "changes", "document_number", "reason", "valid_from", "valid_until",
        "made_at", "approved_at", "effective_at", "withdrawn_at", "withdrawn_reason",
    )  # fmt: skip
    return [
        {name: getattr(one, name) for name in same}
        | {
            "state": "lapsed" if proposals.has_lapsed(one, now=now) else one.state.value,
            "lapses_at": one.made_at + LIFE,
            "made_by": names.get(one.made_by, ""),
            "approved_by": one.approved_by and names.get(one.approved_by, ""),
            "withdrawn_by": one.withdrawn_by and names.get(one.withdrawn_by, ""),
        }
        for one in found
    ]


def _policy(row: Policy) -> dict[str, Any]:
    rule, said = CATALOGUE[row.key], words.policy(row.key, words.language())
    counts = rule.unit not in (Unit.SWITCH, Unit.ONE_OF, Unit.SOME_OF)
    same = ("id", "key", "value", "document_number", "valid_from", "valid_until", "proposal_id")
    return {name: getattr(row, name) for name in same} | {
        "name": said.title,
        "explanation": said.detail,
        "unit": rule.unit,
        "least": rule.least if counts else None,
        "most": rule.most if counts else None,
        "choices": rule.choices,
        "decisions": rule.decisions,
        "clause": rule.clause,
        "proposers": sorted(rule.proposers),
        "approvers": sorted(rule.approvers),
        "is_public": rule.public,
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "key": one.key,
        "value": one.value,
        "present_value": one.present and one.present.value,
        "present_document_number": one.present and one.present.document_number,
        "next_change_at": one.next_change_at,
        "next_value": one.next_value,
        "decisions": CATALOGUE[one.key].decisions,
        "touches": one.touches,
        "touched": one.touched,
        "meals": one.meals,
    }
