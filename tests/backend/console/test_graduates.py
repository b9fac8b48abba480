"""The room of graduates: classes that are due, exemptions, approval, the run, who is left."""

import re
import secrets
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder, make_person
from sqlalchemy import select, update

from backend import clock
from backend.closings import service
from backend.closings.graduate_list import GraduateState
from backend.closings.models import ClosingBatch, Exemption, Graduate
from backend.console import language
from backend.console.graduates import LISTS
from backend.db import transaction
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

ROOM = "/console/graduates"
DAYS = 50


def graduation() -> date:
    return clock.business_date(clock.now()) + timedelta(days=DAYS + 1)


@pytest.fixture
def unit() -> str:
    """A class of this test alone."""
    return f"毕业班 {secrets.token_hex(4)}"


@pytest.fixture
def people(parts: Parts, unit: str) -> list[Bound]:
    """Two who graduate, with 12.34 yuan between them."""
    return [make_holder(parts, unit=unit, valid_days=DAYS, balance_fen=fen) for fen in (1000, 234)]


def said(unit: str, **changed: Any) -> dict[str, Any]:
    typed = {
        "graduated_on": graduation().isoformat(),
        "document": "教务〔2027〕5号",
        "units": [unit],
    }
    return typed | changed


def make(clerk: Any, unit: str) -> str:
    """Preview a batch and make it; return its page."""
    preview = clerk.post(f"{ROOM}/preview", said(unit)).text
    found = re.search(rf'action="({ROOM}/[0-9a-f-]{{36}})"', preview)
    assert found is not None
    for _ in range(2):
        assert clerk.post(found[1], said(unit)).location == found[1]
    return found[1]


def graduate_of(page: str, holder_id: UUID) -> Graduate:
    with transaction() as session:
        return session.scalars(
            select(Graduate).where(
                Graduate.batch_id == UUID(page.rpartition("/")[2]), Graduate.holder_id == holder_id
            )
        ).one()


def let_it_be_the_day(page: str) -> None:
    """Let the people of a batch graduate today."""
    batch_id, today = UUID(page.rpartition("/")[2]), clock.business_date(clock.now())
    with transaction() as session:
        of_it = select(Graduate.holder_id).where(Graduate.batch_id == batch_id)
        last = today - timedelta(days=1)
        session.execute(update(Holder).where(Holder.id.in_(of_it)).values(valid_until=last))
        session.execute(
            update(ClosingBatch).where(ClosingBatch.id == batch_id).values(graduated_on=today)
        )


def is_closing(holder_id: UUID) -> bool:
    with transaction() as session:
        return service.live_closing(session, holder_id=holder_id) is not None


def exempt(clerk: Any, page: str, holder_id: UUID, **changed: str) -> Any:
    until = (clock.business_date(clock.now()) + timedelta(days=365)).isoformat()
    form = {"exemption": "further_study", "reason": "升本校研究生", "until": until} | changed
    return clerk.post(f"{page}/people/{graduate_of(page, holder_id).id}", form)


class TestGraduates:
    def test_are_closed_by_two_people_but_for_the_exempted(
        self, staff: Callable[..., Any], unit: str, people: list[Bound]
    ) -> None:
        clerk, other, (gone, stays) = staff(), staff(), people
        due = clerk.get(f"{ROOM}/new?year={graduation().year}").text
        assert f"{unit}：2 人，余额 12.34 元" in due
        preview = clerk.post(f"{ROOM}/preview", said(unit)).text
        assert ("¥12.34" in preview, gone.name in preview) == (True, False)
        page = make(clerk, unit)
        assert unit not in clerk.get(f"{ROOM}/new?year={graduation().year}").text
        assert exempt(clerk, page, stays.id).location == page
        assert "升本校研究生" in clerk.get(f"{page}?state=exempt").text
        assert clerk.post(f"{page}/runs").status_code == 409
        assert clerk.post(f"{page}/approval").status_code == 409
        assert "须由另一位卡中心人员复核" in clerk.get(page).text
        assert other.post(f"{page}/approval").location == page
        assert f"{graduation()} 起可以执行" in clerk.get(page).text
        assert clerk.post(f"{page}/runs").status_code == 409
        let_it_be_the_day(page)
        assert "执行销户（1 人）" in clerk.get(page).text
        assert clerk.post(f"{page}/runs").location == page
        assert (is_closing(gone.id), is_closing(stays.id)) == (True, False)
        shown = clerk.get(f"{page}?state=closing").text
        assert (gone.number in shown, stays.number in shown) == (True, False)
        with transaction() as session:
            actions = session.scalars(
                select(LogEntry.action).where(
                    LogEntry.subject_id == UUID(page.rpartition("/")[2]),
                    LogEntry.outcome == "done",
                )
            ).all()
        assert sorted(actions) == [
            f"closing_batch.{verb}" for verb in ("approve", "exempt", "make", "run")
        ]

    def test_an_exemption_taken_back_asks_for_another_approval(
        self, staff: Callable[..., Any], unit: str, people: list[Bound]
    ) -> None:
        clerk, other, (one, _) = staff(), staff(), people
        page = make(clerk, unit)
        exempt(clerk, page, one.id)
        other.post(f"{page}/approval")
        assert clerk.post(f"{page}/people/{graduate_of(page, one.id).id}").location == page
        assert graduate_of(page, one.id).exemption is None
        assert clerk.post(f"{page}/runs").status_code == 409
        assert not is_closing(one.id)

    @pytest.mark.parametrize(
        "changed",
        [{"reason": " "}, {"until": ""}, {"exemption": "lazy"}, {"until": "2020-01-01"}],
    )
    def test_an_exemption_has_a_reason_and_an_end(
        self, staff: Callable[..., Any], unit: str, people: list[Bound], changed: dict[str, str]
    ) -> None:
        clerk, (one, _) = staff(), people
        page = make(clerk, unit)
        refused = exempt(clerk, page, one.id, **changed)
        assert (refused.status_code, 'role="alert"' in refused.text) == (422, True)
        assert graduate_of(page, one.id).exemption is None

    def test_at_the_deadline_it_tells_who_is_left(
        self, staff: Callable[..., Any], unit: str, people: list[Bound]
    ) -> None:
        clerk, (one, other) = staff(), people
        page = make(clerk, unit)
        exempt(clerk, page, other.id)
        batch_id = UUID(page.rpartition("/")[2])
        with transaction() as session:
            session.execute(
                update(ClosingBatch)
                .where(ClosingBatch.id == batch_id)
                .values(deadline=clock.business_date(clock.now()) - timedelta(days=1))
            )
        shown = staff(Role.AUDITOR).get(f"{page}?state=left").text
        assert "截止日已过，仍有 1 个账户未销户" in shown
        assert "¥10.00" in shown
        assert (one.number in shown, other.number in shown) == (True, False)
        assert "过截止日仍未销户" in clerk.get(ROOM).text
        file = clerk.post(f"{page}/export").text
        assert (one.number in file, other.number in file, one.name in file) == (True, False, False)
        with transaction() as session:
            session.execute(
                update(ClosingBatch)
                .where(ClosingBatch.id == batch_id)
                .values(deadline=clock.business_date(clock.now()))
            )

    def test_approving_asks_for_a_fresh_code(
        self, staff: Callable[..., Any], unit: str, people: list[Bound]
    ) -> None:
        page, other = make(staff(), unit), staff()
        other.outdate_code()
        asked = other.post(f"{page}/approval")
        assert (asked.status_code, "再次验证" in asked.text) == (403, True)

    def test_people_can_be_named_by_their_numbers(
        self, staff: Callable[..., Any], parts: Parts
    ) -> None:
        clerk, person = staff(), make_person(parts)
        typed = {"graduated_on": graduation().isoformat(), "document": "x"}
        numbers = {"holder_numbers": f"{person.number}\n{person.number}"}
        assert person.number in clerk.post(f"{ROOM}/preview", typed | numbers).text
        page = f"{ROOM}/{new_id()}"
        assert clerk.post(page, typed | numbers).location == page
        unknown = clerk.post(f"{ROOM}/preview", typed | {"holder_numbers": "nobody"})
        assert (unknown.status_code, 'role="alert"' in unknown.text) == (422, True)

    @pytest.mark.parametrize(
        "changed",
        [{"units": []}, {"graduated_on": "x"}, {"document": " "}, {"document": "x" * 101}],
    )
    def test_what_does_not_fit_is_asked_again(
        self, staff: Callable[..., Any], unit: str, changed: dict[str, Any]
    ) -> None:
        clerk = staff()
        for path in ("preview", str(new_id())):
            answer = clerk.post(f"{ROOM}/{path}", said(unit, **changed))
            assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)

    def test_a_class_of_which_nobody_graduates(self, staff: Callable[..., Any], unit: str) -> None:
        assert staff().post(f"{ROOM}/preview", said(unit)).status_code == 409

    def test_others_look_and_do_nothing(
        self, staff: Callable[..., Any], unit: str, people: list[Bound]
    ) -> None:
        page = make(staff(), unit)
        for role, may_export in ((Role.FINANCE, False), (Role.AUDITOR, True)):
            shown = staff(role).get(page).text
            assert "/people/" not in shown
            assert "/approval" not in shown
            assert ("/export" in shown) is may_export
            assert staff(role).get(f"{ROOM}/new").status_code == 403

    @pytest.mark.parametrize("query", ["state=x", "state=%00", "state=left", "year=0", "year=%EF"])
    def test_any_query_is_a_page(
        self, staff: Callable[..., Any], unit: str, people: list[Bound], query: str
    ) -> None:
        clerk = staff()
        for page in (ROOM, make(clerk, unit), f"{ROOM}/new"):
            assert clerk.get(f"{page}?{query}").status_code == 200


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name: str) -> None:
        words = language.dictionary(name)
        assert set(words["graduate_states"]) == set(GraduateState)
        assert set(words["exemptions"]) == set(Exemption)
        assert set(LISTS) == {"left", "all", *GraduateState}
