"""HTTP for charges: read the code, call one service function, answer."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.cards.codes import CODE_REFUSALS, PresentedCode, read_code
from backend.cards.service import CARD_REFUSALS
from backend.charges import late, service
from backend.charges.late import DeclinedOffline
from backend.charges.models import Charge, ChargeReversal, ChargeState
from backend.charges.schemas import (
    ChargeReply,
    ChargeRequest,
    LateCharge,
    LateChargesRequest,
    ReversalReply,
    ReversalRequest,
)
from backend.charges.service import ChargeVoided, NotCharged, ReversalTooLarge
from backend.db import transaction
from backend.errors import DomainError, IdReused, NotFound, ServiceUnavailable
from backend.holders.limits import LimitExceeded, PaymentPaused
from backend.holders.permissions import NotPermitted
from backend.http import words
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.ledger.service import InsufficientBalance
from backend.operation_log.refusals import logged
from backend.terminals import service as terminals
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller, TerminalNotAllowed
from backend.uploads import routes as uploads
from backend.uploads.schemas import OutcomesReply
from qr import CodeError, Scope

blueprint = guard(
    Blueprint("charges", __name__, url_prefix="/charges", description="Scan and pay (扫码消费)"),
    "terminal",
    terminals.authenticate,
    terminals.authenticate_signed,
)


@blueprint.route("/<uuid:charge_id>", methods=["PUT"])
@blueprint.arguments(ChargeRequest)
@raises(
    blueprint,
    Unauthenticated,
    TerminalNotAllowed,
    NotFound,
    ChargeVoided,
    IdReused,
    *CODE_REFUSALS,
    *CARD_REFUSALS,
    NotPermitted,
    PaymentPaused,
    LimitExceeded,
    InsufficientBalance,
    DeclinedOffline,
    TooManyRequests,
    ServiceUnavailable,
)
@blueprint.alt_response(201, schema=ChargeReply, description="Charged now.")
@blueprint.response(200, ChargeReply)
def create_charge(request: dict[str, Any], charge_id: UUID) -> Any:
    """Charge the purse behind a card code, once.

    The till makes the id before it first sends and keeps it until it has an answer.  The same
    content again gets the first answer, whenever it comes; after a void it is refused as
    `charge-voided`, and `GET` tells how the charge stands.
    """
    who: TerminalCaller = caller()
    now = clock.now()
    code = _read(request["code"], who, now)
    with transaction() as session:
        outcome, first = service.charge(
            session,
            charge_id=charge_id,
            terminal=who,
            code=code,
            code_text=request["code"],
            amount_fen=request["amount_fen"],
            note=request.get("note"),
            now=now,
        )
    if refusal := service.refusal_of(outcome):
        raise code if first and isinstance(code, DomainError) else refusal
    # The first answer, for ever: what was reversed since is for `read_charge` to tell.
    return _charge(outcome) | {"reversed_fen": 0}, 201 if first else 200


def _read(text: str, who: TerminalCaller, now: datetime) -> PresentedCode | CodeError | DomainError:
    """Read a code; what keeps it from being read is for those only who have no answer yet."""
    own = parts()
    try:
        return read_code(
            text,
            need=Scope.PAY,
            key_ring=own.code_keys,
            issuer=own.settings.issuer,
            redis=own.redis,
            rates=own.rates,
            reader=str(who.terminal_id),
            now=now,
        )
    except (CodeError, TooManyRequests, ServiceUnavailable) as error:
        return error


def _charge(charged: Charge) -> dict[str, Any]:
    reason = charged.reason if charged.state is ChargeState.DECLINED else None
    total_fen = None if charged.amount_fen is None else charged.amount_fen + charged.surcharge_fen
    return {
        "id": charged.id,
        "state": charged.state,
        "reason": reason,
        "amount_fen": charged.amount_fen,
        "surcharge_fen": charged.surcharge_fen,
        "total_fen": total_fen,
        "reversed_fen": charged.reversed_fen,
        "balance_fen": charged.balance_fen,
        "holder": {"name_masked": charged.name_masked, "category": charged.category}
        if charged.name_masked
        else None,
        "display": words.display(
            f"charge-{charged.state}",
            name=charged.name_masked or "",
            total_fen=total_fen,
            balance_fen=charged.balance_fen,
        )
        if reason is None
        else words.refusal_display(reason, charged.facts),
        "charged_at": charged.charged_at,
        "server_time": charged.charged_at,
        "reference": charged.reference,
    }


@blueprint.route("/late", methods=["POST"])
@blueprint.arguments(LateChargesRequest)
@raises(blueprint, Unauthenticated, TerminalNotAllowed)
@blueprint.response(200, OutcomesReply)
def upload_charges(request: dict[str, Any]) -> dict[str, Any]:
    """Tell what was taken or declined without network (脱机上送); what was taken is posted.

    Each item has an outcome of its own, in the same order; the same item again gets the same.
    """
    who: TerminalCaller = caller()
    who.must_be(TerminalKind.TILL)
    return uploads.work(
        request["items"], schema=LateCharge(), accepted=ChargeState.APPROVED, record=late.record
    )


@blueprint.route("/<uuid:charge_id>", methods=["GET"])
@raises(blueprint, Unauthenticated, NotFound)
@blueprint.response(200, ChargeReply)
def read_charge(charge_id: UUID) -> dict[str, Any]:
    """Tell whether a charge went through."""
    with transaction() as session:
        return _charge(service.find(session, charge_id=charge_id, terminal=caller()))


@blueprint.route("/<uuid:charge_id>/void", methods=["PUT"])
@raises(blueprint, Unauthenticated, TerminalNotAllowed, NotFound)
@blueprint.alt_response(201, schema=ChargeReply, description="Voided now.")
@blueprint.response(200, ChargeReply)
@logged("charge.void", subject="charge_id")
def void_charge(charge_id: UUID) -> Any:
    """Give a charge in doubt up: it is undone, or declined should it still come.

    Sent again, it gets the same answer.
    """
    with transaction() as session:
        charged, news = service.void(
            session, charge_id=charge_id, terminal=caller(), now=clock.now()
        )
    return _charge(charged), 201 if news else 200


@blueprint.route("/<uuid:charge_id>/reversals/<uuid:reversal_id>", methods=["PUT"])
@blueprint.arguments(ReversalRequest)
@raises(
    blueprint,
    Unauthenticated,
    TerminalNotAllowed,
    NotFound,
    IdReused,
    NotCharged,
    ReversalTooLarge,
)
@blueprint.alt_response(201, schema=ReversalReply, description="Reversed now.")
@blueprint.response(200, ReversalReply)
@logged("charge.reverse", subject="reversal_id")
def reverse_charge(request: dict[str, Any], charge_id: UUID, reversal_id: UUID) -> Any:
    """Give a charge back, whole or in part (冲正)."""
    with transaction() as session:
        reversal, first = service.reverse(
            session,
            charge_id=charge_id,
            reversal_id=reversal_id,
            terminal=caller(),
            amount_fen=request["amount_fen"],
            now=clock.now(),
        )
    return _reversal(reversal), 201 if first else 200


def _reversal(reversal: ChargeReversal) -> dict[str, Any]:
    return {
        "id": reversal.id,
        "charge_id": reversal.charge_id,
        "amount_fen": reversal.amount_fen,
        "surcharge_fen": reversal.surcharge_fen,
        "total_fen": reversal.amount_fen + reversal.surcharge_fen,
        "reversed_at": reversal.reversed_at,
        "reference": reversal.reference,
    }
