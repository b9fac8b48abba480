"""Proposals (提议): one person proposes a change of policies, another approves it, as it stands.

Of several people at once: whoever decides first locks all policies, then the proposal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import rfc3339
from backend.errors import DomainError, Kind, NotFound
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.second_person import must_be_another
from backend.operators.service import OperatorCaller
from backend.policies import rules, service
from backend.policies.models import Policy, PolicyProposal, ProposalState
from backend.policies.rules import CATALOGUE, PRESETS
from backend.policies.service import policies_at
from backend.rows import find_row, first_answer, lock_id, lock_row, newest_first

LIFE = timedelta(hours=24)
"""A proposal that nobody has approved by then has lapsed."""
FURTHEST = timedelta(days=5 * 365)
MAY_LOOK = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS, Role.AUDITOR)
MAY_PROPOSE = (Role.CARD_CENTRE, Role.FINANCE, Role.LOGISTICS)
"""To some key at least; which, says the catalogue."""


class PolicyInvalid(DomainError, code="policy-invalid", kind=Kind.INVALID):
    """No such policy, or a value that it cannot have.  Facts: `key`, `fault`."""


class PoliciesDisordered(DomainError, code="policies-disordered", kind=Kind.CONFLICT):
    """A least would be above its most.  Facts: `key`, `above`, which would be below it."""


class PolicyMomentRefused(DomainError, code="policy-moment-refused", kind=Kind.CONFLICT):
    """Policies take effect now or later, within five years, and end after they began.

    The past stays as it was decided.
    """


class NothingToChange(DomainError, code="nothing-to-change", kind=Kind.CONFLICT):
    """All of it holds already."""


class ProposalLapsed(DomainError, code="proposal-lapsed", kind=Kind.CONFLICT):
    """Nobody approved it within 24 hours: it has to be made anew."""


class ProposalDecided(DomainError, code="proposal-decided", kind=Kind.CONFLICT):
    """Somebody has decided otherwise.  Fact: `state`."""


class ProposalChanged(DomainError, code="proposal-changed", kind=Kind.CONFLICT):
    """It no longer says what was proposed: nobody can approve it."""


class ProposalInForce(DomainError, code="proposal-in-force", kind=Kind.CONFLICT):
    """It holds by now: only another proposal changes it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to change."""

    changes: Mapping[str, Any]
    preset: str | None
    document_number: str
    reason: str
    valid_from: datetime | None
    """None: when it is approved."""
    valid_until: datetime | None = None
    """None: until something else is decided."""

    def content(self) -> dict[str, Any]:
        """Return it as plain words, to be hashed."""
        return {
            "changes": dict(self.changes),
            "preset": self.preset,
            "document_number": self.document_number,
            "reason": self.reason,
            "valid_from": self.valid_from and rfc3339(self.valid_from),
            "valid_until": self.valid_until and rfc3339(self.valid_until),
        }


def resolve(session: Session, asked: Asked, *, now: datetime) -> dict[str, Any]:
    """Return the changes that are meant, once they are known to be possible.

    A preset stands for those of its values that differ from what holds at that moment.

    Raises:
        PolicyInvalid: an unknown key or preset, or a value that the key cannot have.
        PolicyMomentRefused: in the past, too far away, or over before it begins.
        NothingToChange: the preset, and nothing beside it, holds already.
        PoliciesDisordered: a least above its most.
    """
    check_moments(asked.valid_from, asked.valid_until, now=now)
    at = asked.valid_from or now
    values = policies_at(session, at).values
    changes: dict[str, Any] = {}
    if asked.preset is not None:
        if asked.preset not in PRESETS:
            raise PolicyInvalid(key=asked.preset, fault="preset")
        changes = {
            key: value
            for key, value in PRESETS[asked.preset].items()
            if key not in values or values[key] != value
        }
    changes |= asked.changes
    if not changes:
        raise NothingToChange
    check(values, changes)
    return changes


def check(values: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Refuse values that keys cannot have, alone or beside what holds.

    Raises:
        PolicyInvalid, PoliciesDisordered: as `resolve`.
    """
    for key, value in changes.items():
        if fault := rules.fault_of(key, value):
            raise PolicyInvalid(key=key, fault=fault)
    if pair := rules.disordered({**values, **changes}):
        raise PoliciesDisordered(key=pair[0], above=pair[1])


def check_moments(at: datetime | None, until: datetime | None, *, now: datetime) -> None:
    """Refuse moments at which nothing can take effect, or end.

    Raises:
        PolicyMomentRefused: in the past, more than five years away, or an end before a beginning.
    """
    begins = now if at is None else at
    if not now <= begins <= now + FURTHEST:
        raise PolicyMomentRefused
    if until is not None and not begins < until <= now + FURTHEST:
        raise PolicyMomentRefused


def propose(
    session: Session, *, proposal_id: UUID, asked: Asked, maker: OperatorCaller, now: datetime
) -> tuple[PolicyProposal, bool]:
    """Propose a change, to be approved by somebody else; say whether this call was the first.

    Locks the proposal's id.

    Raises:
        NotFound: somebody else's proposal has this id.
        IdReused: `proposal_id` came before with other content.
        RoleNotAllowed: one of the keys is for other roles.
        PolicyInvalid, PolicyMomentRefused, NothingToChange, PoliciesDisordered: as `resolve`.
    """
    lock_id(session, proposal_id)
    content = rules.payload_hash(asked.content())
    earlier = first_answer(
        session,
        PolicyProposal,
        proposal_id,
        owner={"made_by": maker.operator_id},
        content_hash=content,
    )
    if earlier is not None:
        return earlier, False
    changes = resolve(session, asked, now=now)
    maker.must_be(*sorted(rules.proposers(changes)))
    proposal = PolicyProposal(
        id=proposal_id,
        content_hash=content,
        preset=asked.preset,
        changes=changes,
        document_number=asked.document_number,
        reason=asked.reason,
        valid_from=asked.valid_from,
        valid_until=asked.valid_until,
        payload_hash=b"",
        state=ProposalState.WAITING,
        made_by=maker.operator_id,
        made_at=now,
    )
    proposal.payload_hash = _payload(proposal)
    session.add(proposal)
    _log(session, proposal, "policy.propose", maker, now=now)
    return proposal, True


def approve(
    session: Session, *, proposal_id: UUID, checker: OperatorCaller, now: datetime
) -> tuple[PolicyProposal, bool]:
    """Put a proposal in force, now or from its moment on; say whether this call was the first.

    What is executed is what was proposed, and still possible.  The database itself refuses one
    person for both.

    Raises:
        NotFound: there is no such proposal.
        RoleNotAllowed: one of its keys is for other roles.
        ProposalDecided: it was withdrawn, or somebody else approved it.
        SecondPersonNeeded: the caller made it.
        ProposalLapsed: it waited for a day.
        ProposalChanged: it was changed since.
        PolicyMomentRefused: its moment has passed.
        PolicyInvalid, PoliciesDisordered: what holds by then, or later, does not go with it.
        MomentTaken: another decision on one of its keys takes effect at the same moment.
    """
    proposal = _lock(session, proposal_id)
    checker.must_be(*sorted(rules.approvers(proposal.changes)))
    if proposal.state is not ProposalState.WAITING:
        if proposal.approved_by != checker.operator_id or proposal.withdrawn_at is not None:
            raise ProposalDecided(state=proposal.state.value)
        return proposal, False
    must_be_another(checker.operator_id, made_by=proposal.made_by)
    if has_lapsed(proposal, now=now):
        raise ProposalLapsed
    if proposal.payload_hash != _payload(proposal):
        raise ProposalChanged
    check_moments(proposal.valid_from, proposal.valid_until, now=now)
    at = proposal.valid_from or now
    former = policies_at(session, at)
    check(former.values, proposal.changes)
    proposal.state, proposal.approved_by = ProposalState.APPROVED, checker.operator_id
    proposal.approved_at, proposal.effective_at = now, at
    rows = [
        service.put_in_force(
            session,
            key=key,
            value=value,
            document_number=proposal.document_number,
            at=at,
            until=proposal.valid_until,
            proposal_id=proposal.id,
        )
        for key, value in sorted(proposal.changes.items())
    ]
    _check_order(session, since=at)
    before = {key: former.values.get(key) for key in proposal.changes}
    _log(session, proposal, "policy.approve", checker, rows=rows, before=before, now=now)
    return proposal, True


def withdraw(
    session: Session, *, proposal_id: UUID, reason: str, who: OperatorCaller, now: datetime
) -> tuple[PolicyProposal, bool]:
    """Take a proposal back before it takes effect, approved or not; say whether that was news.

    Raises:
        NotFound: there is no such proposal.
        RoleNotAllowed: one of its keys is for other roles.
        ProposalDecided: somebody else has withdrawn it.
        ProposalInForce: it holds by now.
        PoliciesDisordered: what was decided since does not go without it.
    """
    proposal = _lock(session, proposal_id)
    keys = proposal.changes
    who.must_be(*sorted(rules.proposers(keys) | rules.approvers(keys)))
    if proposal.state is ProposalState.WITHDRAWN:
        if proposal.withdrawn_by != who.operator_id:
            raise ProposalDecided(state=proposal.state.value)
        return proposal, False
    if proposal.effective_at is not None and proposal.effective_at <= now:
        raise ProposalInForce
    proposal.state, proposal.withdrawn_by = ProposalState.WITHDRAWN, who.operator_id
    proposal.withdrawn_at, proposal.withdrawn_reason = now, reason
    rows = rows_of(session, proposal_id=proposal.id)
    for row in rows:  # the database lets them go once the proposal is withdrawn
        service.take_back(session, row)
    _check_order(session, since=now)
    _log(session, proposal, "policy.withdraw", who, rows=rows, reason=reason, now=now)
    return proposal, True


def has_lapsed(proposal: PolicyProposal, *, now: datetime) -> bool:
    """Say whether a proposal has waited for too long."""
    return proposal.state is ProposalState.WAITING and now >= proposal.made_at + LIFE


def find(session: Session, *, proposal_id: UUID) -> PolicyProposal:
    """Return a proposal.

    Raises:
        NotFound: there is none.
    """
    return find_row(session, PolicyProposal, proposal_id)


def list_proposals(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[PolicyProposal]:
    """Return proposals, newest first."""
    query = select(PolicyProposal)
    return session.scalars(
        newest_first(query, PolicyProposal.made_at, before=before, limit=limit)
    ).all()


def waiting(session: Session, *, now: datetime) -> Sequence[PolicyProposal]:
    """Return the proposals that can still be approved, oldest first."""
    return session.scalars(
        select(PolicyProposal)
        .where(PolicyProposal.state == ProposalState.WAITING, PolicyProposal.made_at > now - LIFE)
        .order_by(PolicyProposal.made_at, PolicyProposal.id)
    ).all()


def coming(session: Session, *, now: datetime) -> Sequence[Policy]:
    """Return the rows that are decided and not yet in force, the next one first."""
    return session.scalars(
        select(Policy).where(Policy.valid_from > now).order_by(Policy.valid_from, Policy.key)
    ).all()


def in_force(session: Session, *, now: datetime) -> Sequence[Policy]:
    """Return the rows in force that the catalogue knows, by key."""
    ids = policies_at(session, now).ids
    rows = session.scalars(select(Policy).where(Policy.id.in_(ids.values()))).all()
    return sorted((row for row in rows if row.key in CATALOGUE), key=lambda row: row.key)


def history(session: Session, *, key: str) -> Sequence[Policy]:
    """Return all rows of a key, the newest first.

    Raises:
        NotFound: there is no such key.
    """
    if key not in CATALOGUE:
        raise NotFound
    return session.scalars(
        select(Policy).where(Policy.key == key).order_by(Policy.valid_from.desc())
    ).all()


def rows_of(session: Session, *, proposal_id: UUID) -> Sequence[Policy]:
    """Return the rows that a proposal brought, those among them that end it."""
    return session.scalars(
        select(Policy)
        .where(Policy.proposal_id == proposal_id)
        .order_by(Policy.key, Policy.valid_from)
    ).all()


def _check_order(session: Session, *, since: datetime) -> None:
    """Refuse to leave a least above its most at any moment that anything decided changes it.

    Raises:
        PoliciesDisordered: that is so.
    """
    keys = {key for pair in rules.NOT_ABOVE for key in pair}
    for moment in session.scalars(
        select(Policy.valid_from).where(Policy.key.in_(keys), Policy.valid_from > since).distinct()
    ).all():
        if pair := rules.disordered(policies_at(session, moment).values):
            raise PoliciesDisordered(key=pair[0], above=pair[1])


def _lock(session: Session, proposal_id: UUID) -> PolicyProposal:
    service.lock(session)
    return lock_row(session, PolicyProposal, proposal_id)


def _payload(proposal: PolicyProposal) -> bytes:
    return rules.payload_hash(
        {
            "changes": proposal.changes,
            "document_number": proposal.document_number,
            "reason": proposal.reason,
            "valid_from": proposal.valid_from and rfc3339(proposal.valid_from),
            "valid_until": proposal.valid_until and rfc3339(proposal.valid_until),
        }
    )


def _log(
    session: Session,
    proposal: PolicyProposal,
    action: str,
    who: OperatorCaller,
    *,
    now: datetime,
    rows: Sequence[Policy] = (),
    before: Any = None,
    **facts: Any,
) -> None:
    operation_log.record(
        session,
        actor=who.actor,
        action=action,
        subject_id=proposal.id,
        now=now,
        before=before,
        after=proposal.changes,
        policy_ids=[row.id for row in rows],
        document_number=proposal.document_number,
        valid_from=proposal.valid_from and rfc3339(proposal.valid_from),
        valid_until=proposal.valid_until and rfc3339(proposal.valid_until),
        preset=proposal.preset,
        **({"reason": proposal.reason} | facts),
    )
