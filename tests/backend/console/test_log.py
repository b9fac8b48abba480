"""The operation log in the console: searched by form, verified, taken away."""

import re
from datetime import timedelta

import pytest
from factories import make_holder

from backend import clock
from backend.db import transaction
from backend.ids import new_id
from backend.operation_log import seals
from backend.operation_log.service import SYSTEM, record
from backend.operators.models import Role

ROW = re.compile(r"<tr>\s*<td><time")


def rows(page: str) -> int:
    """Return how many entries a page lists."""
    return len(ROW.findall(page))


class TestForm:
    def test_finds_by_holder_outcome_operator_and_reference(self, app, staff, parts) -> None:
        holder, person = make_holder(parts), staff(Role.AUDITOR)
        refused = app.test_client().delete(
            f"/api/v1/me/delegations/{new_id()}", headers=holder.headers
        )
        own = {"holder_number": holder.number}
        page = person.post("/console/log", own).text
        assert rows(page) > 1
        assert f">{holder.number}</a>" in page
        assert rows(person.post("/console/log", own | {"outcome": "refused"}).text) == 1
        assert rows(person.post("/console/log", own | {"operator": person.username}).text) == 0
        reference = refused.get_json(force=True)["reference"]
        assert rows(person.post("/console/log", {"reference": reference.lower()}).text) == 1
        assert rows(person.post("/console/log", {"reference": "nonsense"}).text) == 0
        found = person.post("/console/search", {"wanted": reference}).text
        assert "收回脱机授权" in found

    @pytest.mark.parametrize(
        "said",
        [{"from": "x", "until": "9999-12-31"}, {"from": "0001-01-01"}, {"until": "2020-01-01"},
         {"from": "2999-01-01"}, {"action": "' OR 1=1"}, {"outcome": "\x00"},
         {"operator": "中" * 200}, {"reference": "{{7*7}}"}],
    )  # fmt: skip
    def test_takes_any_words(self, staff, said) -> None:
        person = staff()
        assert person.post("/console/log", said).status_code == 200
        export = person.post("/console/log/export", said | {"from": "2999-01-01"})
        assert export.status_code == 200

    def test_bounds_a_period_by_the_schools_days(self, staff, parts) -> None:
        holder, person = make_holder(parts), staff()
        at = clock.start_of_day(clock.business_date(clock.now()))
        with transaction() as session:
            record(session, actor=SYSTEM, action="card.extend", now=at, holder_id=holder.id)
        said = {"holder_number": holder.number, "action": "card.extend"}
        day = f"{clock.business_date(at)}"
        assert rows(person.post("/console/log", said | {"from": day, "until": day}).text) == 1
        before = f"{clock.business_date(at - timedelta(seconds=1))}"
        assert rows(person.post("/console/log", said | {"until": before}).text) == 0

    def test_marks_what_is_sealed(self, staff, parts) -> None:
        holder, person = make_holder(parts), staff()
        said = {"holder_number": holder.number}
        with transaction() as session:
            seals.seal(session, now=clock.now())
        page = person.post("/console/log", said).text
        assert page.count("已封存</span>") == rows(page)
        with transaction() as session:
            record(
                session, actor=SYSTEM, action="card.extend", now=clock.now(), holder_id=holder.id
            )
        assert person.post("/console/log", said).text.count("待封存</span>") == 1


class TestButtons:
    def test_verify_says_what_was_compared(self, staff) -> None:
        person = staff()
        with transaction() as session:
            seals.seal(session, now=clock.now())
        page = person.post("/console/log/verify").text
        assert re.search(r"已核对 \d+ 个封存，逐条比对 \d+ 条", page)

    def test_export_is_a_file_that_names_actions_in_chinese(self, staff, parts) -> None:
        holder, person = make_holder(parts), staff(Role.AUDITOR)
        answer = person.post("/console/log/export", {"holder_number": holder.number})
        assert answer.mimetype == "text/csv"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert f"导出人 {person.username}" in answer.text
        assert ",开户,成功,批处理,system," in answer.text

    def test_alarm_stands_on_the_overview_while_nothing_is_sealed(self, staff) -> None:
        person, label = staff(), "台账封存停滞"
        with transaction() as session:
            seals.seal(session, now=clock.now())
            earlier = clock.now() - timedelta(minutes=5)
            record(session, actor=SYSTEM, action="card.extend", now=earlier)
        assert label in person.get("/console/").text
        with transaction() as session:
            while seals.seal(session, now=clock.now()):
                pass
        assert label not in person.get("/console/").text
