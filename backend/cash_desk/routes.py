"""HTTP for the cash desk: shifts, cash top-ups, reversals."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.arrears.service import ArrearsDiffer, TopUpPays
from backend.cards.codes import CODE_REFUSALS, CodeSpent
from backend.cards.service import AccountClosed, CardExpired
from backend.cash_desk import arrears_payments, finding, service, shifts
from backend.cash_desk.models import CashReversal, CashShift, CashTopUp, ShiftState
from backend.cash_desk.rules import NOTHING, Drawer
from backend.cash_desk.schemas import (
    CashReversalList,
    CashReversalReply,
    CashReversalRequest,
    CashTopUpList,
    CashTopUpReply,
    CashTopUpRequest,
    CashTopUpsQuery,
    CloseOutRequest,
    CloseOutRulingRequest,
    HolderLookupReply,
    HolderLookupRequest,
    ShiftList,
    ShiftReply,
    ShiftRequest,
    ShiftsQuery,
)
from backend.cash_desk.service import CashReversed, CashSpent, ReversalDayOver
from backend.cash_desk.shifts import (
    CASHIERS,
    MAY_LOOK,
    SUPERVISORS,
    CashierCannotSupervise,
    CountDoesNotAddUp,
    DifferenceUnexplained,
    ShiftNotClosing,
    ShiftNotOpen,
    ShiftOver,
    ShiftUnfinished,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound, ServiceUnavailable
from backend.holders import viewing
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.holders.permissions import NotPermitted
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, PageQuery, page, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.limits import OperatorLimit
from backend.operators.service import OperatorCaller, RoleNotAllowed

blueprint = guard(
    Blueprint(
        "cash-desk",
        __name__,
        url_prefix="/staff/cash-desk",
        description="Staff: the cash desk (现金充值)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("/holder-lookups", methods=["POST"])
@blueprint.arguments(HolderLookupRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    *(refusal for refusal in CODE_REFUSALS if refusal is not CodeSpent),
    TooManyRequests,
    ServiceUnavailable,
)
@blueprint.response(200, HolderLookupReply)
def look_up_holder(request: dict[str, Any]) -> dict[str, Any]:
    """Find the holder whom cash is for: by number, physical card or a shown pay code.

    A code is not spent by it.  `reason` says why the account takes no cash.  The look is on record.
    """
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    now = clock.now()
    with transaction() as session:
        holder_id = finding.find(session, parts=parts(), operator=who, now=now, **request)
        seen = finding.look_at(session, holder_id=holder_id, operator=who, now=now)
    return {
        "holder_id": seen.holder.id,
        "holder_number": seen.holder.holder_number,
        "name_masked": masked_name(seen.holder.name),
        "category": seen.holder.category,
        "physical_card_state": seen.physical_card_state,
        "virtual_card_state": seen.virtual_card_state,
        "balance_fen": seen.balance_fen,
        "arrears_fen": seen.arrears_fen,
        "reason": seen.refusal and seen.refusal.code,
    }


@blueprint.route("/shifts/<uuid:shift_id>", methods=["PUT"])
@blueprint.arguments(ShiftRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, IdReused, ShiftUnfinished)
@blueprint.alt_response(201, schema=ShiftReply, description="Opened now.")
@blueprint.response(200, ShiftReply)
@logged("cash_shift.open", subject="shift_id")
def open_shift(request: dict[str, Any], shift_id: UUID) -> Any:
    """Open the caller's shift (班次) with the float that lies in the drawer.

    A retry gets the shift as it was opened; `GET` tells how it stands by now.
    """
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    with transaction() as session:
        shift, first = shifts.open_shift(
            session, shift_id=shift_id, cashier=who, now=clock.now(), **request
        )
    return _as_opened(shift, who.username), 201 if first else 200


def _as_opened(shift: CashShift, cashier: str) -> dict[str, Any]:
    return _told(shift, Drawer(shift.opening_float_fen, *NOTHING), {shift.cashier_id: cashier}) | {
        "state": ShiftState.OPEN,
        "expected_fen": shift.opening_float_fen,
        **dict.fromkeys(
            (
                "counted_fen",
                "difference_fen",
                "counts",
                "note",
                "counted_at",
                "closed_at",
                "resolution",
            )
        ),
    }


@blueprint.route("/shifts", methods=["GET"])
@blueprint.arguments(ShiftsQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, ShiftList)
def list_shifts(query: dict[str, Any]) -> dict[str, Any]:
    """List shifts, newest first; cashiers of logistics see their own."""
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    state = None if query["state"] == "all" else ShiftState(query["state"])
    with transaction() as session:
        found = page(
            shifts.list_shifts(
                session,
                operator=who,
                state=state,
                before=place_of(query.get("cursor")),
                limit=query["limit"] + 1,
            ),
            limit=query["limit"],
            at="opened_at",
        )
        return found | {"items": _shifts(session, found["items"])}


@blueprint.route("/shifts/current", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, ShiftReply)
def read_current_shift() -> dict[str, Any]:
    """Show the caller's shift that is not closed; there is never more than one."""
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    with transaction() as session:
        shift = shifts.current(session, cashier=who)
        if shift is None:
            raise NotFound
        return _shifts(session, [shift])[0]


@blueprint.route("/shifts/<uuid:shift_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, ShiftReply)
def read_shift(shift_id: UUID) -> dict[str, Any]:
    """Show how a shift stands."""
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    with transaction() as session:
        return _shifts(session, [shifts.find(session, shift_id=shift_id, operator=who)])[0]


@blueprint.route("/shifts/<uuid:shift_id>/close-out", methods=["PUT"])
@blueprint.arguments(CloseOutRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    CountDoesNotAddUp,
    DifferenceUnexplained,
)
@blueprint.alt_response(201, schema=ShiftReply, description="Counted now.")
@blueprint.response(200, ShiftReply)
@logged("cash_shift.close_out", subject="shift_id")
def close_out_shift(request: dict[str, Any], shift_id: UUID) -> Any:
    """Count the drawer and hand the money in (交款).

    `closed`, or `closing` where the difference is more than a cashier answers for: then another
    person rules on it.  A retry gets the first answer; `GET` tells how the shift stands by now.
    """
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    with transaction() as session:
        shift, first = shifts.close_out(
            session, shift_id=shift_id, cashier=who, now=clock.now(), **request
        )
        told = _shifts(session, [shift])[0]
    return _as_counted(shift, told), 201 if first else 200


def _as_counted(shift: CashShift, told: dict[str, Any]) -> dict[str, Any]:
    if shift.held:
        return told | {"state": ShiftState.CLOSING, "closed_at": None, "resolution": None}
    return told


@blueprint.route("/shifts/<uuid:shift_id>/close-out/ruling", methods=["PUT"])
@blueprint.arguments(CloseOutRulingRequest)
@raises(
    blueprint, Unauthenticated, RoleNotAllowed, CashierCannotSupervise, NotFound, ShiftNotClosing
)
@blueprint.alt_response(201, schema=ShiftReply, description="Ruled now.")
@blueprint.response(200, ShiftReply)
@logged("cash_shift.rule", subject="shift_id")
def rule_on_close_out(request: dict[str, Any], shift_id: UUID) -> Any:
    """Approve a count that is off by much, or send it back to be counted again (复核)."""
    who: OperatorCaller = caller()
    who.must_be(*SUPERVISORS)
    with transaction() as session:
        shift, first = shifts.rule(
            session,
            shift_id=shift_id,
            ruling=request["decision"],
            reason=request["reason"],
            supervisor=who,
            now=clock.now(),
        )
        return _shifts(session, [shift])[0], 201 if first else 200


def _shifts(session: Session, found: Sequence[CashShift]) -> list[dict[str, Any]]:
    drawers = shifts.drawers_of(session, found)
    people = {id_ for shift in found for id_ in (shift.cashier_id, shift.ruled_by) if id_}
    names = operators.usernames(session, people)
    return [_told(shift, drawers[shift.id], names) for shift in found]


def _told(shift: CashShift, drawer: Drawer, names: dict[UUID, str]) -> dict[str, Any]:
    return {
        "id": shift.id,
        "cashier": names.get(shift.cashier_id, ""),
        "desk": shift.desk,
        "business_date": shift.business_date,
        "state": shift.state,
        "opening_float_fen": shift.opening_float_fen,
        "opened_at": shift.opened_at,
        "top_up_count": drawer.top_up_count,
        "top_ups_fen": drawer.top_ups_fen,
        "reversal_count": drawer.reversal_count,
        "reversals_fen": drawer.reversals_fen,
        "expected_fen": drawer.expected_fen,
        "counted_fen": shift.counted_fen,
        "difference_fen": shift.difference_fen,
        "counts": shift.counts,
        "note": shift.note,
        "counted_at": shift.counted_at,
        "closed_at": shift.closed_at,
        "resolution": shift.ruled_by
        and {
            "decision": shift.ruling,
            "reason": shift.ruling_reason,
            "operator": names.get(shift.ruled_by, ""),
            "decided_at": shift.ruled_at,
        },
    }


@blueprint.route("/top-ups/<uuid:top_up_id>", methods=["PUT"])
@blueprint.arguments(CashTopUpRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ShiftNotOpen,
    ShiftOver,
    AccountClosed,
    NotPermitted,
    CardExpired,
    BelowLeast,
    LimitExceeded,
    OperatorLimit,
)
@blueprint.alt_response(201, schema=CashTopUpReply, description="Credited now.")
@blueprint.response(200, CashTopUpReply)
@logged("cash_top_up.take", subject="top_up_id")
def take_cash(request: dict[str, Any], top_up_id: UUID) -> Any:
    """Credit cash that lies in the drawer, and get its receipt number.

    A retry gets the first answer; `GET` tells whether it was taken back since.
    """
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    with transaction() as session:
        top_up, first = service.take(
            session, top_up_id=top_up_id, cashier=who, now=clock.now(), **request
        )
        told = _top_ups(session, [top_up])[0]
    return told | {"reversal": None}, 201 if first else 200


@blueprint.route("/arrears-payments/<uuid:payment_id>", methods=["PUT"])
@blueprint.arguments(CashTopUpRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ShiftNotOpen,
    ShiftOver,
    TopUpPays,
    LimitExceeded,
    OperatorLimit,
    ArrearsDiffer,
)
@blueprint.alt_response(201, schema=CashTopUpReply, description="Paid now.")
@blueprint.response(200, CashTopUpReply)
@logged("arrears.pay_in_cash", subject="payment_id")
def pay_arrears(request: dict[str, Any], payment_id: UUID) -> Any:
    """Pay arrears of a closed account with cash that lies in the drawer (现金补缴欠费).

    Its receipt is one of the cash top-ups, and so it is read, listed and taken back.
    """
    who: OperatorCaller = caller()
    who.must_be(*CASHIERS)
    with transaction() as session:
        payment, first = arrears_payments.take(
            session, payment_id=payment_id, cashier=who, now=clock.now(), **request
        )
        told = _top_ups(session, [payment])[0]
    return told | {"reversal": None}, 201 if first else 200


@blueprint.route("/top-ups", methods=["GET"])
@blueprint.arguments(CashTopUpsQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, CashTopUpList)
def list_cash_top_ups(query: dict[str, Any]) -> dict[str, Any]:
    """List cash top-ups, newest first, of one shift or of all; cashiers of logistics see their own.

    Each tells whether it was taken back.
    """
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    with transaction() as session:
        found = page(
            service.list_top_ups(
                session,
                operator=who,
                shift_id=query.get("shift_id"),
                before=place_of(query.get("cursor")),
                limit=query["limit"] + 1,
            ),
            limit=query["limit"],
            at="taken_at",
        )
        return found | {"items": _top_ups(session, found["items"])}


@blueprint.route("/top-ups/<uuid:top_up_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, CashTopUpReply)
def read_cash_top_up(top_up_id: UUID) -> dict[str, Any]:
    """Show a cash top-up and whether it was taken back."""
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    with transaction() as session:
        top_up = service.find_top_up(session, top_up_id=top_up_id, operator=who)
        return _top_ups(session, [top_up])[0]


@blueprint.route("/top-ups/<uuid:top_up_id>/reversals/<uuid:reversal_id>", methods=["PUT"])
@blueprint.arguments(CashReversalRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    CashierCannotSupervise,
    NotFound,
    IdReused,
    CashReversed,
    ReversalDayOver,
    ShiftNotOpen,
    CashSpent,
)
@blueprint.alt_response(201, schema=CashReversalReply, description="Taken back now.")
@blueprint.response(200, CashReversalReply)
@logged("cash_top_up.reverse", subject="top_up_id")
def reverse_cash_top_up(request: dict[str, Any], top_up_id: UUID, reversal_id: UUID) -> Any:
    """Take a cash top-up back (冲正): all of it, once, on the same day, by another person."""
    who: OperatorCaller = caller()
    who.must_be(*SUPERVISORS)
    with transaction() as session:
        reversal, first = service.reverse(
            session,
            reversal_id=reversal_id,
            top_up_id=top_up_id,
            reason=request["reason"],
            supervisor=who,
            now=clock.now(),
        )
        return _reversals(session, [reversal])[0], 201 if first else 200


@blueprint.route("/top-ups/<uuid:top_up_id>/reversals/<uuid:reversal_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, CashReversalReply)
def read_cash_reversal(top_up_id: UUID, reversal_id: UUID) -> dict[str, Any]:
    """Show a reversal."""
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    with transaction() as session:
        reversal = service.find_reversal(
            session, top_up_id=top_up_id, reversal_id=reversal_id, operator=who
        )
        return _reversals(session, [reversal])[0]


@blueprint.route("/reversals", methods=["GET"])
@blueprint.arguments(PageQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, CashReversalList)
def list_cash_reversals(query: dict[str, Any]) -> dict[str, Any]:
    """List reversals, newest first; cashiers of logistics see those of their own top-ups."""
    who: OperatorCaller = caller()
    who.must_be(*MAY_LOOK)
    with transaction() as session:
        found = page(
            service.list_reversals(
                session,
                operator=who,
                before=place_of(query.get("cursor")),
                limit=query["limit"] + 1,
            ),
            limit=query["limit"],
            at="reversed_at",
        )
        return found | {"items": _reversals(session, found["items"])}


def _top_ups(session: Session, found: Sequence[CashTopUp]) -> list[dict[str, Any]]:
    reversals = service.reversals_of(session, found)
    told = {
        reversal["top_up_id"]: reversal for reversal in _reversals(session, [*reversals.values()])
    }
    holders = viewing.holders_by_id(session, [top_up.holder_id for top_up in found])
    names = operators.usernames(session, {top_up.cashier_id for top_up in found})
    desks = service.desks_of(session, {top_up.shift_id for top_up in found})
    return [
        {
            "id": top_up.id,
            "shift_id": top_up.shift_id,
            "receipt_number": top_up.receipt_number,
            "holder_number": holders[top_up.holder_id].holder_number,
            "name_masked": masked_name(holders[top_up.holder_id].name),
            "category": holders[top_up.holder_id].category,
            "purpose": top_up.purpose,
            "amount_fen": top_up.amount_fen,
            "balance_fen": top_up.balance_fen,
            "desk": desks[top_up.shift_id],
            "cashier": names.get(top_up.cashier_id, ""),
            "note": top_up.note,
            "business_date": top_up.business_date,
            "taken_at": top_up.taken_at,
            "reversal": told.get(top_up.id),
        }
        for top_up in found
    ]


def _reversals(session: Session, found: Sequence[CashReversal]) -> list[dict[str, Any]]:
    names = operators.usernames(session, {reversal.supervisor_id for reversal in found})
    numbers = service.receipt_numbers(session, {reversal.top_up_id for reversal in found})
    return [
        {
            "id": reversal.id,
            "top_up_id": reversal.top_up_id,
            "receipt_number": numbers[reversal.top_up_id],
            "amount_fen": reversal.amount_fen,
            "balance_fen": reversal.balance_fen,
            "reason": reversal.reason,
            "supervisor": names.get(reversal.supervisor_id, ""),
            "reversed_at": reversal.reversed_at,
        }
        for reversal in found
    ]
