"""The room of policies: one previews and proposes, another approves or refuses, and all is told."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from backend import clock
from backend.clock import SHANGHAI
from backend.console.policy_form import value_of
from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import OperatorSession, Role
from backend.policies.models import Policy, PolicyProposal, ProposalState
from backend.policies.rules import Unit
from backend.rulebook import proposals

ROOM = "/console/policies"
KEY = "notice.keep_days"
RESTORE = "card.restore_channels"


def proposed(id_: Any) -> PolicyProposal | None:
    with transaction() as session:
        return session.scalars(select(PolicyProposal).where(PolicyProposal.id == id_)).one_or_none()


def local(days: int) -> str:
    """Return a moment some days ahead as a browser types it."""
    return f"{(clock.now() + timedelta(days=days)).astimezone(SHANGHAI):%Y-%m-%dT%H:%M}"


def said(**more: Any) -> dict[str, Any]:
    """Return a filled-in form, for days far ahead of what other tests look at."""
    return {
        "preset": "",
        "document_number": "图文〔2026〕9号",
        "reason": "存储空间够用",
        "valid_from": local(1_000),
        "valid_until": local(1_030),
        f"set-{KEY}": "200",
    } | more


def preview(person: Any, form: dict[str, Any]) -> tuple[str, UUID, str]:
    """Send the form for a preview; return the page, the id that it made, and what was seen."""
    page = person.post(f"{ROOM}/changes", form).text
    found = re.search(r'formaction="/console/policies/proposals/([^"]+)"', page)
    seen = re.search(r'name="seen" value="([0-9a-f]{64})"', page)
    assert found is not None, page
    assert seen is not None
    return page, UUID(found[1]), seen[1]


def propose(person: Any, form: dict[str, Any]) -> UUID:
    """Preview and propose."""
    _, id_, seen = preview(person, form)
    answer = person.post(f"{ROOM}/proposals/{id_}", form | {"seen": seen})
    assert answer.status_code == 303
    return id_


def take_back(id_: UUID, person: Any) -> None:
    """Leave no row behind: policies hold for every test."""
    assert person.post(f"{ROOM}/proposals/{id_}/withdrawal", {"reason": "演练"}).status_code == 303


class TestLooking:
    def test_shows_what_holds_by_what_belongs_together(self, staff: Any) -> None:
        page = staff(Role.LOGISTICS).get(ROOM).text
        assert "搭伙费比例" in page
        assert "10%" in page
        assert (
            page.index("消费与搭伙费") < page.index("搭伙费比例") < page.index("退款、销户与筛查")
        )

    def test_offers_changes_to_those_who_may_propose(self, staff: Any) -> None:
        logistics, auditor = staff(Role.LOGISTICS), staff(Role.AUDITOR)
        change = 'href="/console/policies/changes'
        assert change in logistics.get(f"{ROOM}/charge.surcharge_permille").text
        assert change not in logistics.get(f"{ROOM}/{KEY}").text
        assert change not in auditor.get(ROOM).text
        assert auditor.get(f"{ROOM}/changes").status_code == 403
        form = logistics.get(f"{ROOM}/changes").text
        assert 'name="set-charge.surcharge_permille"' in form
        assert f'name="set-{KEY}"' not in form
        assert logistics.get(f"{ROOM}/no.such").status_code == 404
        assert logistics.get(f"{ROOM}/proposals/{new_id()}").status_code == 404


class TestChange:
    def test_a_preview_shows_before_and_after_and_writes_nothing(self, staff: Any) -> None:
        page, id_, _ = preview(staff(), said(**{"set-notice.charge_from_fen": "45.5"}))
        assert proposed(id_) is None
        for text in ("180 天", "200 天", "30.00 元", "45.50 元", "名持卡人", "之后为 180 天"):
            assert text in page, text

    def test_several_keys_a_reason_and_an_end_are_one_proposal(self, staff: Any) -> None:
        maker, checker = staff(), staff()
        form = said(**{"set-notice.charge_from_fen": "45.5", f"change-{RESTORE}": "on"})
        form[f"pick-{RESTORE}"] = ["counter", "kiosk"]
        id_ = propose(maker, form)
        found = proposed(id_)
        assert found is not None
        assert found.changes == {
            KEY: 200,
            "notice.charge_from_fen": 4_550,
            RESTORE: ["counter", "kiosk"],
        }
        assert found.reason == form["reason"]
        assert found.valid_from is not None
        assert found.valid_until is not None
        assert found.valid_until - found.valid_from == timedelta(days=30)
        approval = f"{ROOM}/proposals/{id_}/approval"
        assert f'action="{approval}"' not in maker.get(ROOM).text
        assert maker.post(approval).status_code == 409
        page = checker.get(f"{ROOM}/proposals/{id_}").text
        assert "<del>小程序</del>" in page
        assert checker.post(approval).status_code == 303
        for path in (f"{ROOM}/proposals/{id_}", f"{ROOM}/proposals", ROOM):
            text = checker.get(path).text
            assert "200 天" in text
            assert form["document_number"] in text
        assert (
            f"{maker.username} 提议，{checker.username} 批准" in checker.get(f"{ROOM}/{KEY}").text
        )
        take_back(id_, maker)

    def test_a_preset_shows_what_it_changes(self, staff: Any) -> None:
        form = said(preset="regulation", **{f"set-{KEY}": ""})
        page, _, _ = preview(staff(), form)
        assert "<del>小程序</del>" in page
        assert "解挂" in page
        assert KEY not in page[page.index('id="preview"') : page.index("</table>")]

    def test_presets_are_for_the_roles_of_their_keys(self, staff: Any) -> None:
        page = staff(Role.FINANCE).get(f"{ROOM}/changes").text
        assert 'value="offline_money"' in page
        assert 'value="regulation"' not in page
        answer = staff(Role.FINANCE).post(f"{ROOM}/changes", said(preset="regulation"))
        assert answer.status_code == 403

    def test_what_was_not_previewed_is_not_proposed(self, staff: Any) -> None:
        maker = staff()
        form = said()
        _, id_, seen = preview(maker, form)
        changed = form | {f"set-{KEY}": "300", "seen": seen}
        answer = maker.post(f"{ROOM}/proposals/{id_}", changed)
        assert answer.status_code == 409
        assert "300 天" in answer.text
        assert proposed(id_) is None
        assert maker.post(f"{ROOM}/proposals/{id_}", form).status_code == 409

    def test_a_form_sent_twice_is_one_proposal(self, staff: Any) -> None:
        maker = staff()
        _, id_, seen = preview(maker, said())
        form = said(seen=seen)
        for _ in range(2):
            assert maker.post(f"{ROOM}/proposals/{id_}", form).status_code == 303
        take_back(id_, maker)

    @pytest.mark.parametrize(
        ("more", "status", "marked"),
        [
            ({f"set-{KEY}": "1"}, 422, f"set-{KEY}"),
            ({f"set-{KEY}": "1.5"}, 422, f"set-{KEY}"),
            ({f"set-{KEY}": "NaN"}, 422, f"set-{KEY}"),
            ({"set-notice.charge_from_fen": "1.005"}, 422, "set-notice.charge_from_fen"),
            ({"set-offline.money": "maybe"}, 422, "set-offline.money"),
            ({"document_number": " "}, 422, "document_number"),
            ({"reason": ""}, 422, "reason"),
            ({"reason": "\u2800"}, 422, "reason"),
            ({"valid_from": "tomorrow"}, 422, "valid_from"),
            ({"valid_from": "0001-01-01T00:00"}, 422, "valid_from"),
            ({"valid_from": "2020-01-01T00:00"}, 409, "valid_from"),
            ({"valid_until": "2020-01-01T00:00"}, 409, "valid_until"),
            ({"set-top_up.least_fen": "900"}, 409, "set-top_up.least_fen"),
        ],
    )
    def test_bad_values_are_shown_where_they_are(
        self, staff: Any, more: dict[str, str], status: int, marked: str
    ) -> None:
        maker, id_ = staff(), new_id()
        for path in (f"{ROOM}/changes", f"{ROOM}/proposals/{id_}"):
            answer = maker.post(path, said(**more))
            assert (answer.status_code, answer.mimetype) == (status, "text/html")
            assert re.search(rf'name="{re.escape(marked)}"[^>]* aria-invalid', answer.text)
        assert proposed(id_) is None

    def test_an_empty_form_changes_nothing(self, staff: Any) -> None:
        answer = staff().post(f"{ROOM}/changes", said(**{f"set-{KEY}": ""}))
        assert answer.status_code == 409

    @pytest.mark.parametrize(
        ("unit", "typed", "value"),
        [
            (Unit.FEN, "0", 0),
            (Unit.FEN, "12.3", 1_230),
            (Unit.FEN, "５０。５", 5_050),
            (Unit.FEN, "1e3", None),
            (Unit.FEN, "-1", None),
            (Unit.PERMILLE, "10", 100),
            (Unit.PERMILLE, "10.25", None),
            (Unit.HOURS, "24", 24),
            (Unit.HOURS, "24.0", None),
            (Unit.SWITCH, "off", False),
            (Unit.SWITCH, "", None),
        ],
    )
    def test_understands_what_people_type(self, unit: Unit, typed: str, value: Any) -> None:
        assert value_of(unit, typed) == value


class TestDeciding:
    def test_another_person_refuses_with_a_reason(self, staff: Any) -> None:
        maker, other = staff(), staff()
        id_ = propose(maker, said())
        back = f"{ROOM}/proposals/{id_}/withdrawal"
        assert other.post(back, {"reason": " "}).status_code == 422
        assert other.post(back, {"reason": "不需要"}).status_code == 303
        found = proposed(id_)
        assert found is not None
        assert found.state is ProposalState.WITHDRAWN
        page = maker.get(f"{ROOM}/proposals/{id_}").text
        assert "未批准" in page
        assert "不需要" in page
        assert f'action="{back}"' not in page

    def test_the_maker_takes_it_back(self, staff: Any) -> None:
        maker = staff()
        id_ = propose(maker, said())
        take_back(id_, maker)
        page = maker.get(f"{ROOM}/proposals/{id_}").text
        assert "已撤回" in page
        assert "未批准" not in page

    def test_approving_takes_a_code_shown_just_now(self, staff: Any) -> None:
        maker, checker = staff(), staff()
        id_ = propose(maker, said())
        with transaction() as session:
            session.execute(
                update(OperatorSession)
                .where(OperatorSession.operator_id == checker.id)
                .values(confirmed_at=clock.now() - timedelta(hours=1))
            )
        answer = checker.post(f"{ROOM}/proposals/{id_}/approval")
        assert answer.status_code == 403
        assert "/console/confirmation" in answer.text
        take_back(id_, maker)


class TestTimeline:
    def test_tells_past_present_and_planned(self, staff: Any) -> None:
        maker, checker = staff(), staff()
        id_ = propose(maker, said())
        assert checker.post(f"{ROOM}/proposals/{id_}/approval").status_code == 303
        page = maker.get(f"{ROOM}/{KEY}").text
        ages = re.findall(r'<li class="(past|present|planned)"', page)
        with transaction() as session:
            rows = session.scalars(select(Policy).where(Policy.key == KEY)).all()
            brought = proposals.rows_of(session, proposal_id=id_)
            assert len(ages) == len(rows)
            assert [row.value for row in brought] == [200, 180]
        assert ages[:3] == ["planned", "planned", "present"]
        take_back(id_, checker)
        assert "planned" not in maker.get(f"{ROOM}/{KEY}").text
