"""Passages that were kept for long enough: only how many there were is left."""

import secrets
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from factories import Device, make_gate, make_holder
from sqlalchemy import func, select

from backend import jobs
from backend.db import transaction
from backend.gates import retention
from backend.gates.models import Decision, Direction, Passage, PassageCount
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.uploads.models import LateUpload
from backend.uploads.rules import Outcome, UploadKind

LONG_AGO = datetime(2019, 3, 1, 15, 59, tzinfo=UTC)  # a minute before midnight in Shanghai
MINUTE = timedelta(minutes=1)
YEAR_2020 = datetime(2020, 1, 1, tzinfo=UTC)


def pass_gate(gate: Device, parts: Parts, *moments: datetime, allowed: bool = True) -> None:
    holder = make_holder(parts)
    with transaction() as session:
        session.add_all(
            Passage(
                id=new_id(), terminal_id=gate.id, place="图书馆", direction=Direction.IN,
                content_hash=b"", decision=Decision.ALLOW if allowed else Decision.DENY,
                reason=None, facts={}, settings_id=None, holder_id=holder.id, name_masked="王**",
                category="student", decided_at=moment, device_at=None, reference="x",
            )
            for moment in moments
        )  # fmt: skip


def counts(gate: Device) -> dict[tuple[date, str], int]:
    with transaction() as session:
        rows = session.scalars(select(PassageCount).where(PassageCount.terminal_id == gate.id))
        return {(row.day, row.decision.value): row.passages for row in rows}


def left(gate: Device) -> int:
    with transaction() as session:
        return (
            session.scalar(
                select(func.count()).select_from(Passage).where(Passage.terminal_id == gate.id)
            )
            or 0
        )


def forget(before: datetime) -> int:
    with transaction() as session:
        return retention.forget_old(session, before=before, policy_ids=[], now=YEAR_2020)


def test_old_ones_are_counted_by_the_day_in_shanghai(parts: Parts) -> None:
    gate = make_gate()
    pass_gate(gate, parts, LONG_AGO, LONG_AGO + MINUTE, LONG_AGO + 2 * MINUTE)
    pass_gate(gate, parts, LONG_AGO, allowed=False)
    pass_gate(gate, parts, YEAR_2020)
    assert forget(YEAR_2020) == 4
    assert left(gate) == 1
    assert counts(gate) == {
        (date(2019, 3, 1), "allow"): 1,
        (date(2019, 3, 1), "deny"): 1,
        (date(2019, 3, 2), "allow"): 2,
    }


def test_a_part_at_once_and_nothing_twice(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    gate = make_gate()
    pass_gate(gate, parts, *[LONG_AGO] * 5)
    assert [forget(YEAR_2020) for _ in range(4)] == [2, 2, 1, 0]
    assert counts(gate) == {(date(2019, 3, 1), "allow"): 5}


def tell_late(gate: Device, parts: Parts, kind: UploadKind, *, needs_review: bool) -> UUID:
    holder, upload_id = make_holder(parts), new_id()
    with transaction() as session:
        session.add(
            LateUpload(
                id=upload_id, kind=kind, terminal_id=gate.id, enrolled_at=LONG_AGO,
                sequence=secrets.randbelow(10**9), content_hash=b"", place="图书馆",
                holder_id=holder.id, accepted=True, conflicts=[], policy_ids=[],
                decided_at=LONG_AGO, received_at=LONG_AGO, outcome=Outcome.RECORDED,
                needs_review=needs_review, reference="x",
            )
        )  # fmt: skip
    return upload_id


def test_what_gates_told_late_keeps_its_place_without_the_person(parts: Parts) -> None:
    gate = make_gate()
    settled = tell_late(gate, parts, UploadKind.PASSAGE, needs_review=False)
    open_ = tell_late(gate, parts, UploadKind.PASSAGE, needs_review=True)
    charge = tell_late(gate, parts, UploadKind.CHARGE, needs_review=False)
    forget(YEAR_2020)
    with transaction() as session:
        named = {
            id_: session.get_one(LateUpload, id_).holder_id is not None
            for id_ in (settled, open_, charge)
        }
        session.get_one(LateUpload, open_).needs_review = False  # others read the list of these
    assert named == {settled: False, open_: True, charge: True}


def test_the_job_goes_by_the_policy_and_says_so(parts: Parts) -> None:
    gate, now = make_gate(), datetime(2021, 6, 1, tzinfo=UTC)
    last = now - timedelta(days=183)
    pass_gate(gate, parts, LONG_AGO, last - MINUTE, last)
    assert jobs.forget_passages(parts, now) >= 2  # of other gates, too
    assert left(gate) == 1
    with transaction() as session:
        entry = session.scalars(
            select(LogEntry).where(LogEntry.action == "passage.forget", LogEntry.at == now)
        ).one()
    assert (entry.actor, len(entry.policy_ids or ())) == ("system", 1)
    assert entry.facts["passages"] >= 2
