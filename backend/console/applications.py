"""Applications (申请) for temporary cards: recorded, approved, opened, extended, ended early.

The list of people holds document numbers.  A page never shows them again: between the check and the
recording the list travels sealed, and only the session that checked it can use it.
"""

import base64
import binascii
from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, json, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.applications import ending, opening, service
from backend.applications.models import ApplicationState, ApprovalKind
from backend.applications.rules import MOST_PEOPLE, PERMISSIONS, TEMPORARY, missing_approvals
from backend.applications.schemas import (
    MOST_DOCUMENT,
    MOST_NAME,
    MOST_NUMBER,
    MOST_PURPOSE,
    MOST_REASON,
    MOST_UNIT,
    ApplicantRequest,
    ApplicationRequest,
    EarlyLeavingRequest,
    ExtensionRequest,
    OaApprovalRequest,
    OpeningRequest,
)
from backend.applications.service import MAKERS, TELL_OF_LEAVING, DocumentsNotValid, Wanted
from backend.cards import service as cards
from backend.cards.models import CardState
from backend.clock import business_date
from backend.console import access, language
from backend.console.forms import again, form_id, typed
from backend.console.search import searchable
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.holders import viewing
from backend.holders.models import DocumentKind
from backend.http.fields import one_spelling
from backend.http.paging import page_of
from backend.http.parts import parts
from backend.http.words import Words
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.policies.service import policies_at

MOST = 50
LINES = (
    "oa_number", "sponsor_unit", "sponsor_number", "purpose", "category", "valid_from",
    "valid_until",
)  # fmt: skip
SEALED_FOR = "console-applicants"
SEPARATORS = str.maketrans("，\t；;", ",,,,")
FIELDS = "application_fields"
SURCHARGE: dict[str, bool | None] = {"yes": True, "no": False, "open": None}
"""What the form says of the meal surcharge; left open, none is taken (搭伙费未定)."""
"""The section with the names of what is asked for."""

blueprint = Blueprint("applications", __name__, url_prefix="/applications")


@blueprint.get("")
def show() -> str:
    """List applications: of one state, or by the number of the OA."""
    said = request.args.get("state", "")
    state = next((known for known in ApplicationState if known == said), None)
    oa_number = one_spelling(searchable(request.args.get("oa_number", ""), longest=MOST_NUMBER))
    with transaction() as session:
        found = page_of(
            partial(service.list_applications, session, state=state, oa_number=oa_number or None),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="made_at",
        )
        return render_template(
            "console/applications.html",
            state=state,
            states=list(ApplicationState),
            oa_number=oa_number,
            most_number=MOST_NUMBER,
            applications=found["items"],
            counts=service.counts_of(session, [one.id for one in found["items"]]),
            next_cursor=found["next_cursor"],
            may_make=access.operator().role in MAKERS,
        )


@blueprint.get("/new")
def ask() -> str:
    """Ask what is applied for, and for whom."""
    access.operator_in(*MAKERS)
    return _form(application_id=new_id())


@blueprint.post("/new")
def change() -> str:
    """Show what was typed once more, to be changed."""
    access.operator_in(*MAKERS)
    return _form(application_id=form_id("application_id"), sealed=request.form.get("people", ""))


def _form(problem: Words | None = None, **facts: Any) -> str:
    sealed = facts.get("sealed", "")
    people = _unsealed(sealed)
    return render_template(
        "console/application_form.html",
        problem=problem,
        said=request.form,
        chosen=request.form.getlist("permissions") or PERMISSIONS[:2],
        categories=TEMPORARY,
        permissions=PERMISSIONS,
        surcharge_choices=SURCHARGE,
        today=business_date(clock.now()),
        most={
            "oa_number": MOST_NUMBER, "sponsor_unit": MOST_UNIT, "sponsor_number": MOST_NUMBER,
            "purpose": MOST_PURPOSE, "people": MOST_PEOPLE,
        },
        **facts | {"sealed": sealed if people else "", "people_count": len(people)},
    )  # fmt: skip


@blueprint.post("/check")
def check() -> str | Response:
    """Show what would be recorded, person by person; write nothing."""
    access.operator_in(*MAKERS)
    application_id = form_id("application_id")
    people = _typed_people() or _unsealed(request.form.get("people", ""))
    facts: dict[str, Any] = {"application_id": application_id}
    try:
        ApplicantRequest(many=True).load(people)
        facts["sealed"] = _sealed(people)
        wanted = _wanted(people)
        with transaction() as session:
            _, documents = service.check(session, wanted=wanted, now=clock.now())
            known = service.faults_ahead(
                session, people=wanted.people, documents=documents, sealer=parts().sealer
            )
    except (ma.ValidationError, DomainError) as error:
        facts["faults"] = _faults(error)
        if facts["faults"]:
            facts.pop("sealed", None)
        return again(error, lambda problem: _form(problem, **facts), _labels())
    return render_template(
        "console/application_check.html",
        application_id=application_id,
        wanted=wanted,
        known=known,
        sealed=facts["sealed"],
        said=request.form,
    )


@blueprint.post("")
@logged("application.make")
def make() -> Response:
    """Record what was checked.  The page made the id, so a form sent twice is one application."""
    who, application_id = access.operator_in(*MAKERS), form_id("application_id")
    sealed = request.form.get("people", "")
    try:
        wanted = _wanted(_unsealed(sealed))
        with transaction() as session:
            service.make(
                session,
                application_id=application_id,
                wanted=wanted,
                sealer=parts().sealer,
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        return again(
            error,
            lambda problem: _form(problem, application_id=application_id, sealed=sealed),
            _labels(),
        )
    return _to(application_id)


def _wanted(people: list[dict[str, str]]) -> Wanted:
    """Return what the form asks for, as the API reads it.

    Raises:
        ValidationError: it does not fit.
    """
    form = request.form
    said: Wanted = ApplicationRequest().load(
        typed(*LINES)
        | {
            "permissions": form.getlist("permissions"),
            "pays_surcharge": SURCHARGE.get(form.get("pays_surcharge", ""), "unsaid"),
            "people": people,
        }
    )
    return said


def _typed_people() -> list[dict[str, str]]:
    """Return the people that were typed or pasted, one a line: name, unit, kind, number.

    A unit that is left out is the sponsor's; a number without its kind is a resident's card.
    """
    kinds = {
        word: kind
        for name in language.LANGUAGES
        for kind, word in language.dictionary(name)["document_kinds"].items()
    }
    people = []
    for line in request.form.get("list", "").splitlines():
        cells = [cell.strip() for cell in line.translate(SEPARATORS).split(",")]
        if not any(cells):
            continue
        name, unit, kind, number = (cells + [""] * 4)[:4]
        person = {"name": name, "unit": unit or request.form.get("sponsor_unit", "").strip()}
        if kind or number:
            person["document_kind"] = kinds.get(kind, kind) or DocumentKind.RESIDENT_ID.value
            person["document_number"] = number
        people.append(person)
    return people


def _sealed(people: list[dict[str, str]]) -> str:
    session_id = access.operator().session_id
    box = parts().sealer.seal(SEALED_FOR, json.dumps(people), also=session_id.bytes)
    return base64.urlsafe_b64encode(box).decode()


def _unsealed(said: str) -> list[dict[str, str]]:
    """Return the people that this session checked before, nobody where it did not."""
    try:
        box = base64.urlsafe_b64decode(said.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        return []
    session_id = access.operator().session_id
    text = parts().sealer.unseal(SEALED_FOR, box, also=session_id.bytes)
    return list(json.loads(text)) if text else []


def _faults(error: ma.ValidationError | DomainError) -> list[tuple[int, list[str]]]:
    """Return which lines of the list are wrong, each with the columns; never what is in them."""
    if isinstance(error, DocumentsNotValid):
        positions: Any = error.facts["positions"]
        return [(position, ["document_number"]) for position in positions]
    if not isinstance(error, ma.ValidationError):
        return []
    told: dict[Any, Any] = error.messages_dict
    return [(place + 1, list(columns)) for place, columns in told.items() if isinstance(place, int)]


def _labels() -> dict[str, str]:
    return language.dictionary(language.language())[FIELDS]


@blueprint.get("/<uuid:application_id>")
def look(application_id: UUID) -> str:
    """Show one application, its people, its approvals and, to those who may, what comes next."""
    return _one(application_id)


def _one(application_id: UUID, problem: Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        application = service.find(session, application_id=application_id)
        people = service.people_of(session, application_id)
        approvals = service.approvals_of(session, application_id)
        extensions = ending.extensions_of(session, application_id)
        sponsor = viewing.holders_by_id(session, [application.sponsor_id])[application.sponsor_id]
        acted = {application.made_by}
        acted |= {one.recorded_by for one in approvals} | {one.made_by for one in extensions}
        return render_template(
            "console/application.html",
            application=application,
            people=people,
            approvals=approvals,
            missing=missing_approvals([one.kind for one in approvals]),
            extensions=extensions,
            sponsor=sponsor,
            names=operators.usernames(session, acted),
            opened=sum(one.holder_id is not None for one in people),
            may_make=who.role in MAKERS,
            may_tell=who.role in TELL_OF_LEAVING,
            said=request.form,
            today=business_date(clock.now()),
            new_id=new_id,
            problem=problem,
            most_name=MOST_NAME,
            most_document=MOST_DOCUMENT,
        )


@blueprint.post("/<uuid:application_id>/approvals/<uuid:approval_id>")
@logged("application.approve", subject="application_id")
def approve(application_id: UUID, approval_id: UUID) -> Response:
    """Record an approval that was given in the OA."""
    who = access.operator_in(*MAKERS)
    try:
        paper = OaApprovalRequest().load(typed("kind", "approver", "document", "decided_on"))
        with transaction() as session:
            service.approve(
                session,
                approval_id=approval_id,
                application_id=application_id,
                paper=paper,
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        return _again(error, application_id)
    return _to(application_id)


@blueprint.post("/<uuid:application_id>/withdrawal")
@logged("application.withdraw", subject="application_id")
def withdraw(application_id: UUID) -> Response:
    """Take an application back."""
    who = access.operator_in(*MAKERS)
    try:
        with transaction() as session:
            service.withdraw(session, application_id=application_id, operator=who, now=clock.now())
    except DomainError as error:
        return _again(error, application_id)
    return _to(application_id)


@blueprint.get("/<uuid:application_id>/opening")
def ask_to_open(application_id: UUID) -> str:
    """Show for whom cards would be opened, from when, and ask for the receipt."""
    access.operator_in(*MAKERS)
    return _opening(application_id)


def _opening(application_id: UUID, problem: Words | None = None) -> str:
    now = clock.now()
    with transaction() as session:
        application = service.find(session, application_id=application_id)
        waiting = [
            one for one in service.people_of(session, application_id) if one.holder_id is None
        ]
        return render_template(
            "console/application_opening.html",
            application=application,
            people=waiting,
            known={
                one.id: fault
                for one in waiting
                if (fault := opening.fault_of(session, one)) is not None
            },
            needs_receipt=opening.is_paid_for(application, policies_at(session, now)),
            begun=application.valid_from <= business_date(now),
            opening_id=application.opening_id or request.form.get("opening_id") or new_id(),
            said=request.form,
            problem=problem,
            most_number=MOST_NUMBER,
        )


@blueprint.post("/<uuid:application_id>/opening")
@logged("application.open", subject="application_id")
def open_cards(application_id: UUID) -> Response:
    """Open the cards, a person at a time; sent again, go on with those who have none yet."""
    who, opening_id = access.operator_in(*MAKERS), form_id("opening_id")
    try:
        said = OpeningRequest().load(typed("receipt_number"))
        opening.open_cards(
            application_id=application_id,
            opening_id=opening_id,
            operator=who,
            now=clock.now(),
            **said,
        )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda problem: _opening(application_id, problem), _labels())
    return _to(application_id)


@blueprint.get("/<uuid:application_id>/extension")
def ask_to_extend(application_id: UUID) -> str:
    """Show whose cards would go on, and ask for the new approval."""
    access.operator_in(*MAKERS)
    return _extension(application_id)


def _extension(application_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        application = service.find(session, application_id=application_id)
        staying = ending.staying(session, application_id)
        expired = {
            holder.id
            for holder in staying
            if any(
                card.state is CardState.EXPIRED
                for card in cards.list_cards(session, holder_id=holder.id)
            )
        }
        return render_template(
            "console/application_extension.html",
            application=application,
            staying=staying,
            expired=expired,
            left_out=len(service.people_of(session, application_id)) - len(staying),
            extension_id=request.form.get("extension_id") or new_id(),
            kinds=list(ApprovalKind),
            said=request.form,
            today=business_date(clock.now()),
            problem=problem,
            most_number=MOST_NUMBER,
            most_name=MOST_NAME,
            most_document=MOST_DOCUMENT,
        )


@blueprint.post("/<uuid:application_id>/extension")
@logged("application.extend", subject="application_id")
def extend(application_id: UUID) -> Response:
    """Put the end off by a new approval of the OA."""
    who, extension_id = access.operator_in(*MAKERS), form_id("extension_id")
    try:
        said = ExtensionRequest().load(
            typed("oa_number", "valid_until")
            | {
                "approvals": [
                    {
                        name: request.form.get(f"{kind.value}_{name}", "").strip()
                        for name in ("approver", "document", "decided_on")
                    }
                    | {"kind": kind.value}
                    for kind in ApprovalKind
                ]
            }
        )
        with transaction() as session:
            ending.extend(
                session,
                extension_id=extension_id,
                application_id=application_id,
                oa_number=said["oa_number"],
                valid_until=said["valid_until"],
                papers=said["approvals"],
                sealer=parts().sealer,
                operator=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda problem: _extension(application_id, problem), _labels())
    return _to(application_id)


@blueprint.get("/<uuid:application_id>/people/<uuid:holder_id>/early-leaving")
def ask_who_leaves(application_id: UUID, holder_id: UUID) -> str:
    """Ask for the last day of somebody who leaves early, as the sponsor tells it."""
    access.operator_in(*TELL_OF_LEAVING)
    return _leaving(application_id, holder_id)


def _leaving(application_id: UUID, holder_id: UUID, problem: Words | None = None) -> str:
    with transaction() as session:
        application = service.find(session, application_id=application_id)
        people = service.people_of(session, application_id)
        person = next((one for one in people if one.holder_id == holder_id), None)
        if person is None:
            raise NotFound
        return render_template(
            "console/application_leaving.html",
            application=application,
            person=person,
            holder=viewing.holders_by_id(session, [holder_id])[holder_id],
            leaving_id=request.form.get("leaving_id") or new_id(),
            said=request.form,
            problem=problem,
            most_reason=MOST_REASON,
        )


@blueprint.post("/<uuid:application_id>/people/<uuid:holder_id>/early-leaving")
@logged("application.leave_early", subject="application_id", holder="holder_id")
def leave_early(application_id: UUID, holder_id: UUID) -> Response:
    """Note that somebody leaves before their day."""
    who = access.operator_in(*TELL_OF_LEAVING)
    leaving_id = form_id("leaving_id")
    try:
        said = EarlyLeavingRequest().load(
            typed("last_on", "reason") | {"holder_id": str(holder_id)}
        )
        with transaction() as session:
            ending.leave_early(
                session,
                leaving_id=leaving_id,
                application_id=application_id,
                who=who,
                now=clock.now(),
                **said,
            )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda said: _leaving(application_id, holder_id, said), _labels())
    return _to(application_id)


def _again(error: ma.ValidationError | DomainError, application_id: UUID) -> Response:
    if isinstance(error, NotFound):
        raise error
    return again(error, lambda problem: _one(application_id, problem), _labels())


def _to(application_id: UUID) -> Response:
    return redirect(url_for("console.applications.look", application_id=application_id), 303)
