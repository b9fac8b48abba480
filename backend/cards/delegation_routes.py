"""HTTP for what a phone may do without network: prove its key, renew, give up."""

from typing import Any
from uuid import UUID

from flask_smorest import Blueprint

from backend import clock
from backend.arrears.service import ArrearsOpen
from backend.cards import delegations
from backend.cards.delegations import ChallengeExpired, ProofWrong, WeakKey
from backend.cards.models import Delegation
from backend.cards.schemas import ChallengeReply, DelegationReply, DelegationRequest
from backend.cards.service import CARD_REFUSALS
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.login import NotBound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log.refusals import logged
from qr import read_delegation

blueprint = guard(
    Blueprint(
        "delegations",
        __name__,
        url_prefix="/me/delegations",
        description="Codes without network (脱机授权)",
    ),
    "holder",
    login.authenticate,
)


@blueprint.route("/challenges", methods=["POST"])
@raises(blueprint, Unauthenticated, NotBound, *CARD_REFUSALS)
@blueprint.response(201, ChallengeReply)
def make_challenge() -> delegations.Challenge:
    """Get what the phone has to sign with its key: `ecenrol1`, the challenge, the account."""
    with transaction() as session:
        return delegations.challenge(session, caller=caller(), now=clock.now())


@blueprint.route("/<uuid:delegation_id>", methods=["PUT"])
@blueprint.arguments(DelegationRequest)
@raises(
    blueprint,
    Unauthenticated,
    NotBound,
    NotFound,
    IdReused,
    *CARD_REFUSALS,
    ArrearsOpen,
    WeakKey,
    ChallengeExpired,
    ProofWrong,
    TooManyRequests,
)
@blueprint.alt_response(201, schema=DelegationReply, description="Granted now.")
@blueprint.response(200, DelegationReply)
@logged("card.delegate", subject="delegation_id")
def grant_delegation(request: dict[str, Any], delegation_id: UUID) -> Any:
    """Let the phone's key make codes for the card, for some days.

    Another phone's right ends at once; the same key is renewed.
    """
    own = parts()
    with transaction() as session:
        made, first = delegations.grant(
            session,
            delegation_id=delegation_id,
            caller=caller(),
            public_key=request["public_key"],
            proof=request["proof"],
            key_ring=own.code_keys,
            issuer=own.settings.issuer,
            now=clock.now(),
        )
        return _delegation(made), 201 if first else 200


def _delegation(made: Delegation) -> dict[str, Any]:
    said, _ = read_delegation(made.certificate)
    return {
        "id": made.id,
        "serial": made.serial,
        "certificate": made.certificate,
        "granted_at": made.granted_at,
        "expires_at": said.expires_at,
        "renew_at": made.renew_at,
        "cap_fen": said.cap_fen,
        "cap_count": said.cap_count,
    }


@blueprint.route("/<uuid:delegation_id>", methods=["DELETE"])
@raises(blueprint, Unauthenticated, NotBound, NotFound)
@blueprint.response(204)
@logged("card.give_up_delegation", subject="delegation_id")
def give_up_delegation(delegation_id: UUID) -> None:
    """Take back what the phone with this delegation may do without network."""
    with transaction() as session:
        delegations.give_up(session, delegation_id=delegation_id, caller=caller(), now=clock.now())
