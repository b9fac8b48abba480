"""Found cards (拾卡): record one by its number, and hand it back against the document."""

from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.cards import counter, found
from backend.cards.counter_schemas import MOST_NUMBER, MOST_PLACE, FoundCardRequest
from backend.cards.rules import DOCUMENTS
from backend.console import access
from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page, place_of
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators.models import Role

MOST = 50
SEE_WHOSE = (Role.CARD_CENTRE, Role.AUDITOR)

blueprint = Blueprint("found-cards", __name__, url_prefix="/found-cards")


@blueprint.get("")
def show() -> str:
    """Show the form, and to the card centre what was found."""
    who = access.operator()
    sees = who.role in SEE_WHOSE
    with transaction() as session:
        rows = (
            found.list_found(session, before=place_of(request.args.get("cursor")), limit=MOST + 1)
            if sees
            else []
        )
        listed = page([one for one, _ in rows], limit=MOST, at="found_at")
        shown = rows[: len(listed["items"])]
        return render_template(
            "console/found_cards.html",
            rows=shown,
            sees=sees,
            may_record=who.role in found.MAY_RECORD,
            may_hand_back=who.role in counter.MAY_ACT,
            holders=viewing.holders_by_id(session, [card.holder_id for _, card in shown if card]),
            next_cursor=listed["next_cursor"],
            found_id=new_id(),
            most_number=MOST_NUMBER,
            most_place=MOST_PLACE,
            done=request.args.get("done", ""),
        )


@blueprint.post("/<uuid:found_id>")
@logged("card.found", subject="found_id")
def record(found_id: UUID) -> Response:
    """Record a found card.  The page made the id, so a form sent twice is one record."""
    who = access.operator_in(*found.MAY_RECORD)
    said = {name: request.form.get(name, "").strip() for name in ("number", "place")}
    try:
        wanted = FoundCardRequest().load(said)
    except ma.ValidationError:
        abort(422)
    with transaction() as session:
        found.record(session, found_id=found_id, actor=who.actor, now=clock.now(), **wanted)
    return redirect(url_for("console.found-cards.show", done="recorded"), 303)


@blueprint.get("/<uuid:found_id>/hand-back")
def ask(found_id: UUID) -> str:
    """Ask for the document, and once more."""
    access.operator_in(*counter.MAY_ACT)
    with transaction() as session:
        one = found.find(session, found_id=found_id)
        card = counter.find_card(session, card_id=one.card_id) if one.card_id else None
        return render_template(
            "console/hand_back.html",
            found=one,
            card=card,
            holder=viewing.view(
                session,
                holder_id=card.holder_id,
                actor=access.operator().actor,
                now=clock.now(),
            )
            if card
            else None,
            hand_back_id=new_id(),
        )


@blueprint.post("/<uuid:found_id>/hand-back")
@logged("card.hand_back", subject="found_id")
def hand_back(found_id: UUID) -> Response:
    """Hand a found card to its holder; a lost one is in use again."""
    who = access.operator_in(*counter.MAY_ACT)
    documents = [kind for kind in request.form.getlist("documents") if kind in DOCUMENTS]
    try:
        hand_back_id = UUID(request.form.get("hand_back_id", ""))
    except ValueError:
        abort(422)
    with transaction() as session:
        found.hand_back(
            session,
            hand_back_id=hand_back_id,
            found_id=found_id,
            documents=documents,
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.found-cards.show", done="handed_back"), 303)
