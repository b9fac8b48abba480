"""HTTP for issue batches: class lists, receipts, deferrals, what is overdue."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cards.rules import TransitionNotPossible
from backend.cards.service import CARD_REFUSALS
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.issues import exchanges, handing_out, service
from backend.issues.handing_out import ItemDecided, OutcomeNotPossible
from backend.issues.models import BatchKind, IssueBatch, IssueDecision, Outcome
from backend.issues.rules import counts
from backend.issues.schemas import (
    IssueBatchesQuery,
    IssueBatchList,
    IssueBatchReply,
    IssueBatchRequest,
    ItemDecisionReply,
    ItemDecisionRequest,
    ItemReceiptRequest,
    OverdueExchangeList,
)
from backend.issues.service import ISSUERS, MAY_LOOK, Item, NothingToIssue
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "issue-batches",
        __name__,
        url_prefix="/staff/issue-batches",
        description="Staff: handing cards out by class (发卡、换卡)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("", methods=["GET"])
@blueprint.arguments(IssueBatchesQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, IssueBatchList)
def list_issue_batches(query: dict[str, Any]) -> dict[str, Any]:
    """List batches, newest first; exchanges that are due are proposed by themselves."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = page_of(
            partial(
                service.list_batches,
                session,
                kind=None if query["kind"] == "all" else BatchKind(query["kind"]),
                closed=None if query["state"] == "all" else query["state"] == "closed",
            ),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="made_at",
        )
        return found | {"items": _summaries(session, found["items"])}


@blueprint.route("/overdue", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed)
@blueprint.response(200, OverdueExchangeList)
def list_overdue_exchanges() -> dict[str, Any]:
    """List new-student cards not exchanged in time (逾期未换), oldest first; they stay usable."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        found = exchanges.overdue(session, now=clock.now())
    return {
        "items": [
            {
                "batch_id": one.batch.id,
                "holder_id": one.holder.id,
                "holder_number": one.holder.holder_number,
                "name_masked": masked_name(one.holder.name),
                "unit": one.holder.unit,
                "due_on": one.item.due_on,
                "item_state": _state(one.item.outcome),
            }
            for one in found
        ]
    }


@blueprint.route("/<uuid:batch_id>", methods=["PUT"])
@blueprint.arguments(IssueBatchRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, IdReused, NothingToIssue)
@blueprint.alt_response(201, schema=IssueBatchReply, description="Made now.")
@blueprint.response(200, IssueBatchReply)
@logged("issue_batch.make", subject="batch_id")
def make_issue_batch(request: dict[str, Any], batch_id: UUID) -> Any:
    """List everybody of a class or department whose first card waits to be handed out.

    A retry gets the list as it was made; `GET` tells how it stands by now.
    """
    who = caller_in(*ISSUERS)
    with transaction() as session:
        batch, first = service.make_batch(
            session, batch_id=batch_id, operator=who, now=clock.now(), **request
        )
        return _as_made(_whole(session, batch)), 201 if first else 200


def _as_made(told: dict[str, Any]) -> dict[str, Any]:
    fresh = {"item_state": "waiting", "physical_card_state": "pending", "decided_at": None}
    return told | {
        "closed_at": None,
        "item_counts": counts([None] * len(told["items"])),
        "items": [item | fresh for item in told["items"]],
    }


@blueprint.route("/<uuid:batch_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, IssueBatchReply)
def read_issue_batch(batch_id: UUID) -> dict[str, Any]:
    """Show a batch with its class list: who has the card, who is still to come."""
    caller_in(*MAY_LOOK)
    with transaction() as session:
        return _whole(session, service.find_batch(session, batch_id=batch_id))


@blueprint.route(
    "/<uuid:batch_id>/items/<uuid:holder_id>/receipts/<uuid:receipt_id>", methods=["PUT"]
)
@blueprint.arguments(ItemReceiptRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ItemDecided,
    *CARD_REFUSALS,
    TransitionNotPossible,
)
@blueprint.alt_response(201, schema=ItemDecisionReply, description="Handed out now.")
@blueprint.response(200, ItemDecisionReply)
@logged("issue_batch.hand_out", subject="receipt_id", holder="holder_id")
def hand_out_card(
    request: dict[str, Any], batch_id: UUID, holder_id: UUID, receipt_id: UUID
) -> Any:
    """Hand a card out against a signature (签收): it is active from now on.

    In an exchange the new-student card is void from now on; account, phone and balance stay.
    """
    who = caller_in(*ISSUERS)
    with transaction() as session:
        decision, first = handing_out.hand_out(
            session,
            receipt_id=receipt_id,
            batch_id=batch_id,
            holder_id=holder_id,
            operator=who,
            now=clock.now(),
            **request,
        )
        return _told(session, decision), 201 if first else 200


@blueprint.route(
    "/<uuid:batch_id>/items/<uuid:holder_id>/decisions/<uuid:decision_id>", methods=["PUT"]
)
@blueprint.arguments(ItemDecisionRequest)
@raises(
    blueprint,
    Unauthenticated,
    RoleNotAllowed,
    NotFound,
    IdReused,
    ItemDecided,
    OutcomeNotPossible,
    TransitionNotPossible,
)
@blueprint.alt_response(201, schema=ItemDecisionReply, description="Decided now.")
@blueprint.response(200, ItemDecisionReply)
@logged("issue_batch.decide", subject="decision_id", holder="holder_id")
def decide_item(request: dict[str, Any], batch_id: UUID, holder_id: UUID, decision_id: UUID) -> Any:
    """Note that somebody never came (the card is void), or gets the card later (缓领)."""
    who = caller_in(*ISSUERS)
    with transaction() as session:
        decision, first = handing_out.decide(
            session,
            decision_id=decision_id,
            batch_id=batch_id,
            holder_id=holder_id,
            operator=who,
            now=clock.now(),
            **request,
        )
        return _told(session, decision), 201 if first else 200


def _state(outcome: Outcome | None) -> str:
    return outcome.value if outcome else "waiting"


def _summaries(session: Session, batches: Sequence[IssueBatch]) -> list[dict[str, Any]]:
    outcomes = service.outcomes_of(session, [batch.id for batch in batches])
    names = operators.usernames(session, {batch.made_by for batch in batches if batch.made_by})
    return [
        {
            "id": batch.id,
            "kind": batch.kind,
            "unit": batch.unit,
            "note": batch.note,
            "due_on": batch.due_on,
            "made_by": names.get(batch.made_by) if batch.made_by else None,
            "made_at": batch.made_at,
            "closed_at": batch.closed_at,
            "item_counts": counts(outcomes[batch.id]),
        }
        for batch in batches
    ]


def _whole(session: Session, batch: IssueBatch) -> dict[str, Any]:
    items = [_item(item) for item in service.items_of(session, batch)]
    return _summaries(session, [batch])[0] | {"items": items}


def _item(one: Item) -> dict[str, Any]:
    return {
        "holder_id": one.holder.id,
        "holder_number": one.holder.holder_number,
        "name_masked": masked_name(one.holder.name),
        "unit": one.holder.unit,
        "due_on": one.item.due_on,
        "item_state": _state(one.item.outcome),
        "physical_card_state": one.card and one.card.state,
        "decided_at": one.decision and one.decision.decided_at,
    }


def _told(session: Session, decision: IssueDecision) -> dict[str, Any]:
    names = operators.usernames(session, {decision.decided_by})
    return {
        name: getattr(decision, name) for name in ItemDecisionReply().fields if name != "operator"
    } | {"operator": names.get(decision.decided_by, "")}
