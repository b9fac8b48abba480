"""Signals of lending (出借迹象): what a person looks at, and nothing follows from by itself.

Source: regulation 二(三): a card is for its holder's own use.  A phone that several people were
bound to in turn, and a card used at two distant places within a minute, are listed once each.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.cases.models import LendingSignal, SignalKind, SignalOutcome
from backend.clock import rfc3339
from backend.errors import DomainError, Kind
from backend.ids import content_hash, new_id
from backend.operation_log import service as operation_log
from backend.operators.models import Role
from backend.operators.service import OperatorCaller
from backend.rows import lock_row, newest_first

MAY_LOOK = (Role.CARD_CENTRE, Role.AUDITOR)
MAY_DECIDE = (Role.CARD_CENTRE,)
OPEN, DECIDED = "open", "decided"
STATES = (OPEN, DECIDED)
WITHIN = timedelta(minutes=1)
"""Nobody walks from one site to another in less."""
LOOK_BACK = timedelta(days=2)
"""How old what a terminal told may be: longer than a till stays without network."""
IN_TURN = timedelta(days=180)
"""Within which several people on one phone are a signal: phones are sold and inherited."""
USES = text("""
    WITH uses AS (
        SELECT holder_id, place, charged_at AS at, reference FROM charges
         WHERE charged_at >= :since AND holder_id IS NOT NULL AND NOT facts ? 'decided_at'
           AND (state = 'approved' OR reason = 'code-spent')
        UNION ALL
        SELECT holder_id, place, coalesce(device_at, decided_at), reference FROM passages
         WHERE decided_at >= :since AND holder_id IS NOT NULL
           AND (decision = 'allow' OR reason = 'code-spent')
        UNION ALL
        SELECT holder_id, place, decided_at, reference FROM late_uploads
         WHERE received_at >= :since AND holder_id IS NOT NULL AND kind = 'charge' AND accepted
    ), pairs AS (
        SELECT holder_id, place, at, reference, lag(place) OVER card AS place_before,
               lag(at) OVER card AS at_before, lag(reference) OVER card AS reference_before
          FROM uses WINDOW card AS (PARTITION BY holder_id ORDER BY at, reference)
    )
    SELECT * FROM pairs
     WHERE at - at_before <= :within
       AND split_part(place, ' ', 1) <> split_part(place_before, ' ', 1)
     ORDER BY at, reference
""")
"""Neighbours in time of one card, at different sites: a site is a place's first word, as in
第一食堂 3号窗.  A code that was refused because it, or a newer one, was used counts as a use."""
PHONES = text("""
    WITH phones AS (
        SELECT account_index AS phone, holder_id, activated_at AS at FROM bindings
         WHERE activated_at >= :since
        UNION ALL
        SELECT d.public_key, c.holder_id, d.granted_at
          FROM delegations d JOIN cards c ON c.id = d.card_id
         WHERE d.granted_at >= :since
    ), bound AS (
        SELECT phone, holder_id, max(at) AS at FROM phones GROUP BY phone, holder_id
    )
    SELECT phone, array_agg(holder_id ORDER BY at, holder_id) AS holder_ids, max(at) AS at
      FROM bound GROUP BY phone HAVING count(*) > 1
     ORDER BY max(at), phone
""")
"""A phone is a platform account, or the key with which it makes codes without network."""


class SignalDecided(DomainError, code="signal-decided", kind=Kind.CONFLICT):
    """Somebody has looked at it and found otherwise.  Fact: `outcome`."""


def find_due(session: Session, *, now: datetime) -> int:
    """List the signals that are not listed yet; return how many.  The same again lists none."""
    found = 0
    for use in session.execute(USES, {"since": now - LOOK_BACK, "within": WITHIN}).mappings():
        both = (
            {"place": use["place_before"], "at": rfc3339(use["at_before"]),
             "reference": use["reference_before"]},
            {"place": use["place"], "at": rfc3339(use["at"]), "reference": use["reference"]},
        )  # fmt: skip
        found += _list(
            session,
            kind=SignalKind.TWO_PLACES,
            holder_id=use["holder_id"],
            key=content_hash(use["reference_before"], use["reference"]),
            uses=list(both),
            holder_ids=[],
            seen_at=use["at"],
            now=now,
        )
    for phone in session.execute(PHONES, {"since": now - IN_TURN}).mappings():
        people = [str(id_) for id_ in phone["holder_ids"]]
        found += _list(
            session,
            kind=SignalKind.SEVERAL_PEOPLE,
            holder_id=phone["holder_ids"][-1],
            key=content_hash(bytes(phone["phone"]), sorted(people)),
            uses=[],
            holder_ids=people,
            seen_at=phone["at"],
            now=now,
        )
    return found


def _list(session: Session, *, now: datetime, **said: Any) -> int:
    made = session.execute(
        insert(LendingSignal)
        .values(id=new_id(), found_at=now, **said)
        .on_conflict_do_nothing(index_elements=[LendingSignal.key])
        .returning(LendingSignal.id)
    )
    return len(made.all())


def decide(
    session: Session,
    *,
    signal_id: UUID,
    outcome: SignalOutcome,
    reason: str,
    operator: OperatorCaller,
    now: datetime,
) -> tuple[LendingSignal, bool]:
    """Note what a person made of a signal; say whether this call was first.  Locks the signal.

    The card goes on: whoever wants to stop it does so at the counter, for a reason of its own.

    Raises:
        NotFound: there is no such signal.
        SignalDecided: somebody found otherwise.
    """
    signal = lock_row(session, LendingSignal, signal_id)
    if signal.outcome is not None:
        if (signal.outcome, signal.reason, signal.decided_by) != (
            outcome, reason, operator.operator_id,
        ):  # fmt: skip
            raise SignalDecided(outcome=signal.outcome.value)
        return signal, False
    signal.outcome, signal.reason = outcome, reason
    signal.decided_by, signal.decided_at = operator.operator_id, now
    operation_log.record(
        session,
        actor=operator.actor,
        action="lending_signal.decide",
        holder_id=signal.holder_id,
        subject_id=signal_id,
        now=now,
        after=outcome.value,
        kind=signal.kind.value,
        reason=reason,
    )
    session.flush()
    return signal, True


def list_signals(
    session: Session,
    *,
    state: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[LendingSignal]:
    """Return signals in one state, or all, newest first."""
    query = select(LendingSignal)
    if state is not None:
        waits = LendingSignal.outcome.is_(None)
        query = query.where(waits if state == OPEN else ~waits)
    return session.scalars(
        newest_first(query, LendingSignal.found_at, before=before, limit=limit)
    ).all()


def people_of(signals: Sequence[LendingSignal]) -> list[UUID]:
    """Return everybody whom signals are about."""
    named = {UUID(id_) for signal in signals for id_ in signal.holder_ids}
    return sorted(named | {signal.holder_id for signal in signals})
