"""One card (卡): what the counter can let happen to it, each behind a page that asks once more."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.cards import counter, loss, replacement
from backend.cards.counter_schemas import (
    CHANNELS,
    MOST_APPROVAL,
    MOST_NUMBER,
    MOST_REASON,
    NEEDED,
    CardOperationRequest,
    ReplacementRequest,
)
from backend.cards.models import CardKind
from backend.cards.rules import COUNTER_EVENTS, DOCUMENTS, CardEvent, counter_events
from backend.clock import business_date
from backend.console import access
from backend.db import transaction
from backend.holders import viewing
from backend.holders.limits import holder_of
from backend.ids import new_id
from backend.operation_log.models import LogChannel
from backend.operation_log.refusals import about, logged

blueprint = Blueprint("cards", __name__, url_prefix="/cards/<uuid:card_id>")


@blueprint.get("")
def show(card_id: UUID) -> str:
    """Show how a card stands, and what can be done about it.  The look is on record."""
    who = access.operator()
    now = clock.now()
    with transaction() as session:
        card = counter.find_card(session, card_id=card_id)
        holder = viewing.view(session, holder_id=card.holder_id, actor=who.actor, now=now)
        return render_template(
            "console/card.html",
            card=card,
            holder=holder,
            events=counter_events(card.state),
            refusal=replacement.refusal_for(session, card=card, cause="damaged", now=now),
            is_replaced=loss.is_replaced(session, card_id=card_id),
            request_=replacement.open_request(session, holder_id=holder.id),
            done="done" in request.args,
        )


@blueprint.get("/operation")
def ask(card_id: UUID) -> str:
    """Ask for what an event needs, and once more whether it is meant."""
    event = _event(request.args.get("event", ""))
    with transaction() as session:
        card = counter.find_card(session, card_id=card_id)
        holder = holder_of(session, holder_id=card.holder_id)
        return render_template(
            "console/card_event.html",
            card=card,
            holder=holder,
            event=event,
            operation_id=new_id(),
            needed=NEEDED.get(event, ()),
            channels=CHANNELS,
            documents=DOCUMENTS,
            reads_number=event is CardEvent.RESTORE and card.kind is CardKind.PHYSICAL,
            asks_virtual=event is CardEvent.REPORT_LOST and card.kind is CardKind.PHYSICAL,
            today=business_date(clock.now()),
            most_reason=MOST_REASON,
            most_number=MOST_NUMBER,
            most_approval=MOST_APPROVAL,
        )


@blueprint.post("/operation")
@logged("card.operate")
def operate(card_id: UUID) -> Response:
    """Let the event happen.  The page made the id, so a form sent twice is one operation."""
    who = access.operator()
    event = _event(request.form.get("event", ""))
    about(action=f"card.{event}", card_id=card_id)
    who.must_be(*counter.MAY_ACT)
    said = _said(CardOperationRequest(), flags=("stop_virtual_card",))
    operation_id = _id("operation_id")
    wanted = counter.Wanted(
        event=CardEvent(said.pop("event")), channel=LogChannel(said.pop("channel")), **said
    )
    with transaction() as session:
        about(holder_id=counter.find_card(session, card_id=card_id).holder_id)
        counter.operate(
            session,
            operation_id=operation_id,
            card_id=card_id,
            wanted=wanted,
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.cards.show", card_id=card_id, done=1), 303)


@blueprint.get("/replacement")
def quote(card_id: UUID) -> str:
    """Say what a new card costs, and ask for what replacing needs."""
    now = clock.now()
    with transaction() as session:
        card = counter.find_card(session, card_id=card_id)
        holder = holder_of(session, holder_id=card.holder_id)
        return render_template(
            "console/replacement.html",
            card=card,
            holder=holder,
            quote=replacement.quote(session, holder=holder, now=now),
            refusal=replacement.refusal_for(session, card=card, cause="damaged", now=now),
            request_=replacement.open_request(session, holder_id=holder.id),
            causes=replacement.CAUSES,
            documents=DOCUMENTS,
            replacement_id=new_id(),
            most_reason=MOST_REASON,
            most_number=MOST_NUMBER,
        )


@blueprint.post("/replacement")
@logged("card.replace")
def replace(card_id: UUID) -> Response:
    """Replace the card, and go on to the new one."""
    who = access.operator()
    about(card_id=card_id)
    who.must_be(*counter.MAY_ACT)
    said = _said(ReplacementRequest(), numbers=("quoted_fee_fen",))
    replacement_id = _id("replacement_id")
    with transaction() as session:
        about(holder_id=counter.find_card(session, card_id=card_id).holder_id)
        made, _ = replacement.replace(
            session,
            replacement_id=replacement_id,
            card_id=card_id,
            wanted=replacement.Wanted(**said),
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.cards.show", card_id=made.new_card_id, done=1), 303)


def _event(said: str) -> CardEvent:
    if said not in {event.value for event in COUNTER_EVENTS}:
        abort(404)
    return CardEvent(said)


def _id(name: str) -> UUID:
    try:
        return UUID(request.form.get(name, ""))
    except ValueError:
        abort(422)


def _said(
    schema: ma.Schema, *, flags: tuple[str, ...] = (), numbers: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what a form said, judged as the API judges it; empty fields were not said."""
    said: dict[str, Any] = {"documents": request.form.getlist("documents")}
    for name in schema.fields.keys() - {"documents"}:
        text = request.form.get(name, "").strip()
        if name in flags:
            said[name] = bool(text)
        elif name in numbers:
            said[name] = int(text) if text.isdecimal() and text.isascii() else None
        elif text:
            said[name] = text
    try:
        loaded: dict[str, Any] = schema.load(said)
    except ma.ValidationError:
        abort(422)
    return loaded
