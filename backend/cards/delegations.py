"""Delegations (脱机授权): what lets a phone show codes while it has no network.

The school signs the phone's own key for some days; the phone signs the moment.  The key never
leaves the phone, and the right ends with anything that stops the card.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.arrears.service import ArrearsOpen
from backend.cards.models import Card, CardAlias, Delegation, DelegationChallenge
from backend.cards.service import usable_until, usable_virtual_card
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders.login import HolderCaller
from backend.holders.models import Holder, Permission
from backend.http.rates import TooManyRequests
from backend.ids import content_hash
from backend.operation_log import service as operation_log
from backend.policies.service import Policies, policies_at
from backend.rows import lock_id
from qr import EARLY, KeyRing, Scope, is_weak_key
from qr.codes import FEN_A_YUAN

CHALLENGE_BYTES = 32
CHALLENGE_LIFE = timedelta(minutes=5)
PURPOSE = b"ecenrol1"
"""What the phone signs begins with this, so that the signature is good for nothing else."""
SCOPE = Scope.PAY | Scope.GATE | Scope.DOOR
MOST_YUAN = 255
POLICIES = (
    "offline.delegation_hours",
    "offline.renew_hours",
    "offline.new_keys_a_day",
    "offline.per_sale_fen",
    "offline.per_card_count",
)


class ProofWrong(DomainError, code="proof-wrong", kind=Kind.CONFLICT):
    """The phone did not show that the key is its own."""


class ChallengeExpired(DomainError, code="challenge-expired", kind=Kind.CONFLICT):
    """There is no challenge for this login, or it is older than five minutes: get a new one."""


class WeakKey(DomainError, code="weak-key", kind=Kind.CONFLICT):
    """Anybody could sign for this key: make another one."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a phone has to sign: `ecenrol1`, then these two."""

    challenge: bytes
    account: bytes
    """Stands for the platform account, so that the proof serves nobody else."""
    expires_at: datetime


def challenge(session: Session, *, caller: HolderCaller, now: datetime) -> Challenge:
    """Return what the phone has to sign with a new key; an earlier challenge is void.

    Raises:
        NotBound, CardLost, CardFrozen, CardExpired, AccountClosed: as for codes.
    """
    usable_virtual_card(session, holder_id=caller.holder_id, now=now)
    session.execute(
        delete(DelegationChallenge).where(DelegationChallenge.session_id == caller.session_id)
    )
    made = DelegationChallenge(
        session_id=caller.session_id,
        challenge=secrets.token_bytes(CHALLENGE_BYTES),
        expires_at=now + CHALLENGE_LIFE,
    )
    session.add(made)
    return Challenge(made.challenge, caller.account_index, made.expires_at)


def grant(
    session: Session,
    *,
    delegation_id: UUID,
    caller: HolderCaller,
    public_key: bytes,
    proof: bytes,
    key_ring: KeyRing,
    issuer: str,
    now: datetime,
) -> tuple[Delegation, bool]:
    """Let a phone's key make codes for the caller's card; say whether this call was the first.

    The same content again gets the first answer, for ever.  Another key than the one in use ends
    that one's right at once: one phone a card.  The same key is renewed.  Locks the
    delegation's id, then the virtual card.

    Raises:
        NotFound: somebody else's delegation has this id.
        IdReused: `delegation_id` came before with other content.
        NotBound, CardLost, CardFrozen, CardExpired, AccountClosed: as for codes.
        ArrearsOpen: what was bought without network is not paid yet.
        WeakKey: a point of small order.
        ChallengeExpired: none is open for this login.
        ProofWrong: the key did not sign the challenge of this login.
        TooManyRequests: as many new keys as the policy allows came within a day.
    """
    lock_id(session, delegation_id)
    content = content_hash(public_key, proof)
    earlier = session.get(Delegation, delegation_id)
    if earlier is not None:
        if earlier.card_id not in _cards_of(session, caller.holder_id):
            raise NotFound
        if earlier.content_hash != content:
            raise IdReused
        return earlier, False
    card = usable_virtual_card(session, holder_id=caller.holder_id, now=now)
    session.refresh(card, with_for_update=True)
    if arrears_fen := arrears.open_fen(session, holder_id=caller.holder_id):
        raise ArrearsOpen(arrears_fen=arrears_fen)
    _check_possession(session, caller=caller, public_key=public_key, proof=proof, now=now)
    policies = policies_at(session, now)
    expires_at = min(
        now + timedelta(hours=policies["offline.delegation_hours"]),
        usable_until(session, holder_id=caller.holder_id),
    )
    current = find_current(session, card=card)
    if current is None or current.public_key != public_key:
        _count_new_keys(session, card, policies, now=now)
    _give_way(session, card, public_key, now=now)
    made = Delegation(
        id=delegation_id,
        serial=session.execute(select(func.nextval("delegations_serial_seq"))).scalar_one(),
        card_id=card.id,
        session_id=caller.session_id,
        public_key=public_key,
        content_hash=content,
        policy_ids=[str(id_) for id_ in policies.used(*POLICIES)],
        granted_at=now,
        expires_at=expires_at,
        renew_at=max(now, expires_at - timedelta(hours=policies["offline.renew_hours"])),
        codes_from=now - EARLY,
    )
    made.certificate = key_ring.issuer(issuer, now=now).delegate(
        public_key,
        serial=made.serial,
        scope=SCOPE,
        expires_at=made.expires_at,
        cap_yuan=min(policies["offline.per_sale_fen"] // FEN_A_YUAN, MOST_YUAN),
        cap_count=min(policies["offline.per_card_count"], MOST_YUAN),
    )
    session.add(made)
    session.flush()
    operation_log.record(
        session,
        actor=caller.actor,
        action="card.delegate",
        holder_id=card.holder_id,
        subject_id=made.id,
        now=now,
        serial=made.serial,
        renewal=current is not None and current.public_key == public_key,
    )
    return made, True


def _check_possession(
    session: Session, *, caller: HolderCaller, public_key: bytes, proof: bytes, now: datetime
) -> None:
    if is_weak_key(public_key):
        raise WeakKey
    asked = session.get(DelegationChallenge, caller.session_id, with_for_update=True)
    if asked is None or now >= asked.expires_at:
        raise ChallengeExpired
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            proof, PURPOSE + asked.challenge + caller.account_index
        )
    except InvalidSignature as error:
        raise ProofWrong from error
    session.delete(asked)


def _count_new_keys(session: Session, card: Card, policies: Policies, *, now: datetime) -> None:
    day = timedelta(days=1)
    recent = session.scalars(
        select(func.min(Delegation.granted_at).label("first"))
        .where(Delegation.card_id == card.id)
        .group_by(Delegation.public_key)
        .having(func.min(Delegation.granted_at) > now - day)
        .order_by("first")
    ).all()
    if len(recent) >= policies["offline.new_keys_a_day"]:
        raise TooManyRequests(
            retry_after=max(1, int((recent[0] + day - now).total_seconds()))
        ).decided_by(policies.used("offline.new_keys_a_day"))


def _give_way(session: Session, card: Card, public_key: bytes, *, now: datetime) -> None:
    """End what other keys may do, and let the same key's older delegation run out."""
    session.execute(
        update(Delegation)
        .where(
            Delegation.card_id == card.id,
            Delegation.public_key != public_key,
            Delegation.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    session.execute(
        update(Delegation)
        .where(
            Delegation.card_id == card.id,
            Delegation.superseded_at.is_(None),
            Delegation.revoked_at.is_(None),
        )
        .values(superseded_at=now)
    )


def find_current(session: Session, *, card: Card) -> Delegation | None:
    """Return the newest delegation of a card that was not taken back, or None."""
    return session.scalars(
        select(Delegation).where(
            Delegation.card_id == card.id,
            Delegation.superseded_at.is_(None),
            Delegation.revoked_at.is_(None),
        )
    ).one_or_none()


def current_id(session: Session, *, holder_id: UUID | None) -> UUID | None:
    """Return the id of what `find_current` finds for a holder's card, or None.

    A phone that holds another one has lost its right, and learns it here.
    """
    return session.scalars(
        select(Delegation.id)
        .join(Card, Card.id == Delegation.card_id)
        .where(
            Card.holder_id == holder_id,
            Delegation.superseded_at.is_(None),
            Delegation.revoked_at.is_(None),
        )
    ).one_or_none()


def give_up(session: Session, *, delegation_id: UUID, caller: HolderCaller, now: datetime) -> None:
    """Take back what the phone with this delegation's key may do.  Idempotent.

    Raises:
        NotBound: the binding is missing or not finished.
        NotFound: there is no such delegation of the caller.
    """
    found = session.get(Delegation, delegation_id)
    if found is None or found.card_id not in _cards_of(session, caller.holder_id):
        raise NotFound
    ended = session.execute(
        update(Delegation)
        .where(
            Delegation.card_id == found.card_id,
            Delegation.public_key == found.public_key,
            Delegation.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(Delegation.id)
    ).all()
    if ended:
        operation_log.record(
            session,
            actor=caller.actor,
            action="card.give_up_delegation",
            holder_id=caller.holder_id,
            subject_id=found.id,
            now=now,
        )


def _cards_of(session: Session, holder_id: UUID) -> set[UUID]:
    return set(session.scalars(select(Card.id).where(Card.holder_id == holder_id)))


def revoked_serials(session: Session, *, now: datetime) -> list[int]:
    """Return the delegations that were taken back and would still count: the revocation list."""
    return list(
        session.scalars(
            select(Delegation.serial)
            .where(Delegation.revoked_at.is_not(None), Delegation.expires_at >= now)
            .order_by(Delegation.serial)
        )
    )


def retired_aliases(session: Session, *, since: datetime) -> list[bytes]:
    """Return the aliases that cards gave up lately: codes with them may still be shown."""
    return list(
        session.scalars(
            select(CardAlias.alias).where(CardAlias.retired_at >= since).order_by(CardAlias.alias)
        )
    )


def barred(
    session: Session, permission: Permission | None, *, now: datetime
) -> tuple[list[bytes], list[int]]:
    """Return the aliases and the delegations of people who lack a permission (无此用途权限)."""
    if permission is None:
        return [], []
    held = (
        select(Card.alias, Card.id)
        .join(Holder, Holder.id == Card.holder_id)
        .where(Card.alias.is_not(None), Holder.denied.contains([permission.value]))
    )
    cards = session.execute(held).all()
    serials = session.scalars(
        select(Delegation.serial).where(
            Delegation.card_id.in_([card.id for card in cards]), Delegation.expires_at >= now
        )
    )
    return [card.alias for card in cards if card.alias], list(serials)
