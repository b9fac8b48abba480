"""The pages of top-ups: a frozen one is settled by two people of finance."""

import re
from typing import Any

import pytest
from factories import make_holder
from sqlalchemy import select

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.topups import service
from backend.topups.models import TopUp, TopUpResolution, TopUpState
from backend.topups.settling import settle
from payments import Trade, TradeState


@pytest.fixture
def frozen(parts: Parts) -> TopUp:
    """An order of 12.30 yuan, of which a signed word said 12.29, and that its channel knows not."""
    holder, now = make_holder(parts), clock.now()
    with transaction() as session:
        top_up, _ = service.order(
            session,
            top_up_id=new_id(),
            holder_id=holder.id,
            channel="wechat",
            amount_fen=Fen(1230),
            payer_sealed=None,
            actor=SYSTEM,
            now=now,
        )
        session.flush()
        told = Trade(top_up.out_trade_no, TradeState.PAID, 1229, "CNY", "4200", "m", "a", now, None)
        settle(session, channel="wechat", trade=told, via="notice", now=now)
    return top_up


def path(top_up: TopUp) -> str:
    return f"/console/top-ups/{top_up.id}"


def form_of(page: str, ending: str) -> str:
    """Return where a form of a page goes."""
    found = re.search(rf'action="([^"]+{ending})"', page)
    assert found is not None
    return found[1]


def state_of(top_up: TopUp) -> TopUpState:
    with transaction() as session:
        return session.get_one(TopUp, top_up.id).state


class TestFrozen:
    def test_is_found_among_the_exceptions(self, staff: Any, frozen: TopUp) -> None:
        page = staff(Role.FINANCE).get("/console/top-ups?state=exception").text
        assert f'href="{path(frozen)}"' in page

    def test_is_settled_by_two_people(self, staff: Any, frozen: TopUp) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        to = form_of(maker.get(path(frozen)).text, r"resolutions/[0-9a-f-]{36}")
        assert maker.post(to, {"reason": " 商户平台核对 "}).status_code == 303
        assert maker.post(to, {"reason": "商户平台核对"}).status_code == 303
        shown = maker.get(path(frozen)).text
        assert "未收到款" in shown
        assert "decision" not in shown
        decision = form_of(checker.get(path(frozen)).text, "decision")
        assert maker.post(decision, {"decision": "approve"}).status_code == 409
        assert state_of(frozen) is TopUpState.EXCEPTION
        assert checker.post(decision, {"decision": "approve"}).status_code == 303
        assert state_of(frozen) is TopUpState.CLOSED
        assert "复核通过异常充值处理" in checker.get(path(frozen)).text

    @pytest.mark.parametrize("reason", ["", " ", "\u200b", "a\nb", "长" * 201])
    def test_is_settled_for_a_reason(self, staff: Any, frozen: TopUp, reason: str) -> None:
        who = staff(Role.FINANCE)
        to = form_of(who.get(path(frozen)).text, r"resolutions/[0-9a-f-]{36}")
        assert who.post(to, {"reason": reason}).status_code == 422
        with transaction() as session:
            made = select(TopUpResolution.id).where(TopUpResolution.top_up_id == frozen.id)
            assert session.scalar(made) is None

    def test_is_only_looked_at_by_others(self, staff: Any, frozen: TopUp) -> None:
        who = staff(Role.AUDITOR)
        assert '<form method="post"' not in who.get(path(frozen)).text.split("<main")[1]
        answer = who.post(f"{path(frozen)}/resolutions/{new_id()}", {"reason": "看看"})
        assert answer.status_code == 403

    def test_that_there_is_none_is_a_page(self, staff: Any) -> None:
        assert staff(Role.FINANCE).get(f"/console/top-ups/{new_id()}").status_code == 404
