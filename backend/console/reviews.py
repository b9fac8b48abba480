"""Reviews (复核): what terminals told late and a person has to look at."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from backend import clock
from backend.cases import service
from backend.cases.models import Ruling
from backend.cases.service import Review
from backend.console import access, forms
from backend.db import transaction
from backend.holders import viewing
from backend.http.paging import page_of
from backend.operation_log.refusals import logged
from backend.operators import service as operators

MOST = 50
MOST_REASON = 500

blueprint = Blueprint("reviews", __name__, url_prefix="/reviews")


@blueprint.get("")
def show() -> str:
    """List reviews, those that wait for somebody unless others are asked for."""
    wanted = request.args.get("state", service.OPEN)
    state = wanted if wanted in service.STATES else None
    with transaction() as session:
        found = page_of(
            partial(service.list_reviews, session, role=access.operator().role, state=state),
            cursor=request.args.get("cursor"),
            limit=MOST,
            at="received_at",
        )
        return render_template(
            "console/reviews.html",
            state=state,
            states=service.STATES,
            reviews=found["items"],
            next_cursor=found["next_cursor"],
            holders=_holders(session, found["items"]),
        )


@blueprint.get("/<uuid:review_id>")
def look(review_id: UUID) -> str:
    """Show one review and, to those who may, how it can end."""
    with transaction() as session:
        return _page(session, review_id)


@blueprint.post("/<uuid:review_id>/resolution")
@logged("review.resolve", subject="review_id")
def resolve(review_id: UUID) -> Response:
    """Decide a review, for a reason in words."""
    who = access.operator_in(*service.MAY_RESOLVE)
    said, reason = request.form.get("decision", ""), forms.line("reason", most=MOST_REASON)
    if reason is None or said not in list(Ruling):
        abort(422)
    with transaction() as session:
        service.resolve(
            session,
            review_id=review_id,
            ruling=Ruling(said),
            reason=reason,
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.reviews.look", review_id=review_id), 303)


def _page(session: Session, review_id: UUID) -> str:
    who = access.operator()
    review = service.find(session, review_id=review_id, role=who.role)
    resolution = review.resolution
    names = operators.usernames(session, {resolution.operator_id} if resolution else set())
    return render_template(
        "console/review.html",
        review=review,
        upload=review.upload,
        holder=_holders(session, [review]).get(review.upload.holder_id),
        resolution=resolution,
        resolved_by=names.get(resolution.operator_id) if resolution else None,
        may_resolve=who.role in service.MAY_RESOLVE,
        most_reason=MOST_REASON,
    )


def _holders(session: Session, reviews: Sequence[Review]) -> dict[Any, Any]:
    known = [review.upload.holder_id for review in reviews if review.upload.holder_id]
    return dict(viewing.holders_by_id(session, known))
