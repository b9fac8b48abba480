"""The holder's own limits: lower at once, higher from tomorrow."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder, make_person
from flask import Flask
from sqlalchemy import update

from backend import clock
from backend.clock import business_date
from backend.db import transaction
from backend.holders import limits
from backend.holders.models import HolderSession
from backend.http.parts import Parts
from backend.operation_log.service import SYSTEM
from backend.sealing import token_hash

pytestmark = pytest.mark.usefixtures("app")
NOW = clock.now()
TOMORROW = NOW + timedelta(days=1)


def change(holder_id: UUID, *, paused: bool | None = None, **wanted: int | None) -> dict[str, Any]:
    """Change limits today, and return what holds."""
    with transaction() as session:
        holder = limits.change_limits(
            session,
            holder_id=holder_id,
            wanted=wanted,
            paused=paused,
            may_resume=True,
            actor=SYSTEM,
            now=NOW,
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


class TestResuming:
    """Over HTTP: pausing asks nothing, resuming asks who it is."""

    def call(self, app: Flask, holder: Bound, **said: Any) -> Any:
        return app.test_client().patch("/api/v1/me/limits", json=said, headers=holder.headers)

    def test_needs_the_documents_last_six(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        assert self.call(app, holder, paused=True).get_json()["paused"] is True
        for wrong in ({}, {"document_last_six": "000000"}):
            said = self.call(app, holder, paused=False, **wrong)
            assert said.get_json()["code"] == "identity-not-matched"
        with transaction() as session:
            assert limits.holder_of(session, holder_id=holder.id).payment_paused
        said = self.call(app, holder, paused=False, document_last_six=holder.document[-6:])
        assert (said.status_code, said.get_json()["paused"]) == (200, False)

    def test_needs_a_fresh_login(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        self.call(app, holder, paused=True)
        with transaction() as session:
            session.execute(
                update(HolderSession)
                .where(HolderSession.token_hash == token_hash(holder.token))
                .values(created_at=clock.now() - timedelta(hours=1))
            )
        said = self.call(app, holder, paused=False, document_last_six=holder.document[-6:])
        assert (said.status_code, said.get_json()["code"]) == (403, "step-up-required")
        assert self.call(app, holder, paused=True).status_code == 200  # stopping never asks
        assert self.call(app, holder, per_charge_fen=100).status_code == 200

    def test_of_what_is_not_paused_asks_nothing(self, app: Flask, parts: Parts) -> None:
        assert self.call(app, make_holder(parts), paused=False).status_code == 200

    def test_is_tried_five_times_a_day(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        self.call(app, holder, paused=True)
        said = [
            self.call(app, holder, paused=False, document_last_six="000000").status_code
            for _ in range(6)
        ]
        assert said[-1] == 429
