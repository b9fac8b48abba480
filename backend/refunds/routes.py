"""HTTP for staff: refunds, what needs a person, and payouts by hand."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import viewing
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.limits import OperatorLimit
from backend.operators.second_person import SecondPersonNeeded
from backend.operators.service import (
    ConfirmationNeeded,
    RoleNotAllowed,
    caller_in,
)
from backend.refunds import handling, payouts
from backend.refunds.handling import (
    MAY_ACT,
    MAY_LOOK,
    ChannelHasIt,
    ChannelSilent,
    RefundEnded,
    RefundHasNoPurse,
    RefundOnItsWay,
)
from backend.refunds.models import ChannelRefund, Payout
from backend.refunds.payouts import PayoutDecided, PayoutNotPossible, PayoutWaits
from backend.refunds.schemas import (
    PayoutDecisionRequest,
    PayoutReply,
    PayoutRequest,
    StaffRefundFull,
    StaffRefundList,
    StaffRefundsQuery,
    StrangeRefundList,
)

MOST_STRANGE = 200

staff = guard(
    Blueprint(
        "staff-refunds",
        __name__,
        url_prefix="/staff/refunds",
        description="Staff: refunds at the channels (退款)",
    ),
    "operator",
    operators.authenticate,
)


@staff.route("", methods=["GET"])
@staff.arguments(StaffRefundsQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, CursorUnknown)
@staff.response(200, StaffRefundList)
def list_staff_refunds(query: dict[str, Any]) -> dict[str, Any]:
    """List refunds, newest first; those that need a person unless others are asked for."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(handling.list_refunds, session, wanted=query["state"], now=clock.now()),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="created_at",
        )
        return found | {"items": _replies(session, found["items"])}


@staff.route("/strange", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed)
@staff.response(200, StrangeRefundList)
def list_strange_refunds() -> dict[str, Any]:
    """List refunds that a channel told of and nobody here asked for, the newest 200.

    They were made in the merchant console, and moved no money here.
    """
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return {"items": handling.list_strange(session, limit=MOST_STRANGE)}


@staff.route("/<uuid:refund_id>", methods=["GET"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound)
@staff.response(200, StaffRefundFull)
def read_staff_refund(refund_id: UUID) -> dict[str, Any]:
    """Show one refund with its payouts and its history."""
    caller_in(*MAY_LOOK)
    return _full(refund_id)


@staff.route("/<uuid:refund_id>/query", methods=["POST"])
@raises(staff, Unauthenticated, RoleNotAllowed, NotFound, RefundEnded, ChannelSilent)
@staff.response(200, StaffRefundFull)
@logged("refund.ask_again", subject="refund_id")
def ask_again(refund_id: UUID) -> dict[str, Any]:
    """Ask the channel now how a refund stands; what it does not know is sent, under its number."""
    handling.ask_again(
        refund_id=refund_id,
        channels=parts().channels,
        operator=caller_in(*MAY_ACT),
        now=clock.now(),
    )
    return _full(refund_id)


@staff.route("/<uuid:refund_id>/return", methods=["POST"])
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    RefundEnded,
    RefundHasNoPurse,
    RefundOnItsWay,
    ChannelHasIt,
    ChannelSilent,
)
@staff.response(200, StaffRefundFull)
@logged("refund.give_up", subject="refund_id")
def give_up(refund_id: UUID) -> dict[str, Any]:
    """Send a refund no more and return its money to the purse.

    Only if the channel, asked afresh, does not know it or has closed it.  Money that belongs into
    no purse then waits to be paid by hand.
    """
    handling.give_up(
        refund_id=refund_id,
        channels=parts().channels,
        operator=caller_in(*MAY_ACT),
        now=clock.now(),
    )
    return _full(refund_id)


@staff.route("/<uuid:refund_id>/payouts/<uuid:payout_id>", methods=["PUT"])
@staff.arguments(PayoutRequest)
@raises(
    staff, Unauthenticated, RoleNotAllowed, NotFound, IdReused, PayoutNotPossible, PayoutWaits,
    OperatorLimit,
)  # fmt: skip
@staff.alt_response(201, schema=PayoutReply, description="Noted now.")
@staff.response(200, PayoutReply)
@logged("refund.payout_make", subject="payout_id")
def make_payout(body: dict[str, Any], refund_id: UUID, payout_id: UUID) -> Any:
    """Note that a refund which its channel cannot send was paid by hand.

    It counts when somebody else of finance approves it.
    """
    who = caller_in(*MAY_ACT)
    with transaction() as session:
        payout, first = payouts.make(
            session,
            payout_id=payout_id,
            refund_id=refund_id,
            bank_reference=body["bank_reference"],
            maker=who,
            now=clock.now(),
        )
        session.flush()
        answer = _payouts(session, [payout])[0]
    if not first:
        answer |= {"approved": None, "checker": None, "decided_at": None}
    return answer, 201 if first else 200


@staff.route("/<uuid:refund_id>/payouts/<uuid:payout_id>/decision", methods=["POST"])
@staff.arguments(PayoutDecisionRequest)
@raises(
    staff,
    Unauthenticated,
    RoleNotAllowed,
    ConfirmationNeeded,
    NotFound,
    PayoutDecided,
    SecondPersonNeeded,
    PayoutNotPossible,
)
@staff.alt_response(201, schema=PayoutReply, description="Decided now.")
@staff.response(200, PayoutReply)
@logged("refund.payout_decide", subject="payout_id")
def decide_payout(body: dict[str, Any], refund_id: UUID, payout_id: UUID) -> Any:
    """Approve or refuse a payout that somebody else made; the same again gets the first answer."""
    who = caller_in(*MAY_ACT)
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        payout, first = payouts.decide(
            session,
            payout_id=payout_id,
            refund_id=refund_id,
            approve=body["approve"],
            checker=who,
            now=clock.now(),
        )
        answer = _payouts(session, [payout])[0]
    return answer, 201 if first else 200


def _full(refund_id: UUID) -> dict[str, Any]:
    with transaction() as session:
        refund = handling.find(session, refund_id=refund_id)
        entries = operation_log.history_of(
            session, holder_id=refund.holder_id, subject_id=refund_id
        )
        names = operators.names_in_log(session, entries)
        return _replies(session, [refund])[0] | {
            "payouts": _payouts(session, payouts.payouts_of(session, refund_id=refund_id)),
            "history": [
                {
                    "at": entry.at,
                    "action": entry.action,
                    "channel": entry.channel,
                    "operator": names.get(entry.actor),
                }
                for entry in entries
            ],
        }


def _replies(session: Session, refunds: Sequence[ChannelRefund]) -> list[dict[str, Any]]:
    holders = viewing.holders_by_id(session, [refund.holder_id for refund in refunds])
    return [_reply(refund, holders[refund.holder_id]) for refund in refunds]


def _reply(refund: ChannelRefund, holder: Any) -> dict[str, Any]:
    same = (
        "id", "channel", "out_refund_no", "out_trade_no", "trade_no", "refund_no", "paid_fen",
        "amount_fen", "state", "answer", "tries", "created_at", "sent_at", "next_try_at",
        "settled_at",
    )  # fmt: skip
    return (
        {name: getattr(refund, name) for name in same}
        | {"refund_id": refund.subject_id}
        | viewing.masked(holder)
    )


def _payouts(session: Session, made: Sequence[Payout]) -> list[dict[str, Any]]:
    ids = {payout.maker_id for payout in made} | {p.checker_id for p in made if p.checker_id}
    names = operators.usernames(session, ids)
    return [
        {
            "id": payout.id,
            "bank_reference": payout.bank_reference,
            "maker": names.get(payout.maker_id, ""),
            "made_at": payout.made_at,
            "approved": payout.approved,
            "checker": payout.checker_id and names.get(payout.checker_id, ""),
            "decided_at": payout.decided_at,
        }
        for payout in made
    ]
