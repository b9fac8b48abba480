"""Who a holder is (持卡人信息): permissions, category, data; and what waits for a second person.

Every look at one person is in the operation log before anything is shown.
"""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.cards import categories
from backend.cards.counter import wake_all
from backend.console import access, forms
from backend.db import transaction
from backend.holders import category_changes, data_changes, permissions, viewing
from backend.holders.models import (
    Category,
    DataField,
    DocumentKind,
    Employment,
    Permission,
)
from backend.holders.people_schemas import (
    DOCUMENTS,
    CategoryChangeRequest,
    DataChangeRequest,
    OverrideRequest,
)
from backend.http.parts import parts
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.models import Role

MOST = 200
LISTS = ("documents",)
FLAGS = ("allowed",)

blueprint = Blueprint("people", __name__, url_prefix="/people")


@blueprint.get("")
def show() -> str:
    """Show what waits: changes for a second person, and differences from the roster."""
    who = access.operator()
    with transaction() as session:
        waiting = data_changes.list_waiting(session, limit=MOST)
        conflicts = data_changes.list_conflicts(session, limit=MOST)
        known = [change.holder_id for change in waiting]
        known += [conflict.holder_id for conflict in conflicts]
        return render_template(
            "console/people.html",
            waiting=waiting,
            conflicts=conflicts,
            alone=data_changes.ALONE,
            holders=viewing.holders_by_id(session, known),
            me=who.actor.name,
            may_act=who.role is Role.CARD_CENTRE,
            taken_over=data_changes.TAKEN_OVER,
        )


@blueprint.get("/<uuid:holder_id>")
def look(holder_id: UUID) -> str:
    """Show who somebody is, what was decided about them and, to those who may, the forms."""
    who = access.operator()
    with transaction() as session:
        viewing.view(session, holder_id=holder_id, actor=who.actor, now=clock.now())
    with transaction() as session:
        holder = viewing.holders_by_id(session, [holder_id])[holder_id]
        overrides = permissions.list_overrides(session, holder_id=holder_id)
        changes = category_changes.list_changes(session, holder_id=holder_id)
        data = data_changes.list_changes(session, holder_id=holder_id)
        makers = {override.made_by for override in overrides}
        makers |= {change.made_by for change in changes} | {change.made_by for change in data}
        ids = {
            UUID(name.removeprefix(operators.LOGGED_AS))
            for name in makers
            if name.startswith(operators.LOGGED_AS)
        }
        return render_template(
            "console/person.html",
            holder=holder,
            numbers=category_changes.numbers_of(session, holder_id=holder_id),
            may_use=permissions.permissions_of(holder),
            overrides=overrides,
            category_changes=changes,
            departs_on=categories.leaves_on(session, holder_id=holder_id),
            data_changes=data,
            conflicts=data_changes.open_conflicts_of(session, holder_id=holder_id),
            names={
                f"{operators.LOGGED_AS}{id_}": name
                for id_, name in operators.usernames(session, ids).items()
            },
            may_act=who.role is Role.CARD_CENTRE,
            permissions=list(Permission),
            categories=list(Category),
            employments=list(Employment),
            fields=list(DataField),
            document_kinds=list(DocumentKind),
            documents=DOCUMENTS,
            new_id=new_id,
        )


@blueprint.post("/<uuid:holder_id>/exceptions/<uuid:override_id>")
@logged("holder.except", subject="override_id", holder="holder_id")
def make_override(holder_id: UUID, override_id: UUID) -> Response:
    """Make an exception.  The page made the id, so a form sent twice is one exception."""
    who, said = access.operator_in(Role.CARD_CENTRE), _said(OverrideRequest())
    with transaction() as session:
        permissions.make_override(
            session,
            override_id=override_id,
            holder_id=holder_id,
            permission=Permission(said.pop("permission")),
            actor=who.actor,
            now=clock.now(),
            **said,
        )
    return _back(holder_id)


@blueprint.post("/<uuid:holder_id>/exceptions/<uuid:override_id>/end")
@logged("holder.end_exception", subject="override_id", holder="holder_id")
def end_override(holder_id: UUID, override_id: UUID) -> Response:
    """End an exception."""
    who = access.operator_in(Role.CARD_CENTRE)
    with transaction() as session:
        permissions.end_override(
            session,
            override_id=override_id,
            holder_id=holder_id,
            actor=who.actor,
            now=clock.now(),
        )
    return _back(holder_id)


@blueprint.post("/<uuid:holder_id>/category-changes/<uuid:change_id>")
@logged("holder.change_category", subject="change_id", holder="holder_id")
def change_category(holder_id: UUID, change_id: UUID) -> Response:
    """Make somebody another kind of holder from a day on."""
    who, said = access.operator_in(Role.CARD_CENTRE), _said(CategoryChangeRequest())
    employment = said.pop("employment")
    with transaction() as session:
        categories.schedule(
            session,
            change_id=change_id,
            holder_id=holder_id,
            category=Category(said.pop("category")),
            employment=Employment(employment) if employment else None,
            actor=who.actor,
            now=clock.now(),
            **said,
        )
    return _back(holder_id)


@blueprint.post("/<uuid:holder_id>/category-changes/<uuid:change_id>/withdrawal")
@logged("holder.withdraw_category", subject="change_id", holder="holder_id")
def withdraw_category(holder_id: UUID, change_id: UUID) -> Response:
    """Take a change of category back before its day."""
    who = access.operator_in(Role.CARD_CENTRE)
    with transaction() as session:
        category_changes.withdraw(
            session, change_id=change_id, holder_id=holder_id, actor=who.actor, now=clock.now()
        )
    return _back(holder_id)


@blueprint.post("/<uuid:holder_id>/data-changes/<uuid:change_id>")
@logged("holder.propose_data", subject="change_id", holder="holder_id")
def propose_data(holder_id: UUID, change_id: UUID) -> Response:
    """Propose a change of data, with its proof."""
    who, said = access.operator_in(Role.CARD_CENTRE), _said(DataChangeRequest())
    kind = said.pop("document_kind")
    with transaction() as session:
        data_changes.propose(
            session,
            change_id=change_id,
            holder_id=holder_id,
            field=DataField(said.pop("field")),
            document_kind=DocumentKind(kind) if kind else None,
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
            **said,
        )
    return _back(holder_id)


@blueprint.post("/data-changes/<uuid:change_id>/decision")
@logged("holder.approve_data", subject="change_id")
def decide_data(change_id: UUID) -> Response:
    """Approve or refuse what somebody else proposed."""
    who, approve = access.operator_in(Role.CARD_CENTRE), forms.decision()
    with transaction() as session:
        data_changes.decide(
            session, change_id=change_id, approve=approve, actor=who.actor, now=clock.now()
        )
    return redirect(url_for("console.people.show"), 303)


@blueprint.post("/conflicts/<uuid:conflict_id>/decision")
@logged("holder.settle_conflict", subject="conflict_id")
def settle(conflict_id: UUID) -> Response:
    """Keep ours, or take the roster's value over: one proposes it, another does it."""
    who, accept = access.operator_in(Role.CARD_CENTRE), forms.decision("accept", "keep")
    with transaction() as session:
        data_changes.settle(
            session,
            conflict_id=conflict_id,
            accept=accept,
            wake_cards=wake_all,
            actor=who.actor,
            now=clock.now(),
        )
    return redirect(url_for("console.people.show"), 303)


def _said(schema: ma.Schema) -> dict[str, Any]:
    """Return what a form says, by the rules that the API has for the same; a blank says nothing."""
    form = request.form
    said: dict[str, Any] = {
        name: value.strip()
        for name, value in form.items()
        if value.strip() and name != access.FORM_FIELD and name not in LISTS
    }
    said |= {name: form.getlist(name) for name in LISTS if name in form}
    said |= {name: said[name] == "yes" for name in FLAGS if name in said}
    try:
        return dict(schema.load(said))
    except ma.ValidationError:
        abort(422)


def _back(holder_id: UUID) -> Response:
    return redirect(url_for("console.people.look", holder_id=holder_id), 303)
