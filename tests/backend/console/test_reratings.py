"""The room of re-rating: computed first, proposed, approved by another, paid back once."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, make_till, present
from sqlalchemy import update

from backend import clock
from backend.charges import paying_back, rerating, service
from backend.charges.models import Charge, SurchargeRerating
from backend.charges.rerating import Standing
from backend.console import language
from backend.db import transaction
from backend.errors import NotFound
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import OperatorSession, Role

from .conftest import Staff

ROOM = "/console/reratings"
DAYS = iter(date(2019, 1, 1) + timedelta(days=n) for n in range(300))
"""A day of its own for each test, as a re-rating is of all that was charged then."""


@pytest.fixture
def day() -> date:
    return next(DAYS)


@pytest.fixture
def guest(parts: Parts, day: date) -> Bound:
    """Somebody who paid 10.00 yuan and 1.00 of surcharge in a canteen on that day."""
    holder, till = (
        make_holder(parts, balance_fen=50_000, pays_surcharge=True),
        make_till(is_canteen=True),
    )
    with transaction() as session:
        charged, _ = service.charge(
            session,
            charge_id=new_id(),
            terminal=till.caller,
            code=present(holder.id),
            code_text="",
            amount_fen=Fen(1000),
            note=None,
            now=clock.now(),
        )
        assert charged.reason is None
    with transaction() as session:
        session.execute(update(Charge).where(Charge.id == charged.id).values(business_date=day))
    return holder


def period(day: date, **more: Any) -> dict[str, Any]:
    """Return what the forms say of one day at 40 per mille."""
    return {"first_day": str(day), "last_day": str(day), "permille": "40"} | more


def propose(person: Staff, day: date) -> str:
    """Compute a day, propose what it comes to, and return the page of the proposal."""
    shown = person.get(f"{ROOM}/preview", query_string=period(day)).text
    found = re.search(rf'action="({ROOM}/[0-9a-f-]{{36}})"', shown)
    assert found is not None
    said = period(day, document_number="后勤〔2026〕7号", reason="比例有误")
    for _ in range(2):
        assert person.post(found[1], said).location == found[1]
    return found[1]


def forget_confirmation(person: Staff) -> None:
    """Let the last one-time code of somebody be too old for what moves money."""
    with transaction() as session:
        session.execute(
            update(OperatorSession)
            .where(OperatorSession.operator_id == person.id)
            .values(confirmed_at=clock.now() - timedelta(minutes=6))
        )


class TestPreview:
    def test_tells_the_sums_and_writes_nothing(
        self, staff: Callable[..., Staff], guest: Bound, day: date
    ) -> None:
        page = staff(Role.AUDITOR).get(f"{ROOM}/preview", query_string=period(day)).text
        assert "¥0.60" in page
        assert "按千分之 40 计算" in page
        assert "<textarea" not in page
        assert 'name="reason"' not in page
        assert balances(guest.id) == (50_000 - 1_100, 0)

    def test_nothing_too_much_is_said_so(
        self, staff: Callable[..., Staff], guest: Bound, day: date
    ) -> None:
        said = period(day, permille="100")
        page = staff().get(f"{ROOM}/preview", query_string=said).text
        assert "没有多收的搭伙费" in page
        assert 'name="reason"' not in page

    @pytest.mark.parametrize(
        ("more", "word"),
        [
            ({"permille": "x"}, "比例"),
            ({"permille": "501"}, "比例"),
            ({"permille": "４０"}, "比例"),
            ({"permille": "9" * 400}, "比例"),
            ({"first_day": ""}, "第一天"),
            ({"last_day": "2026-02-30"}, "最后一天"),
            ({"last_day": "2018-01-01"}, "期间"),
            ({"first_day": "1019-01-01"}, "期间"),
        ],
    )
    def test_what_is_no_period_is_answered(
        self, staff: Callable[..., Staff], day: date, more: Any, word: str
    ) -> None:
        answer = staff().get(f"{ROOM}/preview", query_string=period(day, **more))
        assert answer.status_code == 422
        assert word in answer.text.partition('role="alert"')[2].partition("</p>")[0]


class TestProposal:
    def test_is_approved_by_another_with_a_fresh_code_and_paid_once(
        self, staff: Callable[..., Staff], guest: Bound, day: date
    ) -> None:
        maker, checker = staff(Role.LOGISTICS), staff(Role.FINANCE)
        page = propose(maker, day)
        assert "/approval" not in maker.get(page).text
        assert maker.post(f"{page}/approval").status_code == 403
        shown = checker.get(page).text
        assert "比例有误" in shown
        assert f"{page}/approval" in shown
        forget_confirmation(checker)
        refused = checker.post(f"{page}/approval")
        assert (refused.status_code, "再次验证" in refused.text) == (403, True)
        checker.post("/console/confirmation", {"totp": checker.code()})
        assert [checker.post(f"{page}/approval").status_code for _ in range(2)] == [303, 303]
        assert "退回中" in checker.get(page).text
        for _ in range(2):
            paying_back.pay_due(now=clock.now())
        assert balances(guest.id) == (50_000 - 1_040, 0)
        shown = maker.get(page).text
        assert "已退回 0.60 元，共 0.60 元" in shown
        assert {maker.username, checker.username} <= set(re.findall(r"staff-[0-9a-f]{8}", shown))
        assert page in maker.get(f"{ROOM}?state=paid").text
        assert page not in maker.get(f"{ROOM}?state=waiting").text

    def test_whoever_proposed_does_not_approve(
        self, staff: Callable[..., Staff], guest: Bound, day: date
    ) -> None:
        maker = staff(Role.FINANCE)
        page = propose(maker, day)
        assert f"{page}/approval" not in maker.get(page).text
        refused = maker.post(f"{page}/approval")
        assert (refused.status_code, refused.text.count('role="alert"')) == (409, 1)

    def test_says_when_the_sums_have_changed(
        self, staff: Callable[..., Staff], guest: Bound, day: date
    ) -> None:
        page = propose(staff(), day)
        with transaction() as session:
            session.execute(
                update(SurchargeRerating)
                .where(SurchargeRerating.id == UUID(page.rpartition("/")[2]))
                .values(return_fen=61)
            )
        checker = staff(Role.FINANCE)
        assert "与提议时不同" in checker.get(page).text
        refused = checker.post(f"{page}/approval")
        assert (refused.status_code, "金额已变" in refused.text) == (409, True)

    def test_lapses_after_a_day(self, staff: Callable[..., Staff], guest: Bound, day: date) -> None:
        page = propose(staff(), day)
        with transaction() as session:
            session.execute(
                update(SurchargeRerating)
                .where(SurchargeRerating.id == UUID(page.rpartition("/")[2]))
                .values(made_at=clock.now() - timedelta(hours=25))
            )
        checker = staff(Role.FINANCE)
        shown = checker.get(page).text
        assert "已失效" in shown
        assert f"{page}/approval" not in shown
        refused = checker.post(f"{page}/approval")
        assert (refused.status_code, "重算已失效" in refused.text) == (409, True)
        assert page in checker.get(f"{ROOM}?state=lapsed").text

    @pytest.mark.parametrize(
        ("more", "word"),
        [({"reason": "  "}, "事由"), ({"document_number": "x" * 65}, "文号")],
    )
    def test_what_does_not_fit_changes_nothing(
        self, staff: Callable[..., Staff], guest: Bound, day: date, more: Any, word: str
    ) -> None:
        rerating_id = new_id()
        said = period(day, document_number="1", reason="比例有误") | more
        answer = staff().post(f"{ROOM}/{rerating_id}", said)
        assert answer.status_code == 422
        assert word in answer.text.partition('role="alert"')[2].partition("</p>")[0]
        assert str(rerating_id) in answer.text
        with transaction() as session, pytest.raises(NotFound):
            rerating.find(session, rerating_id=rerating_id)

    def test_a_day_that_is_not_over_is_not_proposed(self, staff: Callable[..., Staff]) -> None:
        today = clock.business_date(clock.now())
        said = period(today, document_number="1", reason="比例有误")
        answer = staff().post(f"{ROOM}/{new_id()}", said)
        assert answer.status_code in (409, 422)

    @pytest.mark.parametrize("query", ["state=x", "state=%00", "permille=%00"])
    def test_any_query_is_a_page(self, staff: Callable[..., Staff], query: str) -> None:
        assert staff().get(f"{ROOM}?{query}").status_code == 200


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_every_standing_has_a_word(self, name: str) -> None:
        assert set(language.dictionary(name)["rerating_standings"]) == set(Standing)
