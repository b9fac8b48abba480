"""The page of lending signals: what was seen, whose card it is, and what came of looking."""

import secrets

import pytest
from factories import make_holder

from backend import clock
from backend.cases.models import LendingSignal, SignalKind
from backend.clock import rfc3339
from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import Role


@pytest.fixture
def signal(app, parts):
    """A card that was used at two places; the signal and the holder."""
    holder, now = make_holder(parts), clock.now()
    uses = [
        {"place": place, "at": rfc3339(now), "reference": "KCSY5CGD"}
        for place in ("第一食堂 1号窗", "图书馆 东门")
    ]
    with transaction() as session:
        made = LendingSignal(
            id=new_id(),
            kind=SignalKind.TWO_PLACES,
            holder_id=holder.id,
            key=secrets.token_bytes(32),
            uses=uses,
            holder_ids=[],
            seen_at=now,
            found_at=now,
        )
        session.add(made)
    return made, holder


class TestPage:
    def test_shows_what_was_seen_and_no_name(self, staff, signal) -> None:
        _, holder = signal
        page = staff().get("/console/lending").text
        for said in (
            "一分钟内两地使用",
            "第一食堂 1号窗",
            "图书馆 东门",
            holder.number,
            "不会自动处罚",
        ):
            assert said in page
        assert holder.name not in page
        english = staff().get("/console/lending", headers={"Accept-Language": "en"}).text
        assert "Two places within a minute" in english

    def test_notes_what_came_of_it(self, staff, signal) -> None:
        made, _ = signal
        person = staff(Role.CARD_CENTRE)
        said = {"outcome": "reminded", "reason": "已电话提醒本人"}
        assert person.post(f"/console/lending/{made.id}", said).status_code == 303
        shown = person.get("/console/lending?state=decided").text
        assert "已电话提醒本人" in shown

    def test_wants_a_reason_in_words(self, staff, signal) -> None:
        made, _ = signal
        for said in ({"outcome": "reminded"}, {"outcome": "fined", "reason": "x"}):
            answer = staff(Role.CARD_CENTRE).post(f"/console/lending/{made.id}", said)
            assert answer.status_code == 422

    def test_lets_the_auditor_look_only(self, staff, signal) -> None:
        made, _ = signal
        auditor = staff(Role.AUDITOR)
        assert "登记处理结果" not in auditor.get("/console/lending").text
        said = {"outcome": "harmless", "reason": "x"}
        assert auditor.post(f"/console/lending/{made.id}", said).status_code == 403
