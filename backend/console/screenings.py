"""Screenings (清查): run one after a term, give each finding its outcome, file it."""

from collections.abc import Mapping
from functools import partial
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.closings import screenings
from backend.closings.models import Finding, ScreeningOutcome
from backend.closings.routes import MAY_CLOSE, MAY_EXPORT
from backend.closings.schemas import MOST_REASON, OutcomeRequest, ScreeningRequest
from backend.console import access, forms, language
from backend.db import transaction
from backend.errors import DomainError
from backend.holders import viewing
from backend.http import csv_files, words
from backend.http.paging import cursor_of, page_of, place_of
from backend.ids import new_id, new_reference
from backend.operation_log.refusals import logged
from backend.operators import service as operators

MOST = 50
MOST_TERMS = 4
STATES = {"open": True, "decided": False, "all": None}
"""What the list of findings shows: those without an outcome, those with one, or both."""
Counts = Mapping[tuple[Finding, ScreeningOutcome | None], int]

blueprint = Blueprint("screenings", __name__, url_prefix="/screenings")


@blueprint.get("")
def show() -> str:
    """List screenings, newest first, and offer the terms that are over."""
    with transaction() as session:
        found = page_of(
            partial(screenings.list_screenings, session),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        counts = screenings.outcomes_of(session, [one.id for one in found["items"]])
        return render_template(
            "console/screenings.html",
            screenings=found["items"],
            next_cursor=found["next_cursor"],
            totals={id_: (sum(one.values()), _open(one)) for id_, one in counts.items()},
            makers=operators.usernames(session, {one.made_by for one in found["items"]}),
            terms=screenings.ended_terms(session, count=MOST_TERMS, now=clock.now()),
            may_act=access.operator().role in MAY_CLOSE,
        )


def _open(counts: Counts) -> int:
    return sum(count for (_, outcome), count in counts.items() if outcome is None)


@blueprint.get("/preview")
def preview() -> str | Response:
    """Show what a screening would find now, before it is run."""
    access.operator_in(*MAY_CLOSE)
    try:
        return _preview(request.args.get("term", ""))
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _preview(None, problem))


def _preview(term: str | None, problem: words.Words | None = None) -> str:
    now, counts = clock.now(), None
    with transaction() as session:
        if term is not None:
            ScreeningRequest().load({"term": term})
            counts = screenings.preview(session, term=term, now=now)
        return render_template(
            "console/screening_preview.html",
            term=term,
            terms=screenings.ended_terms(session, count=MOST_TERMS, now=now),
            counts=counts,
            screening_id=new_id(),
            problem=problem,
        )


@blueprint.post("/<uuid:screening_id>")
@logged("screening.make", subject="screening_id")
def make(screening_id: UUID) -> AnyResponse:
    """Look through all accounts.  The page made the id, so a form sent twice is one screening."""
    who = access.operator_in(*MAY_CLOSE)
    try:
        said = ScreeningRequest().load({"term": request.form.get("term", "")})
        with transaction() as session:
            screenings.make(
                session, screening_id=screening_id, operator=who, now=clock.now(), **said
            )
    except (ma.ValidationError, DomainError) as error:
        return forms.again(error, lambda problem: _preview(None, problem))
    return _to(screening_id)


@blueprint.get("/<uuid:screening_id>")
def look(screening_id: UUID) -> str:
    """Show a screening: what it found, and what was decided."""
    return _screening(screening_id)


def _screening(screening_id: UUID, problem: words.Words | None = None) -> str:
    role = access.operator().role
    said = request.values.get("finding", "")
    finding = next((known for known in Finding if known == said), None)
    with transaction() as session:
        screening = screenings.find(session, screening_id=screening_id)
        counts = screenings.outcomes_of(session, [screening_id])[screening_id]
        standard = "open" if screening.filed_at is None else "all"
        state = request.values.get("state", standard)
        state = state if state in STATES else standard
        place = place_of(request.args.get("cursor"))
        found = screenings.list_items(
            session,
            screening_id=screening_id,
            finding=finding,
            is_open=STATES[state],
            after=place[1] if place else None,
            limit=MOST + 1,
        )
        items = found[:MOST]
        people = {screening.made_by} | ({screening.filed_by} if screening.filed_by else set())
        return render_template(
            "console/screening.html",
            screening=screening,
            names=operators.usernames(session, people),
            findings=list(Finding),
            totals={
                one: (
                    sum(count for (known, _), count in counts.items() if known is one),
                    counts.get((one, None), 0),
                )
                for one in Finding
            },
            decided={
                one: sum(count for (_, known), count in counts.items() if known is one)
                for one in ScreeningOutcome
            },
            open=_open(counts),
            finding=finding,
            state=state,
            states=list(STATES),
            items=items,
            holders=viewing.holders_by_id(session, [item.holder_id for item in items]),
            next_cursor=cursor_of(screening.made_at, items[-1].id) if found[MOST:] else None,
            may_act=screening.filed_at is None and role in MAY_CLOSE,
            may_export=role in MAY_EXPORT,
            outcomes=list(ScreeningOutcome),
            said=request.form,
            problem=problem,
            most_reason=MOST_REASON,
        )


@blueprint.post("/<uuid:screening_id>/outcomes")
@logged("screening.decide", subject="screening_id")
def decide(screening_id: UUID) -> AnyResponse:
    """Give the findings that were ticked, or all that the page shows, one outcome; all or none."""
    who, form = access.operator_in(*MAY_CLOSE), request.form
    item_ids = forms.chosen_ids("shown" if form.get("scope") == "page" else "items")
    try:
        said = OutcomeRequest().load(
            {"outcome": form.get("outcome", ""), "reason": form.get("reason", "")}
        )
        if not item_ids:
            raise ma.ValidationError({"items": ["Nothing is ticked."]})
        with transaction() as session:
            for item_id in sorted(item_ids):
                screenings.decide(
                    session,
                    screening_id=screening_id,
                    item_id=item_id,
                    outcome=ScreeningOutcome(said["outcome"]),
                    reason=said["reason"],
                    operator=who,
                    now=clock.now(),
                )
    except (ma.ValidationError, DomainError) as error:
        labels = {
            "items": language.say("screenings", "items"),
            "outcome": language.say("screenings", "outcome"),
            "reason": language.say("screenings", "reason"),
        }
        return forms.again(error, lambda problem: _screening(screening_id, problem), labels)
    return redirect(
        url_for(
            "console.screenings.look",
            screening_id=screening_id,
            finding=form.get("finding") or None,
            state=form.get("state") or None,
        ),
        303,
    )


@blueprint.post("/<uuid:screening_id>/filing")
@logged("screening.file", subject="screening_id")
def file(screening_id: UUID) -> AnyResponse:
    """File a screening (归档): nothing of it changes any more."""
    who = access.operator_in(*MAY_CLOSE)
    try:
        with transaction() as session:
            screenings.file(session, screening_id=screening_id, operator=who, now=clock.now())
    except DomainError as error:
        return forms.again(error, lambda problem: _screening(screening_id, problem))
    return _to(screening_id)


@blueprint.post("/<uuid:screening_id>/export")
@logged("screening.export", subject="screening_id")
def export(screening_id: UUID) -> Response:
    """Hand a screening out as a file, names masked; that it was taken is on record first."""
    who = access.operator_in(*MAY_EXPORT)
    with transaction() as session:
        rows = screenings.export(
            session,
            screening_id=screening_id,
            operator=who,
            reference=new_reference(),
            now=clock.now(),
        )
    return csv_files.attached(csv_files.whole(rows), "screening", type_=csv_files.IN_UTF8)


def _to(screening_id: UUID) -> AnyResponse:
    return redirect(url_for("console.screenings.look", screening_id=screening_id), 303)
