"""The roster (名册): check a file first, then import the very file that was checked.

The file holds document numbers, so nothing keeps it between the two steps: it is chosen again, and
a keyed hash in the form says whether it is the same.
"""

from uuid import UUID

from flask import Blueprint, Response, abort, render_template, request

from backend import clock
from backend.cards.counter import wake_all
from backend.cards.service import ended_accounts, open_accounts_to_issue
from backend.closings import reopenings
from backend.closings.routes import MAY_CLOSE
from backend.console import access, language
from backend.console.forms import mark, sent_file, was_checked
from backend.db import transaction
from backend.holders import roster
from backend.holders.roster import RosterReport, RosterUnreadable
from backend.http.parts import parts
from backend.http.problems import STATUS, tell
from backend.ids import new_id
from backend.operation_log.refusals import logged

MARKED_FOR = "console-roster"

blueprint = Blueprint("roster", __name__, url_prefix="/roster")


@blueprint.get("")
def show() -> str:
    """Ask for a file."""
    return _page()


@blueprint.post("/check")
def check() -> str | Response:
    """Report what an import would do, row by row; write nothing."""
    content = sent_file()
    try:
        report = _run(content, dry_run=True)
    except RosterUnreadable as error:
        return _unreadable(error)
    return _page(report=report, checked=mark(MARKED_FOR, content), batch_id=new_id())


@blueprint.post("/import")
@logged("roster.import")
def import_checked() -> str | Response:
    """Import the file that was checked; another one is checked first."""
    content = sent_file()
    same = was_checked(MARKED_FOR, content)
    try:
        report = _run(content, dry_run=not same, batch_id=_batch_id())
    except RosterUnreadable as error:
        return _unreadable(error)
    if same:
        return _page(report=report, imported=True)
    return _page(
        report=report, checked=mark(MARKED_FOR, content), batch_id=new_id(), other_file=True
    )


def _batch_id() -> UUID | None:
    said = request.form.get("batch_id")
    try:
        return UUID(said) if said else None
    except ValueError:
        abort(422)


def _run(content: bytes, *, dry_run: bool, batch_id: UUID | None = None) -> RosterReport:
    who = access.operator()
    with transaction() as session:
        return roster.import_roster(
            session,
            content=content,
            source=roster.ROLE_SOURCES[who.role][0],
            batch_id=None if dry_run else batch_id,
            whole="whole" in request.form,
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
            dry_run=dry_run,
            open_accounts=open_accounts_to_issue,
            ended_accounts=ended_accounts,
            wake_cards=wake_all,
        )


def _unreadable(error: RosterUnreadable) -> Response:
    tell(error)
    page = _page(
        problem=language.refusal(error.code, dict(error.facts)),
        fault=_in_words(str(error.facts["fault"])),
    )
    return Response(page, STATUS[error.kind])


def _in_words(fault: str) -> str:
    """Return what is wrong with a file in the words of the page; columns may follow a colon."""
    what, _, columns = fault.partition(": ")
    named = [language.word("columns", column) for column in columns.split(", ") if column]
    return " ".join([language.word("faults", what), *named])


def _closings(report: RosterReport | None) -> dict[str, UUID]:
    """Return where the accounts that were remarked on can be opened again, for who may do so."""
    if report is None or access.operator().role not in MAY_CLOSE:
        return {}
    with transaction() as session:
        numbers = [one.holder_number for one in report.remarks]
        return reopenings.closings_of(session, holder_numbers=numbers)


def _page(report: RosterReport | None = None, **facts: object) -> str:
    return render_template(
        "console/roster.html",
        report=report,
        closings=_closings(report),
        whole="whole" in request.form,
        columns=roster.COLUMNS | roster.FURTHER_COLUMNS,
        **facts,
    )
