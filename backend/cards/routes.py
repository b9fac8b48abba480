"""HTTP for the card: bind, look, show codes, report lost, restore."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from flask import Response, abort
from flask import request as http_request
from flask_smorest import Blueprint

from backend import clock
from backend.cards import binding, codes, delegations, found, loss, service
from backend.cards.binding import (
    AlreadyBound,
    PaymentIdentityMismatch,
    PaymentIdentityUnavailable,
    RestoreFirst,
)
from backend.cards.counter_schemas import FoundCardReply, KioskFoundCardRequest
from backend.cards.loss import (
    ChannelNotAllowed,
    NothingToReport,
    NothingToRestore,
    Replaced,
)
from backend.cards.models import LossReport, Restoration
from backend.cards.rules import NEEDED_FOR, TransitionNotPossible
from backend.cards.schemas import (
    BindingReply,
    BindingRequest,
    CodesReply,
    CodesRequest,
    ImageQuery,
    KioskLossRequest,
    KioskRestorationRequest,
    LossReply,
    LossRequest,
    MeReply,
    PaymentIdentityRequest,
    RestorationReply,
    RestorationRequest,
    RosterQuery,
    RosterReply,
)
from backend.cards.service import CARD_REFUSALS, AccountClosed
from backend.db import transaction
from backend.errors import IdReused, NotFound, ServiceUnavailable
from backend.holders import identity, login, permissions, roster
from backend.holders.identity import IdentityNotMatched, IdentityStepExpired, TooManyTries
from backend.holders.limits import PaymentPaused, holder_of
from backend.holders.login import HolderCaller, NotBound, StepUpRequired
from backend.holders.models import Holder, RosterSource
from backend.holders.permissions import NotPermitted
from backend.holders.roster import RosterReport, RosterUnreadable
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import about, logged
from backend.operators import service as operators
from backend.operators.service import OperatorCaller, RoleNotAllowed
from backend.policies.service import policies_at
from backend.terminals import service as terminals
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller, TerminalNotAllowed
from payments import PlatformError, RealNameResult
from qr import Scope
from qr.image import draw_png, draw_svg

KIOSK_TRIES_A_DAY = 5
"""Per person named at a kiosk: nobody finds out a document number there."""
KIOSK_FINDS_A_DAY = 50
"""Per kiosk: nobody stops cards by trying numbers there."""
SCOPES = {"pay": Scope.PAY, "gate": Scope.GATE}

blueprint = guard(
    Blueprint("card", __name__, url_prefix="/me", description="The holder's card (校园卡)"),
    "holder",
    login.authenticate,
)
kiosk = guard(
    Blueprint("kiosk", __name__, url_prefix="/kiosk", description="Self-service kiosk (自助机)"),
    "terminal",
    terminals.authenticate,
    terminals.authenticate_signed,
)


@blueprint.route("", methods=["GET"])
@raises(blueprint, Unauthenticated)
@blueprint.response(200, MeReply)
def read_me() -> dict[str, Any]:
    """Show who the caller is, the cards and the purses."""
    who: HolderCaller = caller()
    with transaction() as session:
        return {
            **service.overview(
                session, holder_id=who.bound_to, binding=who.binding, now=clock.now()
            ),
            "delegation_id": delegations.current_id(session, holder_id=who.bound_to),
        }


@blueprint.route("/binding", methods=["PUT"])
@blueprint.arguments(BindingRequest)
@raises(blueprint, Unauthenticated, IdentityNotMatched, *CARD_REFUSALS, AlreadyBound, TooManyTries)
@blueprint.response(200, BindingReply)
@logged("holder.verify_identity")
def verify_identity(request: dict[str, Any]) -> dict[str, Any]:
    """Prove who one is (实名绑定, first step): number, name and document as on the roster."""
    who: HolderCaller = caller()
    now, sealer = clock.now(), parts().sealer
    with transaction() as session:
        identity.count_try(
            session,
            account_index=who.account_index,
            holder_number=request["holder_number"],
            sealer=sealer,
            now=now,
        )
    with transaction() as session:
        holder, made = binding.verify_identity(
            session, caller=who, sealer=sealer, now=now, **request
        )
        return _binding(holder, made.state.value)


def _binding(holder: Holder, state: str) -> dict[str, Any]:
    return {
        "binding": state,
        "name_masked": masked_name(holder.name),
        "holder_number": holder.holder_number,
        "category": holder.category,
    }


@blueprint.route("/binding/payment-identity", methods=["POST"])
@blueprint.arguments(PaymentIdentityRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    IdentityStepExpired,
    PaymentIdentityMismatch,
    PaymentIdentityUnavailable,
    AccountClosed,
)
@blueprint.response(200, BindingReply)
@logged("holder.bind")
def verify_payment_identity(request: dict[str, Any]) -> dict[str, Any]:
    """Prove that the platform account is one's own (实名绑定, second step)."""
    who: HolderCaller = caller()
    now, own = clock.now(), parts()
    if who.bound_to is None:
        raise NotBound(binding=who.binding)
    result = RealNameResult.MATCH
    if who.binding != "active":
        with transaction() as session:
            name, document_number = identity.kept_for_payment_step(
                session, caller=who, sealer=own.sealer, now=now
            )
        try:
            result = own.platforms[who.platform].check_real_name(
                account_id=own.sealer.unseal("platform-account", who.account_sealed) or "",
                name=name,
                document_number=document_number,
                grant=request["grant"],
            )
        except PlatformError:
            result = RealNameResult.UNAVAILABLE
    with transaction() as session:
        holder = binding.activate(session, caller=who, result=result, now=now)
        return _binding(holder, "active")


@blueprint.route("/binding", methods=["DELETE"])
@raises(blueprint, Unauthenticated, RestoreFirst, TransitionNotPossible)
@blueprint.response(204)
@logged("holder.unbind")
def unbind() -> None:
    """Unbind (解绑): sessions and codes die, the money stays.  Not while a card is lost."""
    with transaction() as session:
        binding.unbind(session, caller=caller(), now=clock.now())


@blueprint.route("/codes", methods=["POST"])
@blueprint.arguments(CodesRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    *CARD_REFUSALS,
    NotPermitted,
    PaymentPaused,
    TooManyRequests,
    ServiceUnavailable,
)
@blueprint.response(200, CodesReply)
def issue_codes(request: dict[str, Any]) -> dict[str, Any]:
    """Make codes to show (动态码): four signed ones for two minutes, or one short one.

    A short code is for paying only; a gate gets signed codes whatever was asked.
    """
    who: HolderCaller = caller()
    now, own = clock.now(), parts()
    scope = SCOPES[request["scope"]]
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
        holder = holder_of(session, holder_id=who.holder_id)
        permissions.require(holder, NEEDED_FOR[scope])
        if scope is Scope.PAY and holder.payment_paused:
            raise PaymentPaused
        policies = policies_at(session, now)
        after = codes.newest_spent(session, card=card, scope=scope)
    own.rates.count(f"codes:{card.id}", most=policies["code.issues_per_minute"], seconds=60)
    kind = request.get("kind") or policies["code.pay_default"]
    lifetime = policies["code.lifetime_seconds"]
    refresh = policies["code.refresh_seconds"]
    if kind == "short" and scope is Scope.PAY:
        made = codes.issue_short(
            card=card, after=after, redis=own.redis, lifetime_seconds=lifetime, now=now
        )
    else:
        made = codes.issue_signed(
            card=card,
            scope=scope,
            after=after,
            key_ring=own.code_keys,
            issuer=own.settings.issuer,
            redis=own.redis,
            refresh_seconds=refresh,
            lifetime_seconds=lifetime,
            now=now,
        )
    return {"server_time": now, "refresh_after_seconds": refresh, "codes": made}


@blueprint.route("/codes", methods=["DELETE"])
@raises(blueprint, Unauthenticated, NotBound, *CARD_REFUSALS)
@blueprint.response(204)
@logged("card.burn_codes")
def burn_codes() -> None:
    """Make every code shown so far worthless, as after a screenshot."""
    who: HolderCaller = caller()
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
        codes.burn_codes(session, card=card, caller=who, now=clock.now())


@blueprint.route("/codes/image", methods=["GET"])
@blueprint.arguments(ImageQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound, NotFound, *CARD_REFUSALS, ServiceUnavailable)
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="image/svg+xml")
def draw_code(query: dict[str, Any]) -> Response:
    """Draw one of the caller's own codes as a QR picture."""
    who: HolderCaller = caller()
    own = parts()
    with transaction() as session:
        card = service.usable_virtual_card(session, holder_id=who.holder_id, now=clock.now())
    codes.check_own(
        query["text"],
        card=card,
        key_ring=own.code_keys,
        issuer=own.settings.issuer,
        redis=own.redis,
        now=clock.now(),
    )
    if query["format"] == "png":
        picture = Response(draw_png(query["text"]), content_type="image/png")
    else:
        picture = Response(draw_svg(query["text"]), content_type="image/svg+xml")
    picture.headers["Cache-Control"] = "no-store"
    return picture


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
    return _loss(report), 201 if report.reported_at == now else 200


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
    return _loss(report) | {"terminals": informed}


def _loss(report: LossReport) -> dict[str, Any]:
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
        with _reused_if(earlier):
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
def _reused_if(earlier: Restoration | None) -> Iterator[None]:
    """Tell a document that is not the holder's as another content, where there was one before."""
    try:
        yield
    except IdentityNotMatched as error:
        raise (IdReused() if earlier else error) from None


@kiosk.route("/loss-reports/<uuid:report_id>", methods=["PUT"])
@kiosk.arguments(KioskLossRequest)
@raises(
    kiosk,
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
@kiosk.alt_response(201, schema=LossReply, description="Reported now.")
@kiosk.response(200, LossReply)
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
    return _loss(report), 201 if report.reported_at == now else 200


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


@kiosk.route("/restorations/<uuid:restoration_id>", methods=["PUT"])
@kiosk.arguments(KioskRestorationRequest)
@raises(
    kiosk,
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
@kiosk.alt_response(201, schema=RestorationReply, description="Restored now.")
@kiosk.response(200, RestorationReply)
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
        with _reused_if(earlier):
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


@kiosk.route("/found-cards/<uuid:found_id>", methods=["PUT"])
@kiosk.arguments(KioskFoundCardRequest)
@raises(kiosk, Unauthenticated, TerminalNotAllowed, NotFound, IdReused, TooManyRequests)
@kiosk.alt_response(201, schema=FoundCardReply, description="Recorded now.")
@kiosk.response(200, FoundCardReply)
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


staff = guard(
    Blueprint(
        "staff-roster",
        __name__,
        url_prefix="/staff/roster-imports",
        description="Staff: the roster (名册)",
    ),
    "operator",
    operators.authenticate,
)


ROSTER_MEDIA_TYPES = (
    "text/csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
ROSTER_FILE = {
    "description": "CSV (UTF-8 or GB 18030) or XLSX, headed in Chinese or English.",
    "required": True,
    "content": {
        media_type: {"schema": {"type": "string", "format": "binary"}}
        for media_type in ROSTER_MEDIA_TYPES
    },
}


@staff.route("", methods=["POST"])
@staff.doc(requestBody=ROSTER_FILE)
@staff.arguments(RosterQuery, location="query")
@raises(staff, Unauthenticated, RoleNotAllowed, RosterUnreadable, IdReused)
@staff.response(200, RosterReply)
@logged("roster.import")
def import_roster(query: dict[str, Any]) -> RosterReport:
    """Import a feed of people: the body is a CSV or XLSX file.

    Rows at fault are left out and named; a dry run writes nothing and reports the same.  With
    `whole`, people whom the list does not have are named; nothing is done to them.  A `batch_id`
    that was imported gets its report again.
    """
    who: OperatorCaller = caller()
    who.must_be(*roster.ROLE_SOURCES)
    own = roster.ROLE_SOURCES[who.role]
    source = query.get("source", own[0])
    if source not in own:
        raise RoleNotAllowed(
            roles=[role.value for role, may in roster.ROLE_SOURCES.items() if source in may]
        )
    if http_request.mimetype not in ROSTER_MEDIA_TYPES:
        abort(415)
    with transaction() as session:
        return roster.import_roster(
            session,
            content=http_request.get_data(cache=False),
            source=RosterSource(source),
            batch_id=query.get("batch_id"),
            whole=query["whole"],
            sealer=parts().sealer,
            actor=who.actor,
            now=clock.now(),
            dry_run=query["dry_run"],
            open_accounts=service.open_accounts_to_issue,
        )


import_roster.takes_files = True
