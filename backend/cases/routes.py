"""HTTP for reviews: what waits for a person, and what the person decides."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from backend import clock
from backend.cases import service
from backend.cases.schemas import ResolutionRequest, ReviewList, ReviewReply, ReviewsQuery
from backend.cases.service import Review, ReviewResolved, RulingNotPossible
from backend.db import transaction
from backend.errors import NotFound
from backend.holders import viewing
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, guard
from backend.http.paging import CursorUnknown, page_of
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from backend.operators import service as operators
from backend.operators.service import RoleNotAllowed, caller_in

blueprint = guard(
    Blueprint(
        "reviews",
        __name__,
        url_prefix="/staff/reviews",
        description="Staff: what was told late and needs a person (复核)",
    ),
    "operator",
    operators.authenticate,
)


@blueprint.route("", methods=["GET"])
@blueprint.arguments(ReviewsQuery, location="query")
@raises(blueprint, Unauthenticated, RoleNotAllowed, CursorUnknown)
@blueprint.response(200, ReviewList)
def list_reviews(query: dict[str, Any]) -> dict[str, Any]:
    """List what needs a person, newest first; finance sees charges only."""
    who = caller_in(*service.MAY_LOOK)
    state = None if query["state"] == "all" else query["state"]
    with transaction() as session:
        found = page_of(
            partial(service.list_reviews, session, role=who.role, state=state),
            cursor=query.get("cursor"),
            limit=query["limit"],
            at="received_at",
        )
        return found | {"items": _replies(session, found["items"])}


@blueprint.route("/<uuid:review_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound)
@blueprint.response(200, ReviewReply)
def read_review(review_id: UUID) -> dict[str, Any]:
    """Show one review."""
    who = caller_in(*service.MAY_LOOK)
    with transaction() as session:
        review = service.find(session, review_id=review_id, role=who.role)
        return _replies(session, [review])[0]


@blueprint.route("/<uuid:review_id>/resolution", methods=["POST"])
@blueprint.arguments(ResolutionRequest)
@raises(blueprint, Unauthenticated, RoleNotAllowed, NotFound, ReviewResolved, RulingNotPossible)
@blueprint.alt_response(201, schema=ReviewReply, description="Decided now.")
@blueprint.response(200, ReviewReply)
@logged("review.resolve", subject="review_id")
def resolve_review(request: dict[str, Any], review_id: UUID) -> Any:
    """Decide a review, for a reason that is kept; the same again gets the first answer."""
    who = caller_in(*service.MAY_RESOLVE)
    with transaction() as session:
        review, first = service.resolve(
            session,
            review_id=review_id,
            ruling=request["decision"],
            reason=request["reason"],
            operator=who,
            now=clock.now(),
        )
        answer = _replies(session, [review])[0]
    return answer, 201 if first else 200


def _replies(session: Session, reviews: Sequence[Review]) -> list[dict[str, Any]]:
    uploads = [review.upload for review in reviews]
    holders = viewing.holders_by_id(
        session, [upload.holder_id for upload in uploads if upload.holder_id]
    )
    names = operators.usernames(
        session, {review.resolution.operator_id for review in reviews if review.resolution}
    )
    return [
        _reply(review, holders.get(review.upload.holder_id or NOBODY), names) for review in reviews
    ]


NOBODY = UUID(int=0)


def _reply(review: Review, holder: Any, names: dict[UUID, str]) -> dict[str, Any]:
    upload, resolution = review.upload, review.resolution
    return {
        "id": upload.id,
        "kind": upload.kind,
        "state": review.state,
        "terminal_id": upload.terminal_id,
        "place": upload.place,
        "holder_number": holder and holder.holder_number,
        "name_masked": holder and masked_name(holder.name),
        "amount_fen": upload.amount_fen,
        "outcome": upload.outcome,
        "conflicts": upload.conflicts,
        "code_fault": upload.code_fault,
        "device_at": upload.decided_at,
        "received_at": upload.received_at,
        "record_id": upload.record_id,
        "reference": upload.reference,
        "decisions": review.rulings,
        "resolution": resolution
        and {
            "decision": resolution.ruling,
            "reason": resolution.reason,
            "operator": names.get(resolution.operator_id, ""),
            "resolved_at": resolution.resolved_at,
        },
    }
