"""Refused operations (被拒绝的操作) go into the log too, each in a transaction of its own.

A route says once which action it is; whatever refusal leaves it is written here, after everything
that the operation did was rolled back and before the answer goes out:

    @blueprint.route("/loss-reports/<uuid:report_id>", methods=["PUT"])
    ...
    @logged("card.report_lost", subject="report_id")
    def report_lost(...)

`logged` stands next to the function, below the decorators that wrap it.  A contract test asks it of
every route that changes something, or for the reason why not.

Not written: requests that no operation came of (no caller, no fitting body, no such address), what
could not be decided (503), and what a flood sends beyond `MOST_AN_HOUR` of one caller and action.
The last one that is written says so in its facts, and a counter counts the rest.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import SQLAlchemyError

from backend import clock
from backend.db import transaction
from backend.errors import DomainError, Kind
from backend.http.auth import GUARDS
from backend.http.operations import NOT_LOGGED
from backend.http.parts import parts
from backend.http.problems import refusal_told
from backend.http.rates import TooManyRequests
from backend.operation_log import service
from backend.operation_log.models import LogChannel
from backend.operation_log.service import HOLDER, UNBOUND, Actor

MOST_AN_HOUR = 30
"""Refusals of one caller in one action that are written."""
MOST_OF_NOBODY = 600
"""The same for callers without a name, all together: who logs in or binds may be anybody."""
HOUR_SECONDS = 3600
NOBODY = "nobody"

log = logging.getLogger(__name__)
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """Which action a route is, and which of its arguments name what it is done to."""

    action: str
    subject: str | None
    holder: str | None
    channel: LogChannel
    """Where callers without a name come in."""


@dataclass(slots=True)
class About:
    """What became known of an operation while it ran."""

    holder_id: UUID | None = None
    card_id: UUID | None = None
    policy_ids: Sequence[UUID] = ()
    action: str | None = None
    """Where one route does several: which of them."""


def logged(
    action: str,
    *,
    subject: str | None = None,
    holder: str | None = None,
    channel: LogChannel = LogChannel.COUNTER,
) -> Callable[[View], View]:
    """Declare which action a route is: what it refuses goes into the operation log as that.

    `subject` and `holder` name arguments of the route that hold ids.
    """

    def declare(view: View) -> View:
        view.logged = Operation(action, subject, holder, channel)  # type: ignore[attr-defined]
        return view

    return declare


def operation_of(app: Flask, endpoint: str | None) -> Operation | None:
    """Return what the route of an endpoint declared, or None."""
    found: Operation | None = getattr(app.view_functions.get(endpoint or ""), "logged", None)
    return found


def about(**known: Any) -> None:
    """Note what is known by now of the running operation, should it be refused: see `About`."""
    g.setdefault("about", About())
    for name, value in known.items():
        setattr(g.about, name, value)


def install(app: Flask) -> None:
    """Write down what is refused."""
    app.after_request(_write_down)


def _write_down(answer: Response) -> Response:
    told = refusal_told()
    operation = operation_of(current_app, request.endpoint)
    if told is None or operation is None or told.error.kind is Kind.UNAVAILABLE:
        return answer
    actor = _actor(operation)
    if actor is None:
        return answer
    try:
        _record(operation, actor, told.error, told.reference)
    except SQLAlchemyError:
        # Nothing was done, so nothing hangs on the row: the refusal is still told.
        NOT_LOGGED.labels("failed").inc()
        log.exception("refusal %s %s is not in the operation log", told.error.code, told.reference)
    return answer


def _record(operation: Operation, actor: Actor, error: DomainError, reference: str) -> None:
    named: About = g.get("about") or About()
    action = named.action or operation.action
    facts = _within_bounds(action, actor)
    if facts is None:
        return
    arguments = request.view_args or {}
    holder_id = named.holder_id or arguments.get(operation.holder or "") or _own(actor)
    with transaction() as session:
        service.record(
            session,
            actor=actor,
            action=action,
            now=clock.now(),
            outcome=error.code,
            holder_id=holder_id,
            card_id=named.card_id,
            subject_id=arguments.get(operation.subject or ""),
            policy_ids=[*named.policy_ids, *error.policy_ids],
            reference=reference,
            **facts,
        )


def _within_bounds(action: str, actor: Actor) -> dict[str, Any] | None:
    """Return what to add to the entry's facts, or None where there were too many this hour."""
    most = MOST_OF_NOBODY if actor.name in (NOBODY, UNBOUND) else MOST_AN_HOUR
    try:
        count = parts().rates.count(
            f"refusals:{actor.name}:{action}", most=most, seconds=HOUR_SECONDS
        )
    except TooManyRequests:
        NOT_LOGGED.labels("flood").inc()
        return None
    return {"more_this_hour_are_not_written": True} if count == most else {}


def _actor(operation: Operation) -> Actor | None:
    """Return who was refused; None where a guard did not even let them in."""
    who = g.get("caller") or g.get("operator")
    if who is not None:
        actor: Actor = who.actor
        return actor
    open_to_all = GUARDS.get(request.blueprint or "", "nobody") == "nobody"
    return Actor(operation.channel, NOBODY) if open_to_all else None


def _own(actor: Actor) -> UUID | None:
    return UUID(actor.name.removeprefix(HOLDER)) if actor.name.startswith(HOLDER) else None
