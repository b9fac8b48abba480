"""The cash desk (现金充值): the window, receipts, shifts; reversals and counts for a supervisor.

Amounts are typed in yuan.  Every form carries the id of what it makes, so that a second press of a
button, or a page sent again, changes nothing.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.cash_desk import arrears_payments, finding, service, shifts
from backend.cash_desk.models import CashShift, CashTopUp, CloseOutRuling, ShiftState
from backend.cash_desk.rules import DENOMINATIONS_FEN, total_of
from backend.cash_desk.schemas import (
    MOST_DESK,
    MOST_NOTE,
    MOST_REASON,
    CashReversalRequest,
    CashTopUpRequest,
    CloseOutRequest,
    CloseOutRulingRequest,
    ShiftRequest,
)
from backend.cash_desk.shifts import CASHIERS, SEE_ALL, SUPERVISORS
from backend.clock import business_date
from backend.console import access, language
from backend.console.forms import again, form_id
from backend.console.search import searchable
from backend.db import transaction
from backend.errors import DomainError, NotFound
from backend.holders import viewing
from backend.http import words
from backend.http.paging import page, place_of
from backend.http.parts import parts
from backend.ids import new_id
from backend.operation_log.refusals import logged
from backend.operators import service as operators

MOST = 50
FEW = 10
YUAN = re.compile(r"(\d{1,6})(?:[.．。](\d{1,2}))?")
CODE = re.compile(r"96\d{18,}")

blueprint = Blueprint("cash-desk", __name__, url_prefix="/cash-desk")


@blueprint.app_context_processor
def two_languages() -> dict[str, Any]:
    """Let receipts say everything in Chinese, then in English, whoever prints them."""
    return {"say_both": _say_both}


def _say_both(section: str, key: str, **facts: Any) -> list[tuple[str, str]]:
    return [
        (name, words.fill(language.dictionary(name)[section][key], facts))
        for name in language.LANGUAGES
    ]


@blueprint.get("")
def show() -> str:
    """Show the window of a cashier, and what waits for a supervisor."""
    return _window()


def _window(problem: words.Words | None = None, *, said: dict[str, str] | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        shift = shifts.current(session, cashier=who) if who.role in CASHIERS else None
        own = service.list_top_ups(
            session, operator=who, shift_id=shift.id, before=None, limit=FEW
        ) if shift else ()  # fmt: skip
        others = service.list_top_ups(
            session, operator=who, shift_id=None, before=None, limit=MOST
        ) if who.role in SEE_ALL else ()  # fmt: skip
        held = shifts.list_shifts(
            session, operator=who, state=ShiftState.CLOSING, before=None, limit=MOST
        ) if who.role in SEE_ALL else ()  # fmt: skip
        today = [top_up for top_up in others if top_up.business_date == business_date(clock.now())]
        return render_template(
            "console/cash_desk.html",
            may_take=who.role in CASHIERS,
            sees_all=who.role in SEE_ALL,
            shift=shift,
            over=shift is not None and shift.business_date != business_date(clock.now()),
            shift_id=new_id(),
            drawer=shift and shifts.drawer_of(session, shift),
            own=_rows(session, own),
            today=_rows(session, today),
            held=_shift_rows(session, held),
            problem=problem,
            said=said or {},
            most_desk=MOST_DESK,
        )


def _rows(session: Session, found: Sequence[CashTopUp]) -> dict[str, Any]:
    return {
        "top_ups": found,
        "holders": viewing.holders_by_id(session, [top_up.holder_id for top_up in found]),
        "reversals": service.reversals_of(session, found),
        "cashiers": operators.usernames(session, {top_up.cashier_id for top_up in found}),
    }


def _shift_rows(session: Session, found: Sequence[CashShift]) -> dict[str, Any]:
    return {
        "shifts": found,
        "drawers": shifts.drawers_of(session, found),
        "cashiers": operators.usernames(session, {shift.cashier_id for shift in found}),
    }


@blueprint.post("/shifts")
@logged("cash_shift.open")
def open_shift() -> AnyResponse:
    """Open a shift."""
    who = access.operator()
    who.must_be(*CASHIERS)
    shift_id, form = form_id("shift_id"), request.form
    try:
        said = ShiftRequest().load(
            {
                "desk": form.get("desk", "").strip(),
                "opening_float_fen": fen_of(form.get("opening_float", "")),
            }
        )
        with transaction() as session:
            shifts.open_shift(session, shift_id=shift_id, cashier=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        return again(error, lambda problem: _window(problem, said=form.to_dict()))
    return redirect(url_for("console.cash-desk.show"), 303)


@blueprint.post("/holder")
def find_holder() -> str | Response:
    """Show whom cash is for, and ask how much."""
    who = access.operator()
    who.must_be(*CASHIERS)
    shown = searchable(request.form.get("shown", ""), longest=finding.LONGEST)
    try:
        with transaction() as session:
            holder_id = _find(session, shown)
        return _taking(holder_id)
    except DomainError as error:
        return again(error, _window)


def _find(session: Session, shown: str) -> UUID:
    """Return the holder whom a number or a scanned code names: one box for all."""
    who, now = access.operator(), clock.now()
    ways = ("code",) if CODE.fullmatch(shown) else ("holder_number", "card_number")
    for by in ways[:-1]:
        try:
            return finding.find(session, by=by, shown=shown, parts=parts(), operator=who, now=now)
        except NotFound:
            continue
    return finding.find(session, by=ways[-1], shown=shown, parts=parts(), operator=who, now=now)


def _taking(
    holder_id: UUID,
    problem: words.Words | None = None,
    *,
    said: dict[str, str] | None = None,
    wanted: dict[str, Any] | None = None,
) -> str:
    """Return the page that asks how much, or with `wanted` the one that asks for a last look."""
    who, now = access.operator(), clock.now()
    with transaction() as session:
        seen = finding.look_at(session, holder_id=holder_id, operator=who, now=now)
        shift = shifts.current(session, cashier=who)
    if shift is None:
        raise NotFound
    return render_template(
        "console/cash_take.html",
        seen=seen,
        shift=shift,
        problem=problem
        or (
            language.refusal(seen.refusal.code, {})
            if seen.refusal and not seen.takes_arrears
            else None
        ),
        said=said or {},
        wanted=wanted,
        top_up_id=new_id(),
        most_note=MOST_NOTE,
    )


@blueprint.post("/confirm")
def confirm() -> str | Response:
    """Ask for a last look before money moves."""
    access.operator().must_be(*CASHIERS)
    holder_id = form_id("holder_id")
    try:
        wanted = _wanted(holder_id)
    except ma.ValidationError as error:
        return again(error, lambda said: _taking(holder_id, said, said=request.form.to_dict()))
    return _taking(holder_id, wanted=wanted)


def _wanted(holder_id: UUID) -> dict[str, Any]:
    """Return what the form asks for, as the API reads it.

    Raises:
        ValidationError: it does not fit.
    """
    form = request.form
    said: dict[str, Any] = CashTopUpRequest().load(
        {
            "shift_id": form.get("shift_id", ""),
            "holder_id": str(holder_id),
            "amount_fen": fen_of(form.get("amount", "")),
            "note": form.get("note", "").strip() or None,
        }
    )
    return said


@blueprint.post("/top-ups")
@logged("cash_top_up.take")
def take() -> AnyResponse:
    """Credit the cash, and lead to the receipt."""
    return _take(lambda session, id_, **wanted: service.take(session, top_up_id=id_, **wanted))


@blueprint.post("/arrears-payments")
@logged("arrears.pay_in_cash")
def pay_arrears() -> AnyResponse:
    """Pay arrears of a closed account with the cash, and lead to the receipt."""
    return _take(
        lambda session, id_, **wanted: arrears_payments.take(session, payment_id=id_, **wanted)
    )


def _take(taking: Callable[..., Any]) -> AnyResponse:
    who = access.operator()
    who.must_be(*CASHIERS)
    holder_id, top_up_id = form_id("holder_id"), form_id("top_up_id")
    try:
        wanted = _wanted(holder_id)
        with transaction() as session:
            taking(session, top_up_id, cashier=who, now=clock.now(), **wanted)
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda said: _taking(holder_id, said, said=request.form.to_dict()))
    return redirect(url_for("console.cash-desk.receipt", top_up_id=top_up_id), 303)


@blueprint.get("/top-ups/<uuid:top_up_id>")
def receipt(top_up_id: UUID) -> str:
    """Show the receipt (收据) of a cash top-up, for the printer."""
    return _receipt(top_up_id)


def _receipt(top_up_id: UUID, problem: words.Words | None = None, reason: str = "") -> str:
    who = access.operator()
    with transaction() as session:
        top_up = service.find_top_up(session, top_up_id=top_up_id, operator=who)
        reversal = service.reversal_of(session, top_up_id=top_up_id)
        shift = shifts.find(session, shift_id=top_up.shift_id, operator=who)
        people = {top_up.cashier_id} | ({reversal.supervisor_id} if reversal else set())
        return render_template(
            "console/cash_receipt.html",
            top_up=top_up,
            shift=shift,
            reversal=reversal,
            holder=viewing.holders_by_id(session, [top_up.holder_id])[top_up.holder_id],
            names=operators.usernames(session, people),
            may_reverse=reversal is None
            and who.role in SUPERVISORS
            and who.operator_id != top_up.cashier_id
            and shift.state is ShiftState.OPEN
            and top_up.business_date == business_date(clock.now()),
            may_take=who.operator_id == top_up.cashier_id,
            reversal_id=new_id(),
            most_reason=MOST_REASON,
            problem=problem,
            reason=reason,
        )


@blueprint.post("/top-ups/<uuid:top_up_id>/reversal")
@logged("cash_top_up.reverse", subject="top_up_id")
def reverse(top_up_id: UUID) -> AnyResponse:
    """Take a cash top-up back."""
    who = access.operator()
    who.must_be(*SUPERVISORS)
    reversal_id, reason = form_id("reversal_id"), request.form.get("reason", "").strip()
    try:
        said = CashReversalRequest().load({"reason": reason})
        with transaction() as session:
            service.reverse(
                session,
                reversal_id=reversal_id,
                top_up_id=top_up_id,
                supervisor=who,
                now=clock.now(),
                **said,
            )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda told: _receipt(top_up_id, told, reason))
    return redirect(url_for("console.cash-desk.receipt", top_up_id=top_up_id), 303)


@blueprint.get("/shifts")
def list_shifts() -> str:
    """List shifts, newest first."""
    with transaction() as session:
        found = page(
            shifts.list_shifts(
                session,
                operator=access.operator(),
                state=None,
                before=place_of(request.args.get("cursor")),
                limit=MOST + 1,
            ),
            limit=MOST,
            at="opened_at",
        )
        return render_template(
            "console/cash_shifts.html",
            rows=_shift_rows(session, found["items"]),
            next_cursor=found["next_cursor"],
        )


@blueprint.get("/shifts/<uuid:shift_id>")
def shift(shift_id: UUID) -> str:
    """Show a shift: its drawer, its count, and what was taken in it."""
    return _shift(shift_id)


def _shift(shift_id: UUID, problem: words.Words | None = None, reason: str = "") -> str:
    who = access.operator()
    with transaction() as session:
        found = shifts.find(session, shift_id=shift_id, operator=who)
        taken = page(
            service.list_top_ups(
                session,
                operator=who,
                shift_id=shift_id,
                before=place_of(request.args.get("cursor")),
                limit=MOST + 1,
            ),
            limit=MOST,
            at="taken_at",
        )
        people = {found.cashier_id} | ({found.ruled_by} if found.ruled_by else set())
        own = found.cashier_id == who.operator_id
        return render_template(
            "console/cash_shift.html",
            shift=found,
            drawer=shifts.drawer_of(session, found),
            rows=_rows(session, taken["items"]),
            next_cursor=taken["next_cursor"],
            names=operators.usernames(session, people),
            may_rule=found.state is ShiftState.CLOSING and who.role in SUPERVISORS and not own,
            may_count=found.state is ShiftState.OPEN and own,
            rulings=list(CloseOutRuling),
            most_reason=MOST_REASON,
            problem=problem,
            reason=reason,
        )


@blueprint.post("/shifts/<uuid:shift_id>/ruling")
@logged("cash_shift.rule", subject="shift_id")
def rule(shift_id: UUID) -> AnyResponse:
    """Approve a count that is off by much, or send it back."""
    who = access.operator()
    who.must_be(*SUPERVISORS)
    reason = request.form.get("reason", "").strip()
    try:
        said = CloseOutRulingRequest().load(
            {"decision": request.form.get("decision", ""), "reason": reason}
        )
        with transaction() as session:
            shifts.rule(
                session,
                shift_id=shift_id,
                ruling=said["decision"],
                reason=said["reason"],
                supervisor=who,
                now=clock.now(),
            )
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda told: _shift(shift_id, told, reason))
    return redirect(url_for("console.cash-desk.shift", shift_id=shift_id), 303)


@blueprint.get("/shifts/<uuid:shift_id>/close-out")
def ask_to_close_out(shift_id: UUID) -> str:
    """Ask what lies in the drawer."""
    access.operator().must_be(*CASHIERS)
    return _close_out(shift_id)


def _close_out(shift_id: UUID, problem: words.Words | None = None) -> str:
    who = access.operator()
    with transaction() as session:
        found = shifts.find(session, shift_id=shift_id, operator=who)
        if found.cashier_id != who.operator_id:
            raise NotFound
        drawer = shifts.drawer_of(session, found)
    counted_fen = _counted_fen()
    return render_template(
        "console/cash_close_out.html",
        shift=found,
        drawer=drawer,
        denominations=DENOMINATIONS_FEN,
        counted_fen=counted_fen,
        difference_fen=None if counted_fen is None else counted_fen - drawer.expected_fen,
        most_reason=MOST_REASON,
        said=request.form,
        problem=problem,
    )


@blueprint.post("/shifts/<uuid:shift_id>/close-out")
@logged("cash_shift.close_out", subject="shift_id")
def close_out(shift_id: UUID) -> AnyResponse:
    """Close a shift out, or say what keeps it from being closed."""
    who = access.operator()
    who.must_be(*CASHIERS)
    counted_fen = _counted_fen()
    try:
        said = CloseOutRequest().load(
            {
                "counted_fen": counted_fen,
                "counts": _counts(),
                "note": request.form.get("note", "").strip() or None,
            }
        )
        with transaction() as session:
            shifts.close_out(session, shift_id=shift_id, cashier=who, now=clock.now(), **said)
    except (ma.ValidationError, DomainError) as error:
        if isinstance(error, NotFound):
            raise
        return again(error, lambda told: _close_out(shift_id, told))
    return redirect(url_for("console.cash-desk.shift", shift_id=shift_id), 303)


def _counts() -> list[dict[str, Any]] | None:
    """Return how many of each note and coin the form says; None where it says none."""
    typed = {value: request.form.get(f"count-{value}", "").strip() for value in DENOMINATIONS_FEN}
    said = [
        {"value_fen": value, "count": int(text) if _is_small(text) else text}
        for value, text in typed.items()
        if text
    ]
    return said or None


def _is_small(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("100000")


def _counted_fen() -> int | None:
    """Return what the form says was counted: in one sum, or as the sum of notes and coins."""
    if typed := request.form.get("counted", "").strip():
        return fen_of(typed)
    counts = _counts()
    if counts is None or not all(isinstance(count["count"], int) for count in counts):
        return None
    return total_of([(count["value_fen"], count["count"]) for count in counts])


def fen_of(typed: str) -> int | None:
    """Return an amount that was typed in yuan, None where it is none.

    What a Chinese keyboard types is taken too; the next page shows what was understood.

    >>> fen_of("50"), fen_of(" 12.5 "), fen_of("５０。５"), fen_of("1e3"), fen_of("-1")
    (5000, 1250, 5050, None, None)
    """
    found = YUAN.fullmatch(typed.strip())
    if found is None:
        return None
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
