"""Policies (规定): what holds and comes, changes with a preview, proposals, history of one key."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.console import access, forms, language
from backend.console.policy_form import Form, fingerprint
from backend.db import transaction
from backend.errors import DomainError
from backend.http import words
from backend.http.paging import page_of
from backend.http.problems import STATUS, tell
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators.models import Role
from backend.policies import service
from backend.policies.models import Policy, PolicyProposal, ProposalState
from backend.policies.rules import CATALOGUE, PRESETS, PolicyRule, Unit, approvers, proposers
from backend.rulebook import preview, proposals
from backend.rulebook.preview import Difference
from backend.rulebook.proposals import Asked
from backend.rulebook.routes import replies
from backend.rulebook.schemas import MOST_DOCUMENT_NUMBER, MOST_REASON

MOST = 50
GROUPS = {
    "cards": ("application", "card", "exchange", "restore", "retired", "validity"),
    "permissions": ("permissions",),
    "spending": ("charge",),
    "money_in": ("cash", "subsidy", "top_up"),
    "money_out": ("closing", "refund", "screening", "term"),
    "codes": ("code", "offline"),
    "notices": ("notice",),
    "operators": ("operator",),
}
"""What belongs together on a page: the first words of the keys."""
INSTANT = timedelta(microseconds=1)

blueprint = Blueprint("policies", __name__, url_prefix="/policies")


@blueprint.get("")
def show() -> str:
    """Show what waits for a second person, what comes, and what holds."""
    now = clock.now()
    with transaction() as session:
        in_force = proposals.in_force(session, now=now)
        return render_template(
            "console/policies.html",
            waiting=_told(session, proposals.waiting(session, now=now), now=now),
            coming=[_said(row) for row in proposals.coming(session, now=now)],
            groups=_grouped([_said(row) for row in in_force]),
            presets=_presets(),
            may_propose=access.operator().role in proposals.MAY_PROPOSE,
            most_reason=MOST_REASON,
        )


@blueprint.get("/changes")
def write() -> str:
    """Show the form of a change: a preset, single keys, or both."""
    return _form(Form.blank(request.args.get("preset", "")), wanted=request.args.get("key", ""))


@blueprint.post("/changes")
@logged("policy.preview")
def look_ahead() -> str | Response:
    """Show what the form would change; write nothing."""
    access.operator_in(*proposals.MAY_PROPOSE)
    form = Form.sent()
    try:
        return _form(form, asked=form.read())
    except (ma.ValidationError, DomainError) as error:
        return _wrong(form, error)


@blueprint.post("/proposals/<uuid:proposal_id>")
@logged("policy.propose", subject="proposal_id")
def propose(proposal_id: UUID) -> AnyResponse:
    """Propose what was previewed.  A form sent twice is one proposal; one changed since is not."""
    who, form = access.operator_in(*proposals.MAY_PROPOSE), Form.sent()
    try:
        asked = form.read()
        if request.form.get("seen") != fingerprint(asked):
            return Response(_form(form, asked=asked, unseen=True), 409)
        with transaction() as session:
            proposals.propose(
                session, proposal_id=proposal_id, asked=asked, maker=who, now=clock.now()
            )
    except (ma.ValidationError, DomainError) as error:
        return _wrong(form, error)
    return _back(proposal_id)


@blueprint.get("/proposals")
def list_all() -> str:
    """List proposals, newest first."""
    with transaction() as session:
        found = page_of(
            partial(proposals.list_proposals, session),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        return render_template(
            "console/proposals.html",
            proposals=_told(session, found["items"], now=clock.now()),
            next_cursor=found["next_cursor"],
        )


@blueprint.get("/proposals/<uuid:proposal_id>")
def look_at_proposal(proposal_id: UUID) -> str:
    """Show one proposal: what it changes, and what can be done about it."""
    now = clock.now()
    with transaction() as session:
        proposal = proposals.find(session, proposal_id=proposal_id)
        return render_template(
            "console/proposal.html",
            one=_told(session, [proposal], now=now)[0],
            shown=[_shown(one) for one in _differences(session, proposal, now=now)],
            most_reason=MOST_REASON,
        )


@blueprint.post("/proposals/<uuid:proposal_id>/approval")
@logged("policy.approve", subject="proposal_id")
def approve(proposal_id: UUID) -> AnyResponse:
    """Approve what somebody else proposed."""
    who, now = access.operator_in(*proposals.MAY_PROPOSE), clock.now()
    who.must_have_confirmed(now)
    with transaction() as session:
        proposals.approve(session, proposal_id=proposal_id, checker=who, now=now)
    return _back(proposal_id)


@blueprint.post("/proposals/<uuid:proposal_id>/withdrawal")
@logged("policy.withdraw", subject="proposal_id")
def withdraw(proposal_id: UUID) -> AnyResponse:
    """Take a proposal back or, for somebody else's, refuse it."""
    who = access.operator_in(*proposals.MAY_PROPOSE)
    reason = forms.line("reason", most=MOST_REASON)
    if reason is None:
        return Response(look_at_proposal(proposal_id), 422)
    with transaction() as session:
        proposals.withdraw(
            session, proposal_id=proposal_id, reason=reason, who=who, now=clock.now()
        )
    return _back(proposal_id)


@blueprint.get("/<key>")
def look(key: str) -> str:
    """Show all that one policy said, says and will say."""
    now = clock.now()
    with transaction() as session:
        rows = proposals.history(session, key=key)
        found = {row.proposal_id: None for row in rows if row.proposal_id}
        known = [proposals.find(session, proposal_id=id_) for id_ in found]
        return render_template(
            "console/policy.html",
            key=key,
            title=_title(key),
            detail=_detail(key),
            rule=CATALOGUE[key],
            bounds=_bounds(CATALOGUE[key]),
            rows=[_said(row) | {"age": _age(row, now=now)} for row in rows],
            proposals={one["id"]: one for one in replies(session, known)},
            may_propose=access.operator().role in proposers([key]),
        )


def _back(proposal_id: UUID) -> AnyResponse:
    return redirect(url_for("console.policies.look_at_proposal", proposal_id=proposal_id), 303)


def _form(
    form: Form,
    *,
    wanted: str = "",
    asked: Asked | None = None,
    unseen: bool = False,
    problem: words.Words | None = None,
) -> str:
    """Return the form, with the preview of what is asked for.

    Raises:
        RoleNotAllowed, and what `proposals.resolve` refuses.
    """
    who, now = access.operator_in(*proposals.MAY_PROPOSE), clock.now()
    mine = [key for key, rule in CATALOGUE.items() if who.role in rule.proposers]
    with transaction() as session:
        present = service.policies_at(session, now).values
        looked: list[dict[str, Any]] = []
        if asked is not None:
            changes = proposals.resolve(session, asked, now=now)
            who.must_be(*sorted(proposers(changes)))
            at, until = asked.valid_from or now, asked.valid_until
            found = preview.preview(session, changes, at=at, until=until, now=now)
            looked = [_shown(one) for one in found]
    return render_template(
        "console/policy_change.html",
        form=form,
        problem=problem,
        asked=asked,
        looked=looked,
        seen=asked and fingerprint(asked),
        unseen=unseen,
        wanted=wanted,
        presets=_presets(who.role),
        groups=_grouped([_editable(key, present.get(key)) for key in mine]),
        new_proposal_id=new_id(),
        most_document_number=MOST_DOCUMENT_NUMBER,
        most_reason=MOST_REASON,
    )


def _wrong(form: Form, error: ma.ValidationError | DomainError) -> Response:
    if isinstance(error, ma.ValidationError):
        problem, status = language.refusal("validation-failed", {}), 422
    else:
        tell(error)
        problem, status = _problem(error), STATUS[error.kind]
        form.faults |= {str(error.facts[name]) for name in ("key", "above") if name in error.facts}
        if error.code == proposals.PolicyMomentRefused.code:
            form.faults |= {"valid_from", "valid_until"}
    return Response(_form(form, problem=problem), status)


def _problem(error: DomainError) -> words.Words:
    """Return a refusal with the names of the keys that it is about."""
    named = {
        name: _title(str(value)) if name in ("key", "above") else value
        for name, value in error.facts.items()
    }
    return language.refusal(error.code, named)


def _presets(role: Role | None = None) -> list[str]:
    """Return the presets that a role may propose; None: that anybody may."""
    return [name for name in PRESETS if role is None or role in proposers(PRESETS[name])]


def _differences(
    session: Session, proposal: PolicyProposal, *, now: datetime
) -> Sequence[Difference]:
    """Return what a proposal changes: against what holds, or held when it took effect."""
    if proposal.state is ProposalState.APPROVED and proposal.effective_at is not None:
        at, before = proposal.effective_at, proposal.effective_at - INSTANT
    else:
        at = before = proposal.valid_from or now
    return preview.preview(
        session, proposal.changes, at=at, until=proposal.valid_until, now=now, beside=before
    )


def _told(
    session: Session, found: Sequence[PolicyProposal], *, now: datetime
) -> list[dict[str, Any]]:
    """Return proposals for a page: what they say, and what whoever looks may do."""
    who, told = access.operator(), replies(session, found)
    for one, proposal in zip(told, found, strict=True):
        one["own"] = proposal.made_by == who.operator_id
        one["state"] = _state(one, proposal)
        one["may_approve"] = (
            one["state"] == "waiting" and not one["own"] and who.role in _deciders(proposal)
        )
        one["may_withdraw"] = who.role in (
            _deciders(proposal) | proposers(proposal.changes)
        ) and _is_open(proposal, now=now)
        one["said"] = [(_title(key), key, _text(key, value)) for key, value in _changes(proposal)]
    return told


def _deciders(proposal: PolicyProposal) -> frozenset[Role]:
    return approvers(proposal.changes)


def _changes(proposal: PolicyProposal) -> list[tuple[str, Any]]:
    return sorted(proposal.changes.items())


def _state(told: dict[str, Any], proposal: PolicyProposal) -> str:
    refused = proposal.withdrawn_by is not None and proposal.withdrawn_by != proposal.made_by
    return "refused" if refused and proposal.approved_by is None else str(told["state"])


def _is_open(proposal: PolicyProposal, *, now: datetime) -> bool:
    """Say whether a proposal can still be taken back or refused."""
    if proposal.state is ProposalState.WITHDRAWN or proposals.has_lapsed(proposal, now=now):
        return False
    return proposal.effective_at is None or proposal.effective_at > now


def _age(row: Policy, *, now: datetime) -> str:
    if row.valid_from > now:
        return "planned"
    return "past" if row.valid_until is not None and row.valid_until <= now else "present"


def _title(key: str) -> str:
    return words.policy(key, language.language()).title


def _detail(key: str) -> str:
    return words.policy(key, language.language()).detail


def _text(key: str, value: Any) -> str:
    rule = CATALOGUE.get(key)
    return str(value) if rule is None else _value(rule.unit, value)


def _value(unit: Unit, value: Any) -> str:
    return "—" if value is None else words.policy_value(unit, value, language.language())


def _said(row: Policy) -> dict[str, Any]:
    return {
        "key": row.key,
        "row": row,
        "title": _title(row.key),
        "detail": _detail(row.key),
        "text": _text(row.key, row.value),
    }


def _editable(key: str, value: Any) -> dict[str, Any]:
    rule = CATALOGUE[key]
    return {
        "key": key,
        "title": _title(key),
        "detail": _detail(key),
        "text": _text(key, value),
        "value": value,
        "rule": rule,
        "bounds": _bounds(rule),
        "choices": [(choice, _value(rule.unit, choice)) for choice in rule.choices],
    }


def _bounds(rule: PolicyRule) -> str:
    if rule.unit in (Unit.SWITCH, Unit.ONE_OF, Unit.SOME_OF):
        return ""
    return f"{_value(rule.unit, rule.least)} – {_value(rule.unit, rule.most)}"


def _shown(one: Difference) -> dict[str, Any]:
    """Return one difference for a page; of choices, which stay, go and come."""
    rule, before = CATALOGUE[one.key], one.present and one.present.value
    marks: list[tuple[str, str]] = []
    if rule.unit is Unit.SOME_OF:
        was, will = set(before or ()), set(one.value)
        kind = {(True, True): "kept", (True, False): "gone", (False, True): "new"}
        marks = [
            (kind[choice in was, choice in will], _value(rule.unit, choice))
            for choice in rule.choices
            if choice in was | will
        ]
    return {
        "key": one.key,
        "title": _title(one.key),
        "before": _value(rule.unit, before),
        "after": _value(rule.unit, one.value),
        "marks": marks,
        "ends_at": one.next_change_at,
        "then": _value(rule.unit, one.next_value),
        "touches": one.touches,
        "touched": one.touched,
        "categories": rule.categories,
        "decisions": rule.decisions,
        "meals": one.meals,
    }


def _grouped(items: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return items with a `key` by what belongs together."""
    found = {
        name: [item for item in items if item["key"].partition(".")[0] in first]
        for name, first in GROUPS.items()
    }
    return [(name, members) for name, members in found.items() if members]
