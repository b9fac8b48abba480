"""HTTP for a lost card (挂失): report it on the phone, restore it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import loss
from backend.cards.loss import ChannelNotAllowed, NothingToReport, NothingToRestore
from backend.cards.models import LossReport, Restoration
from backend.cards.rules import TransitionNotPossible
from backend.cards.schemas import LossReply, LossRequest, RestorationReply, RestorationRequest
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import identity, login
from backend.holders.identity import IdentityNotMatched, TooManyTries
from backend.holders.limits import holder_of
from backend.holders.login import HolderCaller, NotBound, StepUpRequired
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged

blueprint = guard(
    Blueprint("loss", __name__, url_prefix="/me", description="A lost card (挂失)"),
    "holder",
    login.authenticate,
)


@blueprint.route("/loss-reports/<uuid:report_id>", methods=["PUT"])
@blueprint.arguments(LossRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    NothingToReport,
    TransitionNotPossible,
)
@blueprint.alt_response(201, schema=LossReply, description="Reported now.")
@blueprint.response(200, LossReply)
@logged("card.report_lost", subject="report_id")
def report_lost(request: dict[str, Any], report_id: UUID) -> Any:
    """Report the physical card or the phone lost (挂失).  It is stopped when this answers."""
    who: HolderCaller = caller()
    with transaction() as session:
        report = loss.report_lost(
            session,
            report_id=report_id,
            holder_id=who.holder_id,
            actor=who.actor,
            now=(now := clock.now()),
            **request,
        )
    return told(report), 201 if report.reported_at == now else 200


@blueprint.route("/loss-reports/<uuid:report_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound, NotFound)
@blueprint.response(200, LossReply)
def read_loss_report(report_id: UUID) -> dict[str, Any]:
    """Show a loss report, and which terminals refuse by now what it stopped."""
    who: HolderCaller = caller()
    with transaction() as session:
        report, informed = loss.find_report(
            session, report_id=report_id, holder_id=who.holder_id, now=clock.now()
        )
    return told(report) | {"terminals": informed}


def told(report: LossReport) -> dict[str, Any]:
    """Return a loss report as it is answered."""
    return {
        "credential": report.credential,
        "reported_at": report.reported_at,
        **report.answer,
    }


@blueprint.route("/restorations/<uuid:restoration_id>", methods=["PUT"])
@blueprint.arguments(RestorationRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    ChannelNotAllowed,
    StepUpRequired,
    IdentityNotMatched,
    NothingToRestore,
    TooManyTries,
)
@blueprint.alt_response(201, schema=RestorationReply, description="Restored now.")
@blueprint.response(200, RestorationReply)
@logged("card.restore", subject="restoration_id")
def restore(request: dict[str, Any], restoration_id: UUID) -> Any:
    """Put lost cards back in use (解挂): a fresh login and the document's last six characters.

    A retry needs neither the channel nor a fresh login any more, but the same document: other
    content is a try too, so that nobody finds out a document number by repeating.
    """
    who: HolderCaller = caller()
    now, sealer = clock.now(), parts().sealer
    policy_ids: list[UUID] = []
    with transaction() as session:
        earlier = loss.find_restoration(
            session,
            restoration_id=restoration_id,
            holder_id=who.holder_id,
            by=who.actor.name,
        )
        if earlier is None:
            policy_ids = loss.may_restore(
                session, channel="mini_program", logged_in_at=who.logged_in_at, now=now
            )
        holder = holder_of(session, holder_id=who.holder_id)
        identity.count_try(
            session,
            account_index=who.account_index,
            holder_number=holder.holder_number,
            sealer=sealer,
            now=now,
        )
    with transaction() as session:
        with reused_if(earlier):
            identity.check_document_tail(
                session,
                holder_id=who.holder_id,
                last_six=request["document_last_six"],
                sealer=sealer,
            )
        done = loss.restore(
            session,
            restoration_id=restoration_id,
            holder_id=who.holder_id,
            policy_ids=policy_ids,
            actor=who.actor,
            now=now,
        )
        identity.forget_tries(
            session,
            account_index=who.account_index,
            holder_number=holder.holder_number,
            sealer=sealer,
        )
    return done, 201 if done.restored_at == now else 200


@contextmanager
def reused_if(earlier: Restoration | None) -> Iterator[None]:
    """Tell a document that is not the holder's as another content, where there was one before."""
    try:
        yield
    except IdentityNotMatched as error:
        raise (IdReused() if earlier else error) from None
