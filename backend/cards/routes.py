"""HTTP for the holder's card: look at it, bind it to oneself, unbind it."""

from typing import Any

from flask_smorest import Blueprint

from backend import clock
from backend.cards import binding, delegations, service
from backend.cards.binding import (
    AlreadyBound,
    PaymentIdentityMismatch,
    PaymentIdentityUnavailable,
    RestoreFirst,
)
from backend.cards.rules import TransitionNotPossible
from backend.cards.schemas import BindingReply, BindingRequest, MeReply, PaymentIdentityRequest
from backend.cards.service import CARD_REFUSALS, AccountClosed
from backend.db import transaction
from backend.holders import identity, login
from backend.holders.identity import IdentityNotMatched, IdentityStepExpired, TooManyTries
from backend.holders.login import HolderCaller, NotBound
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.operation_log.refusals import logged
from payments import PlatformError, RealNameResult

blueprint = guard(
    Blueprint("card", __name__, url_prefix="/me", description="The holder's card (校园卡)"),
    "holder",
    login.authenticate,
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
