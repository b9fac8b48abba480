"""Everything that is kept about a holder: nothing missing, nothing of anybody else."""

import json
import secrets
from typing import Any

import pytest
from factories import Bound, make_holder, make_operator, make_till, present, top_up
from flask import Flask
from sqlalchemy import LargeBinary, select

from backend import clock
from backend.charges import service as charges
from backend.db import Base, transaction
from backend.holders import login, viewing
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.own_data import routes
from backend.own_data.catalogue import LEFT_OUT, NOT_ABOUT_HOLDERS, PARTS
from payments import PlatformAccount

PATH = "/api/v1/me/data"


def take(app: Flask, holder: Bound) -> dict[str, Any]:
    answer = app.test_client().get(PATH, headers=holder.headers)
    assert answer.status_code == 200, answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


class TestCatalogue:
    def test_knows_every_table(self, app: Flask) -> None:
        tables, known = set(Base.metadata.tables), {part.table.name for part in PARTS}
        assert known | set(NOT_ABOUT_HOLDERS) == tables
        assert not known & set(NOT_ABOUT_HOLDERS)
        assert len(known) == len(PARTS)

    def test_leaves_out_no_table_that_names_a_holder(self, app: Flask) -> None:
        for name in NOT_ABOUT_HOLDERS:
            table = Base.metadata.tables[name]
            named = {key.column.table.name for key in table.foreign_keys}
            assert "holders" not in named, name
            assert not {column.name for column in table.columns if "holder" in column.name}, name

    def test_tells_of_no_member_of_the_staff(self) -> None:
        for part in PARTS:
            for column in part.table.columns:
                of_staff = any(key.column.table.name == "operators" for key in column.foreign_keys)
                if of_staff or column.name.endswith("_by"):
                    assert column.name in LEFT_OUT, f"{part.table.name}.{column.name}"

    def test_tells_of_every_other_column(self) -> None:
        for part in PARTS:
            told = {column.name for column in part.told}  # type: ignore[attr-defined]
            for column in part.table.columns:
                kept_back = column.name in LEFT_OUT or isinstance(column.type, LargeBinary)
                assert (column.name in told) != kept_back


class TestHolders:
    def test_read_what_is_kept_of_them_and_who_looked(self, app: Flask, parts: Parts) -> None:
        holder, other = make_holder(parts, name="欧阳若水"), make_holder(parts)
        top_up(holder.id, 3_000)
        top_up(other.id, 1_000)
        till, centre = make_till(), make_operator(parts, Role.CARD_CENTRE)
        with transaction() as session:
            charge, _ = charges.charge(
                session,
                charge_id=new_id(),
                terminal=till.caller,
                code=present(holder.id),
                code_text="",
                amount_fen=Fen(850),
                note="2号套餐",
                now=clock.now(),
            )
        with transaction() as session:
            viewing.view(session, holder_id=holder.id, actor=centre.actor, now=clock.now())
        with transaction() as session:
            viewing.reveal(
                session, holder_id=holder.id, reason="present", caller=centre, now=clock.now()
            )
        said = take(app, holder)
        kept = said["kept"]
        (person,) = kept["holders"]
        assert (person["name"], person["holder_number"]) == ("欧阳若水", holder.number)
        assert sorted(account["balance_fen"] for account in kept["accounts"]) == [0, 2_150]
        assert [one["amount_fen"] for one in kept["top_ups"]] == [3_000]
        assert [(one["id"], one["note"]) for one in kept["charges"]] == [
            (str(charge.id), "2号套餐")
        ]
        assert [one["amount_fen"] for one in kept["transfers"]] == [3_000, 850]
        assert {card["kind"] for card in kept["cards"]} == {"physical", "virtual"}
        assert [binding["state"] for binding in kept["bindings"]] == ["active"]
        assert len(kept["holder_sessions"]) == 1
        assert {one["kind"] for one in kept["holder_notices"]} >= {"charge-approved"}
        looks = [(look["revealed"], look["role"], look["reason"]) for look in said["looks"]]
        assert looks == [(True, "card_centre", "present"), (False, "card_centre", None)]
        actors = {entry["action"]: entry["actor"] for entry in kept["operation_log"]}
        assert actors["holder.bind"] == "self"
        assert actors["holder.reveal"] == "card_centre"
        assert actors["holder.take_data"] == "self"
        everything = json.dumps(said)
        for not_told in (
            str(other.id), str(centre.operator_id), holder.document, holder.token,
            holder.account_id,
        ):  # fmt: skip
            assert not_told not in everything

    def test_are_told_of_two_people_apart(self, app: Flask, parts: Parts) -> None:
        one, other = make_holder(parts), make_holder(parts)
        first, second = (json.dumps(take(app, holder)) for holder in (one, other))
        assert str(one.id) not in second
        assert str(other.id) not in first

    def test_taking_it_is_written_down_before(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        take(app, holder)
        with transaction() as session:
            found = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == holder.id, LogEntry.action == "holder.take_data"
                )
            ).all()
        assert [entry.actor for entry in found] == [f"holder:{holder.id}"]

    def test_may_not_ask_without_end(
        self, app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routes, "MOST_AN_HOUR", 1)
        holder = make_holder(parts)
        take(app, holder)
        refused = app.test_client().get(PATH, headers=holder.headers)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0

    def test_have_to_be_bound(self, app: Flask, parts: Parts) -> None:
        with transaction() as session:
            token, _ = login.log_in(
                session, platform="wechat", account=PlatformAccount(secrets.token_hex(8)),
                sealer=parts.sealer, now=clock.now(),
            )  # fmt: skip
        refused = app.test_client().get(PATH, headers={"Authorization": f"Bearer {token}"})
        assert (refused.status_code, refused.get_json()["code"]) == (403, "not-bound")
