"""Refunds (退款): what needs a person, one refund's history, and what finance does about it."""

from functools import partial
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend import clock
from backend.console import access, forms
from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page_of
from backend.http.parts import parts
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.refunds import handling, payouts
from backend.refunds.handling import Wanted
from backend.refunds.models import RefundState
from backend.refunds.routes import MOST_STRANGE
from backend.refunds.rules import UNSETTLED
from backend.refunds.schemas import MOST_BANK_REFERENCE
from backend.topups.models import StrayPayment

MOST = 50

blueprint = Blueprint("refunds", __name__, url_prefix="/refunds")


@blueprint.get("")
def show() -> str:
    """List refunds; those that need a person unless others are asked for."""
    said = request.args.get("state", "")
    wanted = next((known for known in handling.LISTS if known == said), Wanted.NEEDS_A_PERSON)
    with transaction() as session:
        found = page_of(
            partial(handling.list_refunds, session, wanted=wanted, now=clock.now()),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="created_at",
        )
        return render_template(
            "console/refunds.html",
            wanted=wanted,
            lists=handling.LISTS,
            refunds=found["items"],
            next_cursor=found["next_cursor"],
            holders=viewing.holders_by_id(session, [row.holder_id for row in found["items"]]),
            strange=handling.list_strange(session, limit=MOST_STRANGE),
        )


@blueprint.get("/<uuid:refund_id>")
def look(refund_id: UUID) -> str:
    """Show one refund and, to those who may, what can be done about it."""
    who = access.operator()
    with transaction() as session:
        refund = handling.find(session, refund_id=refund_id)
        made = payouts.payouts_of(session, refund_id=refund_id)
        entries = operation_log.history_of(
            session, holder_id=refund.holder_id, subject_id=refund_id
        )
        people = {payout.maker_id for payout in made} | {p.checker_id for p in made if p.checker_id}
        waits = next((payout for payout in made if payout.approved is None), None)
        return render_template(
            "console/refund.html",
            refund=refund,
            holder=viewing.holders_by_id(session, [refund.holder_id])[refund.holder_id],
            payouts=made,
            names=operators.usernames(session, people),
            entries=entries,
            actors=operators.names_in_log(session, entries),
            stray=session.get(StrayPayment, refund.subject_id),
            may_give_up=refund.to_purse or refund.state is not RefundState.ABNORMAL,
            may_act=who.role in handling.MAY_ACT,
            goes_on=refund.state in UNSETTLED,
            may_pay_out=refund.state is RefundState.ABNORMAL and waits is None,
            waits=waits,
            made_by_me=waits is not None and waits.maker_id == who.operator_id,
            new_payout_id=new_id(),
            most_reference=MOST_BANK_REFERENCE,
        )


@blueprint.post("/<uuid:refund_id>/query")
@logged("refund.ask_again", subject="refund_id")
def ask_again(refund_id: UUID) -> Response:
    """Ask the channel now."""
    handling.ask_again(
        refund_id=refund_id,
        channels=parts().channels,
        operator=access.operator_in(*handling.MAY_ACT),
        now=clock.now(),
    )
    return _back(refund_id)


@blueprint.post("/<uuid:refund_id>/return")
@logged("refund.give_up", subject="refund_id")
def give_up(refund_id: UUID) -> Response:
    """Send it no more: the money returns."""
    handling.give_up(
        refund_id=refund_id,
        channels=parts().channels,
        operator=access.operator_in(*handling.MAY_ACT),
        now=clock.now(),
    )
    return _back(refund_id)


@blueprint.post("/<uuid:refund_id>/payouts/<uuid:payout_id>")
@logged("refund.payout_make", subject="payout_id")
def make_payout(refund_id: UUID, payout_id: UUID) -> Response:
    """Note a payment by hand.  The page made the id, so a form sent twice is one payout."""
    who = access.operator_in(*handling.MAY_ACT)
    reference = forms.line("bank_reference", most=MOST_BANK_REFERENCE)
    if reference is None:
        abort(422)
    with transaction() as session:
        payouts.make(
            session,
            payout_id=payout_id,
            refund_id=refund_id,
            bank_reference=reference,
            maker=who,
            now=clock.now(),
        )
    return _back(refund_id)


@blueprint.post("/<uuid:refund_id>/payouts/<uuid:payout_id>/decision")
@logged("refund.payout_decide", subject="payout_id")
def decide_payout(refund_id: UUID, payout_id: UUID) -> Response:
    """Approve or refuse what somebody else paid by hand."""
    who, approve = access.operator_in(*handling.MAY_ACT), forms.decision()
    who.must_have_confirmed(clock.now())
    with transaction() as session:
        payouts.decide(
            session,
            payout_id=payout_id,
            refund_id=refund_id,
            approve=approve,
            checker=who,
            now=clock.now(),
        )
    return _back(refund_id)


def _back(refund_id: UUID) -> Response:
    return redirect(url_for("console.refunds.look", refund_id=refund_id), 303)
