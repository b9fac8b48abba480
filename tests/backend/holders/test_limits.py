"""The holder's own limits: lower at once, higher from tomorrow."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import make_person

from backend import clock
from backend.clock import business_date
from backend.db import transaction
from backend.holders import limits
from backend.http.parts import Parts
from backend.operation_log.service import SYSTEM

pytestmark = pytest.mark.usefixtures("app")
NOW = clock.now()
TOMORROW = NOW + timedelta(days=1)


def change(holder_id: UUID, *, paused: bool | None = None, **wanted: int | None) -> dict[str, Any]:
    """Change limits today, and return what holds."""
    with transaction() as session:
        holder = limits.change_limits(
            session, holder_id=holder_id, wanted=wanted, paused=paused, actor=SYSTEM, now=NOW
        )
        return limits.limits_of(holder, now=NOW)


def tomorrow(holder_id: UUID) -> dict[str, Any]:
    """Return what holds tomorrow."""
    with transaction() as session:
        return limits.limits_of(limits.holder_of(session, holder_id=holder_id), now=TOMORROW)


class TestChangeLimits:
    def test_there_are_none_at_first(self, parts: Parts) -> None:
        assert tomorrow(make_person(parts).id) == {
            "per_charge_fen": None, "per_day_fen": None, "paused": False, "pending": None,
        }  # fmt: skip

    def test_lowers_at_once(self, parts: Parts) -> None:
        said = change(make_person(parts).id, per_charge_fen=500)
        assert (said["per_charge_fen"], said["pending"]) == (500, None)

    def test_raises_from_tomorrow_on(self, parts: Parts) -> None:
        holder_id = make_person(parts).id
        change(holder_id, per_charge_fen=500)
        said = change(holder_id, per_charge_fen=900)
        assert said["per_charge_fen"] == 500
        assert said["pending"] == {
            "from": business_date(TOMORROW).isoformat(),
            "per_charge_fen": 900,
            "per_day_fen": None,
        }
        assert tomorrow(holder_id)["per_charge_fen"] == 900
        assert tomorrow(holder_id)["pending"] is None

    def test_lifts_a_limit_from_tomorrow_on(self, parts: Parts) -> None:
        holder_id = make_person(parts).id
        change(holder_id, per_day_fen=500)
        assert change(holder_id, per_day_fen=None)["per_day_fen"] == 500
        assert tomorrow(holder_id)["per_day_fen"] is None

    def test_lowering_one_keeps_the_other_rising(self, parts: Parts) -> None:
        holder_id = make_person(parts).id
        change(holder_id, per_day_fen=500)
        change(holder_id, per_day_fen=900)
        assert change(holder_id, per_charge_fen=100)["per_charge_fen"] == 100
        assert tomorrow(holder_id)["per_day_fen"] == 900
        assert tomorrow(holder_id)["per_charge_fen"] == 100

    def test_the_same_again_takes_a_wish_back(self, parts: Parts) -> None:
        holder_id = make_person(parts).id
        change(holder_id, per_day_fen=500)
        change(holder_id, per_day_fen=900)
        assert change(holder_id, per_day_fen=500)["pending"] is None
        assert tomorrow(holder_id)["per_day_fen"] == 500

    def test_pauses_and_goes_on_at_once(self, parts: Parts) -> None:
        holder_id = make_person(parts).id
        assert change(holder_id, paused=True)["paused"] is True
        assert change(holder_id, per_day_fen=1)["paused"] is True
        assert change(holder_id, paused=False)["paused"] is False
