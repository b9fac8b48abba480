"""HTTP for the self-service kiosk (自助机): a lost card, its restoration, a found card."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards import found, loss
from backend.cards.counter_schemas import FoundCardReply, KioskFoundCardRequest
from backend.cards.loss import ChannelNotAllowed, NothingToReport, NothingToRestore, Replaced
from backend.cards.loss_routes import reused_if, told
from backend.cards.models import LossReport, Restoration
from backend.cards.rules import TransitionNotPossible
from backend.cards.schemas import (
    KioskLossRequest,
    KioskRestorationRequest,
    LossReply,
    RestorationReply,
)
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import identity
from backend.holders.identity import IdentityNotMatched, TooManyTries
from backend.holders.limits import holder_of
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import about, logged
from backend.terminals import service as terminals
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller, TerminalNotAllowed

KIOSK_TRIES_A_DAY = 5
"""Per person named at a kiosk: nobody finds out a document number there."""
KIOSK_FINDS_A_DAY = 50
"""Per kiosk: nobody stops cards by trying numbers there."""

blueprint = guard(
    Blueprint("kiosk", __name__, url_prefix="/kiosk", description="Self-service kiosk (自助机)"),
    "terminal",
    terminals.authenticate,
    terminals.authenticate_signed,
)


@blueprint.route("/loss-reports/<uuid:report_id>", methods=["PUT"])
@blueprint.arguments(KioskLossRequest)
@raises(
    blueprint,
    Unauthenticated,
    TerminalNotAllowed,
    NotFound,
    Replaced,
    IdentityNotMatched,
    IdReused,
    NothingToReport,
    TransitionNotPossible,
    TooManyRequests,
)
@blueprint.alt_response(201, schema=LossReply, description="Reported now.")
@blueprint.response(200, LossReply)
@logged("card.report_lost", subject="report_id")
def report_lost_at_kiosk(request: dict[str, Any], report_id: UUID) -> Any:
    """Report a physical card lost at a kiosk: by its number, or by person and document."""
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.KIOSK)
    now, own = clock.now(), parts()
    if number := request.get("holder_number"):
        asked = own.sealer.index("holder-number", number).hex()[:32]
        own.rates.count(f"kiosk-loss:{asked}", most=KIOSK_TRIES_A_DAY, seconds=86_400)
    with transaction() as session:
        report = loss.report_lost(
            session,
            report_id=report_id,
            holder_id=_about(_holder_at_kiosk(session, request, report_id)),
            credential="physical_card",
            stop_virtual_card=False,
            actor=who.actor,
            now=now,
        )
    return told(report), 201 if report.reported_at == now else 200


def _about(holder_id: UUID) -> UUID:
    """Return the holder whom a kiosk's operation is about, noted for the operation log."""
    about(holder_id=holder_id)
    return holder_id


def _holder_at_kiosk(session: Any, request: dict[str, Any], report_id: UUID) -> UUID:
    if "holder_number" in request:
        return identity.match_document(
            session,
            holder_number=request["holder_number"],
            document_number=request["document_number"],
            sealer=parts().sealer,
        ).id
    again = session.get(LossReport, report_id) is not None
    return loss.holder_by_card_number(session, number=request["card_number"], again=again)


@blueprint.route("/restorations/<uuid:restoration_id>", methods=["PUT"])
@blueprint.arguments(KioskRestorationRequest)
@raises(
    blueprint,
    Unauthenticated,
    TerminalNotAllowed,
    NotFound,
    Replaced,
    IdReused,
    IdentityNotMatched,
    ChannelNotAllowed,
    NothingToRestore,
    TooManyTries,
)
@blueprint.alt_response(201, schema=RestorationReply, description="Restored now.")
@blueprint.response(200, RestorationReply)
@logged("card.restore", subject="restoration_id")
def restore_at_kiosk(request: dict[str, Any], restoration_id: UUID) -> Any:
    """Put lost cards back in use at a kiosk: with the found card and the document."""
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.KIOSK)
    now, sealer = clock.now(), parts().sealer
    policy_ids: list[UUID] = []
    with transaction() as session:
        again = session.get(Restoration, restoration_id) is not None
        shown = request["card_number"]
        holder_id = _about(loss.holder_by_card_number(session, number=shown, again=again))
        earlier = loss.find_restoration(
            session,
            restoration_id=restoration_id,
            holder_id=holder_id,
            by=who.actor.name,
        )
        if earlier is None:
            policy_ids = loss.may_restore(session, channel="kiosk", logged_in_at=None, now=now)
        number = holder_of(session, holder_id=holder_id).holder_number
        identity.count_try(
            session,
            account_index=sealer.index("card", request["card_number"]),
            holder_number=number,
            sealer=sealer,
            now=now,
        )
    with transaction() as session:
        with reused_if(earlier):
            identity.match_document(
                session,
                holder_number=number,
                document_number=request["document_number"],
                sealer=sealer,
            )
        done = loss.restore(
            session,
            restoration_id=restoration_id,
            holder_id=holder_id,
            policy_ids=policy_ids,
            actor=who.actor,
            now=now,
        )
        identity.forget_tries(
            session,
            account_index=sealer.index("card", request["card_number"]),
            holder_number=number,
            sealer=sealer,
        )
    return done, 201 if done.restored_at == now else 200


@blueprint.route("/found-cards/<uuid:found_id>", methods=["PUT"])
@blueprint.arguments(KioskFoundCardRequest)
@raises(blueprint, Unauthenticated, TerminalNotAllowed, NotFound, IdReused, TooManyRequests)
@blueprint.alt_response(201, schema=FoundCardReply, description="Recorded now.")
@blueprint.response(200, FoundCardReply)
@logged("card.found", subject="found_id")
def record_found_card_at_kiosk(request: dict[str, Any], found_id: UUID) -> Any:
    """Record a found card (拾卡) that somebody brings to a kiosk.  Nothing tells whose it is."""
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.KIOSK)
    parts().rates.count(f"kiosk-found:{who.terminal_id}", most=KIOSK_FINDS_A_DAY, seconds=86_400)
    with transaction() as session:
        recorded, first = found.record(
            session,
            found_id=found_id,
            number=request["number"],
            place=who.place,
            actor=who.actor,
            now=clock.now(),
        )
    return recorded, 201 if first else 200
