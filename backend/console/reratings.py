"""Re-rating the meal surcharge (搭伙费重算): computed first, proposed, approved, paid back."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.charges import meal_sums, rerating
from backend.charges.rerating import LIFE, MAY_APPROVE, MAY_PROPOSE, Standing, standing_of
from backend.charges.rerating_routes import replies
from backend.charges.rerating_schemas import (
    MOST_DOCUMENT_NUMBER,
    MOST_PERMILLE,
    MOST_REASON,
    ReratingPreviewRequest,
    ReratingRequest,
)
from backend.clock import business_date
from backend.console import access, language
from backend.console.forms import again
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.http.words import Words
from backend.ids import new_id
from backend.operation_log.refusals import logged

MOST = 100
PERIOD = ("first_day", "last_day", "permille")
FIELDS = "rerating_fields"
"""The section with the names of what is asked for."""

blueprint = Blueprint("reratings", __name__, url_prefix="/reratings")


@blueprint.get("")
def show() -> str:
    """List re-ratings, of one standing or all, and ask for a period."""
    return _list()


def _list(problem: Words | None = None) -> str:
    now, said = clock.now(), request.args.get("state", "")
    standing = next((known for known in Standing if known == said), None)
    with transaction() as session:
        found = rerating.newest(session, limit=MOST, standing=standing, now=now)
        return render_template(
            "console/reratings.html",
            standing=standing,
            standings=list(Standing),
            reratings=[
                told | {"standing": standing_of(one, now=now)}
                for one, told in zip(found, replies(session, found), strict=True)
            ],
            said=request.args,
            today=business_date(now),
            most_permille=MOST_PERMILLE,
            problem=problem,
        )


@blueprint.get("/preview")
def preview() -> str | Response:
    """Show what re-rating a period would pay back, and what was too little; write nothing."""
    try:
        return _preview(_period(request.args), new_id())
    except (ma.ValidationError, DomainError) as error:
        return again(error, _list, _labels())


def _preview(period: dict[str, Any], rerating_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        sums = meal_sums.sums(session, **period)
    return render_template(
        "console/rerating_preview.html",
        period=period,
        sums=sums,
        is_over=period["last_day"] < business_date(clock.now()),
        may_propose=access.operator().role in MAY_PROPOSE,
        rerating_id=rerating_id,
        said=request.form,
        problem=problem,
        most_document_number=MOST_DOCUMENT_NUMBER,
        most_reason=MOST_REASON,
    )


def _period(said: Any) -> dict[str, Any]:
    """Return the period that a form or an address names, and by what it is computed.

    Raises:
        ValidationError: it does not fit.
    """
    period: dict[str, Any] = ReratingPreviewRequest().load(_typed(said))
    return period


def _typed(said: Any) -> dict[str, Any]:
    typed: dict[str, Any] = {name: said.get(name, "").strip() for name in PERIOD}
    permille = typed["permille"]
    if permille.isascii() and permille.isdigit() and len(permille) <= len(str(MOST_PERMILLE)):
        typed["permille"] = int(permille)
    elif not permille:
        typed["permille"] = None
    return typed | {"flags": "flags" in said}


@blueprint.post("/<uuid:rerating_id>")
@logged("surcharge.rerate_propose", subject="rerating_id")
def propose(rerating_id: UUID) -> AnyResponse:
    """Propose what was shown.  The page made the id, so a form sent twice is one proposal."""
    who = access.operator_in(*MAY_PROPOSE)
    form = request.form
    try:
        period = _period(form)
    except ma.ValidationError as error:
        return again(error, _list, _labels())
    try:
        said = ReratingRequest().load(
            _typed(form) | {name: form.get(name, "") for name in ("document_number", "reason")}
        )
        with transaction() as session:
            rerating.propose(session, rerating_id=rerating_id, maker=who, now=clock.now(), **said)
    except meal_sums.ReratingPeriodRefused as error:
        return again(error, _list, _labels())
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda problem: _preview(period, rerating_id, problem), _labels())
    return _to(rerating_id)


@blueprint.get("/<uuid:rerating_id>")
def look(rerating_id: UUID) -> str:
    """Show one re-rating, how much has gone back and, while it waits, what it comes to now."""
    return _one(rerating_id)


def _one(rerating_id: UUID, problem: Words | None = None) -> str:
    who, now = access.operator(), clock.now()
    with transaction() as session:
        found, returned_fen = rerating.find(session, rerating_id=rerating_id)
        standing = standing_of(found, now=now)
        sums = meal_sums.sums(
            session,
            first_day=found.first_day,
            last_day=found.last_day,
            permille=found.permille,
            flags=found.flags,
        ) if standing is Standing.WAITING else None  # fmt: skip
        return render_template(
            "console/rerating.html",
            rerating=replies(session, [found])[0],
            standing=standing,
            returned_fen=returned_fen,
            sums=sums,
            lapses_at=found.made_at + LIFE,
            is_own=found.made_by == who.operator_id,
            may_approve=who.role in MAY_APPROVE,
            problem=problem,
        )


@blueprint.post("/<uuid:rerating_id>/approval")
@logged("surcharge.rerate_approve", subject="rerating_id")
def approve(rerating_id: UUID) -> AnyResponse:
    """Approve what somebody else proposed."""
    who = access.operator_in(*MAY_APPROVE)
    who.must_have_confirmed(clock.now())
    try:
        with transaction() as session:
            rerating.approve(session, rerating_id=rerating_id, checker=who, now=clock.now())
    except DomainError as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda problem: _one(rerating_id, problem))
    return _to(rerating_id)


def _labels() -> dict[str, str]:
    return language.dictionary(language.language())[FIELDS]


def _to(rerating_id: UUID) -> AnyResponse:
    return redirect(url_for("console.reratings.look", rerating_id=rerating_id), 303)
