"""The operation log (台账), newest first: search it, verify it, take a copy for an inspection.

What is searched for may be a holder's number, so filters travel in forms, never in an address.
"""

from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import Blueprint, Response, render_template, request

from backend import clock
from backend.clock import start_of_day
from backend.console import access
from backend.console.language import LANGUAGES, dictionary, language
from backend.console.search import is_reference, searchable
from backend.db import transaction
from backend.http import csv_files
from backend.http.paging import page_of
from backend.http.parts import parts
from backend.ids import new_reference
from backend.inspections import export, service
from backend.operation_log import heads, seals
from backend.operation_log.heads import HeadsUnreadable
from backend.operation_log.models import LogEntry
from backend.operation_log.refusals import logged
from backend.operation_log.verification import Verification
from backend.operators import service as operators

MOST = 50
OUTCOMES = ("done", "refused")
FIELDS = ("from", "until", "action", "outcome", "holder_number", "operator", "reference")

blueprint = Blueprint("log", __name__, url_prefix="/log")


@blueprint.route("", methods=["GET", "POST"])
def show() -> str:
    """List operations, all or those that the form asks for."""
    return _page()


@blueprint.post("/verify")
def verify() -> str:
    """Compute the chain again, against every head that was kept outside the database."""
    with transaction() as session:
        found = service.verify_newest(session, heads=_kept())
    return _page(verification=found)


@blueprint.post("/export")
@logged("log.export")
def export_period() -> Response:
    """Hand out what the form asks for as a file; the log says so before."""
    who, now, reference = access.operator(), clock.now(), new_reference()
    with transaction() as session:
        wanted = service.understand(session, _wanted())
        used = service.count_export(session, caller=who, now=now)
        wanted, _ = service.allow_export(
            session,
            policy_ids=used,
            wanted=wanted,
            most=service.MOST_EXPORTED,
            actor=who.actor,
            reference=reference,
            now=now,
        )
    file = export.lines(
        wanted=wanted,
        taken_by=who.username,
        reference=reference,
        action_words=dictionary(LANGUAGES[0])["actions"],
        now=now,
    )
    return csv_files.attached(
        (line.encode() for line in file), "operation-log", type_=csv_files.IN_UTF8
    )


def _page(verification: Verification | None = None) -> str:
    now = clock.now()
    with transaction() as session:
        found = page_of(
            partial(service.search, session, wanted=service.understand(session, _wanted())),
            cursor=request.values.get("cursor"),
            limit=MOST,
        )
        names = service.names_in(session, found["items"])
        return render_template(
            "console/log.html",
            actions=dictionary(language())["actions"],
            outcomes=OUTCOMES,
            said={name: searchable(request.values.get(name, "")) for name in FIELDS},
            entries=found["items"],
            next_cursor=None if verification else found["next_cursor"],
            actors=operators.names_in_log(session, found["items"]),
            holder_numbers=names.holder_numbers,
            sealed_until=seals.sealed_until(session),
            head=seals.head(session),
            lag=seals.lag(session, now=now),
            kept_on=_kept_on(),
            verification=verification,
        )


def _wanted() -> dict[str, Any]:
    """Return what the form asks for; what does not read as a filter does not matter."""
    said = {name: searchable(request.values.get(name, "")) for name in FIELDS}
    if said["action"] not in dictionary(language())["actions"]:
        said["action"] = ""
    reference = said["reference"].upper()
    first, last = _day(said["from"]), _day(said["until"])
    return {
        "from_at": start_of_day(first) if first else None,
        "until_at": start_of_day(last + timedelta(days=1)) if last else None,
        "action": said["action"] or None,
        "outcome": said["outcome"],
        "holder_number": said["holder_number"],
        "operator": said["operator"],
        "reference": (reference if is_reference(reference) else "?") if reference else None,
    }


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1 < day.year < date.max.year else None  # a day more or less is still one


def _kept() -> dict[int, bytes]:
    """Return the heads that were kept; none where the page says that nobody can read them."""
    path = parts().settings.log_heads
    try:
        return heads.read(path) if path else {}
    except HeadsUnreadable:
        return {}


def _kept_on() -> str | None:
    """Return the day on which the head last left the database; `?` where nobody can say."""
    path = parts().settings.log_heads
    try:
        return heads.newest(path) if path else None
    except HeadsUnreadable:
        return "?"


def facts_of(entry: LogEntry) -> dict[str, Any]:
    """Return all that an entry tells besides who, what and when: what is not there is left out."""
    columns = ("card_id", "before", "after", "documents", "receipt_number", "policy_ids")
    told = {name: getattr(entry, name) for name in columns}
    return {name: value for name, value in told.items() if value is not None} | entry.facts
