"""HTTP for closings: at the counter, and at the phone where the school allows it."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.closings import counter, service
from backend.closings import own as own_closings
from backend.closings.counter import ClosingKindNotPossible, ExemptFromClosing
from backend.closings.models import Closing, ClosingKind, ClosingState
from backend.closings.own import OwnClosingOff
from backend.closings.rules import Check, CheckName, ClosingNotPossible
from backend.closings.schemas import (
    ClaimRequest,
    ClosingFull,
    ClosingList,
    ClosingReply,
    ClosingRequest,
    ClosingsQuery,
    OwnClosingPreview,
    OwnClosingReply,
    WaiverRequest,
)
from backend.closings.service import AlreadyClosing, CheckNotWaivable
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login, viewing
from backend.holders.login import HolderCaller, NotBound, StepUpRequired
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.ledger import service as ledger
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.models import Role
from backend.operators.service import RoleNotAllowed, caller_in
from backend.refunds import claims, payout_lines
from backend.refunds import service as refunds
from backend.refunds.claims import NothingToClaim
from backend.refunds.models import ClaimWay

MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.AUDITOR)
MAY_CLOSE = (Role.CARD_CENTRE,)
MAY_EXPORT = (Role.CARD_CENTRE, Role.AUDITOR)
"""Who takes a screening, and what is left of a batch, as a file."""

own = guard(
    Blueprint("closings", __name__, url_prefix="/me", description="Closing the account (销户)"),
    "holder",
    login.authenticate,
)
staff = guard(
    Blueprint(
        "staff-closings",
        __name__,
        url_prefix="/staff/closings",
        description="Staff: closing accounts (销户)",
    ),
    "operator",
    operators.authenticate,
)


@own.route("/closing", methods=["GET"])
@raises(own, Unauthenticated, NotBound, NotFound)
@own.response(200, OwnClosingReply)
def read_own_closing() -> dict[str, Any]:
    """Show how far the closing of the own account is, and what goes back where."""
    who: HolderCaller = caller()
    with transaction() as session:
        closing = service.live_closing(session, holder_id=who.holder_id)
        if closing is None:
            raise NotFound
        return _own(session, closing)


@own.route("/closing/preview", methods=["GET"])
@raises(own, Unauthenticated, NotBound)
@own.response(200, OwnClosingPreview)
def preview_own_closing() -> dict[str, Any]:
    """Show what stands against closing the own account, and where its money would go."""
    who: HolderCaller = caller()
    with transaction() as session:
        found = own_closings.preview(
            session, holder_id=who.holder_id, channels=parts().channels, now=clock.now()
        )
    return {
        "reason": found.refusal and found.refusal.code,
        "checks": _checks(found.checks, waived=()),
        "to_source": [
            {"channel": name, "amount_fen": fen} for name, fen in found.to_source.items()
        ],
        "to_list_fen": found.to_list_fen,
        "owed_fen": found.owed_fen,
        "subsidy_fen": found.subsidy_fen,
    }


@own.route("/closings/<uuid:closing_id>", methods=["PUT"])
@raises(
    own,
    Unauthenticated,
    NotBound,
    StepUpRequired,
    NotFound,
    IdReused,
    OwnClosingOff,
    AlreadyClosing,
)
@own.alt_response(201, schema=OwnClosingReply, description="Started now.")
@own.response(200, OwnClosingReply)
@logged("closing.start", subject="closing_id")
def request_closing(closing_id: UUID) -> Any:
    """Ask to close the own account, where the school allows it: from now on no card works.

    It needs a fresh login.
    """
    who: HolderCaller = caller()
    with transaction() as session:
        closing, first = own_closings.ask(session, closing_id=closing_id, who=who, now=clock.now())
        return _own(session, closing), 201 if first else 200


@own.route("/closings/<uuid:closing_id>", methods=["DELETE"])
@raises(own, Unauthenticated, NotBound, NotFound, ClosingNotPossible)
@own.response(200, OwnClosingReply)
@logged("closing.cancel", subject="closing_id")
def withdraw_closing(closing_id: UUID) -> dict[str, Any]:
    """Take the own request back before money moves; the cards stay frozen until the counter."""
    who: HolderCaller = caller()
    with transaction() as session:
        closing = own_closings.withdraw(
            session,
            closing_id=closing_id,
            holder_id=who.holder_id,
            actor=who.actor,
            now=clock.now(),
        )
        return _own(session, closing)


@own.route("/payout-claims/<uuid:claim_id>", methods=["PUT"])
@own.arguments(ClaimRequest)
@raises(own, Unauthenticated, NotBound, NotFound, IdReused, NothingToClaim)
@own.alt_response(201, schema=OwnClosingReply, description="Claimed now.")
@own.response(200, OwnClosingReply)
@logged("payout_line.claim", subject="claim_id")
def claim_payout(body: dict[str, Any], claim_id: UUID) -> Any:
    """Say how to get what the bank sent back (退票认领): by another account, or in person."""
    who: HolderCaller = caller()
    with transaction() as session:
        line, first = claims.claim(
            session,
            claim_id=claim_id,
            line_id=body["line_id"],
            holder_id=who.holder_id,
            way=ClaimWay(body["way"]),
            actor=who.actor,
            now=clock.now(),
        )
        closing = service.find(session, closing_id=line.subject_id)
        return _own(session, closing), 201 if first else 200


@staff.route("", methods=["GET"])
@staff.arguments(ClosingsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, ClosingList)
def list_closings(query: dict[str, Any]) -> dict[str, Any]:
    """List closings, newest first: all that go on, unless a state is asked for."""
    caller_in(*MAY_LOOK)
    states = [ClosingState(query["state"])] if "state" in query else service.GOING_ON
    with transaction() as session:
        found = page_of(
            partial(service.list_closings, session, states=states),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="started_at",
        )
        return found | {"items": told(session, found["items"])}


@staff.route("/<uuid:closing_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, ClosingFull)
def read_closing(closing_id: UUID) -> dict[str, Any]:
    """Show one closing: what stands against it, and where the money goes."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return full(session, service.find(session, closing_id=closing_id))


@staff.route("/<uuid:closing_id>", methods=["PUT"])
@staff.arguments(ClosingRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    AlreadyClosing,
    ClosingKindNotPossible,
    ExemptFromClosing,
)
@staff.alt_response(201, schema=ClosingFull, description="Started now.")
@staff.response(200, ClosingFull)
@logged("closing.start", subject="closing_id")
def start_closing(body: dict[str, Any], closing_id: UUID) -> Any:
    """Start to close an account: from now on no card works.  The kind fits who the holder is.

    The purses are emptied once nothing stands against it.
    """
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        holder_id = viewing.id_by_present_number(session, holder_number=body["holder_number"])
        about(holder_id=holder_id)
        closing, first = counter.start(
            session,
            closing_id=closing_id,
            holder_id=holder_id,
            kind=ClosingKind(body["kind"]),
            document=body["document"],
            operator=who,
            now=clock.now(),
        )
        session.flush()
        return full(session, closing), 201 if first else 200


@staff.route("/<uuid:closing_id>/waivers", methods=["POST"])
@staff.arguments(WaiverRequest)
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, CheckNotWaivable, ClosingNotPossible)
@staff.response(200, ClosingFull)
@logged("closing.waive", subject="closing_id")
def waive_check(body: dict[str, Any], closing_id: UUID) -> dict[str, Any]:
    """Let arrears, or the waiting for tills, stand against a closing no more; the debt stays."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        closing = service.waive(
            session,
            closing_id=closing_id,
            check=CheckName(body["check"]),
            reason=body["reason"],
            actor=who.actor,
            now=clock.now(),
        )
        return full(session, closing)


@staff.route("/<uuid:closing_id>/cancellation", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, ClosingNotPossible)
@staff.response(200, ClosingReply)
@logged("closing.cancel", subject="closing_id")
def cancel_closing(closing_id: UUID) -> dict[str, Any]:
    """Undo a closing that was a mistake, before money moves; its cards are frozen then."""
    who = caller_in(*MAY_CLOSE)
    with transaction() as session:
        closing = service.cancel(session, closing_id=closing_id, actor=who.actor, now=clock.now())
        return told(session, [closing])[0]


def told(session: Session, closings: Sequence[Closing]) -> list[dict[str, Any]]:
    """Return closings as they are answered."""
    holders = viewing.holders_by_id(session, [closing.holder_id for closing in closings])
    same = (
        "id", "kind", "document", "state", "started_at", "wait_until", "standing", "paid_fen",
        "withdrawn_fen", "settled_at", "closed_at",
    )  # fmt: skip
    return [
        {name: getattr(closing, name) for name in same} | viewing.masked(holders[closing.holder_id])
        for closing in closings
    ]


def full(session: Session, closing: Closing) -> dict[str, Any]:
    """Return one closing with its checks and where its money goes."""
    return told(session, [closing])[0] | {
        "checks": _checks(
            service.checks(session, closing=closing, now=clock.now()),
            waived=service.waived_of(closing),
        ),
        "parts": parts_of(session, closing),
        "balance_fen": ledger.balance_of(session, holder_id=closing.holder_id),
    }


def _checks(checks: Sequence[Check], *, waived: Collection[str]) -> list[dict[str, Any]]:
    return [
        {
            "check": check.name,
            "stands": check.stands,
            "waived": check.name in waived,
            "facts": check.facts,
        }
        for check in checks
    ]


def parts_of(session: Session, closing: Closing) -> list[dict[str, Any]]:
    """Return where the money goes: each refund at a channel, and each line of the payout list.

    A line stands for the refund that its channel could not send.
    """
    sent = refunds.of_subjects(session, [closing.id])[closing.id]
    lines = payout_lines.lines_of_subjects(session, [closing.id])[closing.id]
    listed = {line.refund_id for line in lines if line.state is not payout_lines.WITHDRAWN}
    return [
        {
            "channel": refund.channel,
            "amount_fen": refund.amount_fen,
            "state": refund.state,
            "line_id": None,
            "may_claim": False,
            "claim_way": None,
            "claim_accepted": None,
            "claim_refusal": None,
        }
        for refund in sent
        if refund.id not in listed
    ] + [
        {
            "channel": None,
            "amount_fen": line.amount_fen,
            "state": line.state,
            "line_id": line.id,
            "may_claim": claims.may_claim(line),
            "claim_way": line.claim_way,
            "claim_accepted": line.claim_accepted,
            "claim_refusal": line.claim_refusal,
        }
        for line in lines
        if line.state is not payout_lines.WITHDRAWN
    ]


def _own(session: Session, closing: Closing) -> dict[str, Any]:
    same = (
        "id", "kind", "state", "started_at", "wait_until", "closed_at", "paid_fen", "withdrawn_fen",
    )  # fmt: skip
    going_on = closing.state in (ClosingState.STARTED, ClosingState.SETTLING)
    checks = service.checks(session, closing=closing, now=clock.now()) if going_on else []
    return {name: getattr(closing, name) for name in same} | {
        "balance_fen": ledger.balance_of(session, holder_id=closing.holder_id),
        "parts": parts_of(session, closing),
        "checks": _checks(checks, waived=service.waived_of(closing)),
        "may_withdraw": going_on and own_closings.is_own(closing),
    }
