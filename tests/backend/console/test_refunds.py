"""The pages of refunds: what needs a person, and paying by hand with two people."""

import re
from typing import Any

import pytest
from factories import make_holder, top_up
from sqlalchemy import select, update

from backend import clock
from backend.console import language
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.refunds import service
from backend.refunds.handling import LISTS
from backend.refunds.models import ChannelRefund, RefundState
from backend.topups import refunding
from payments import Refund
from payments import RefundState as Told


@pytest.fixture
def abnormal(parts: Parts) -> ChannelRefund:
    """A refund of 12.30 yuan that its channel cannot send."""
    holder = make_holder(parts)
    top_up(holder.id, 1230)
    with transaction() as session:
        asked, _ = refunding.ask(
            session,
            refund_id=new_id(),
            holder_id=holder.id,
            amount_fen=Fen(1230),
            channels=["wechat"],
            actor=SYSTEM,
            now=clock.now(),
        )
    (refund,) = asked.parts
    word = Refund(refund.out_refund_no, refund.out_trade_no, Told.ABNORMAL, 1230, "5030", None)
    with transaction() as session:
        service.begin_send(session, refund_id=refund.id, now=clock.now())
        service.settle(session, channel="wechat", answer=word, via="test", now=clock.now())
    return refund


def path(refund: ChannelRefund) -> str:
    return f"/console/refunds/{refund.id}"


def form_of(page: str, ending: str) -> str:
    """Return where a form of a page goes."""
    found = re.search(rf'action="([^"]+{ending})"', page)
    assert found is not None
    return found[1]


def state_of(refund: ChannelRefund) -> RefundState:
    with transaction() as session:
        return session.get_one(ChannelRefund, refund.id).state


class TestRefunds:
    def test_what_needs_a_person_is_shown_first(self, staff: Any, abnormal: ChannelRefund) -> None:
        page = staff(Role.FINANCE).get("/console/refunds").text
        assert abnormal.out_refund_no in page
        assert "¥12.30" in page
        assert abnormal.out_refund_no not in staff().get("/console/refunds?state=succeeded").text

    @pytest.mark.parametrize("query", ["state=", "state=all", "state=%00", "cursor=x"])
    def test_any_query_is_a_page(self, staff: Any, query: str) -> None:
        assert staff().get(f"/console/refunds?{query}").status_code in (200, 422)

    def test_is_paid_by_hand_by_two_people(self, staff: Any, abnormal: ChannelRefund) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        to = form_of(maker.get(path(abnormal)).text, r"payouts/[0-9a-f-]{36}")
        assert maker.post(to, {"bank_reference": " 20261125-7 "}).status_code == 303
        assert maker.post(to, {"bank_reference": "20261125-7"}).status_code == 303
        page = maker.get(path(abnormal)).text
        assert "须由另一位财务人员复核" in page
        assert 'value="approve"' not in page
        decision = form_of(checker.get(path(abnormal)).text, "/decision")
        assert maker.post(decision, {"decision": "approve"}).status_code == 409
        assert checker.post(decision, {"decision": "perhaps"}).status_code == 422
        assert checker.post(decision, {"decision": "approve"}).status_code == 303
        assert state_of(abnormal) is RefundState.PAID_OUT
        page = maker.get(path(abnormal)).text
        assert {maker.username, checker.username} <= set(re.findall(r"staff-[0-9a-f]{8}", page))
        assert "复核通过线下退款" in page

    @pytest.mark.parametrize("reference", ["", "   ", "x" * 65, "a\u202eb"])
    def test_a_reference_is_one_line_of_text(
        self, staff: Any, abnormal: ChannelRefund, reference: str
    ) -> None:
        person = staff(Role.FINANCE)
        to = form_of(person.get(path(abnormal)).text, r"payouts/[0-9a-f-]{36}")
        assert person.post(to, {"bank_reference": reference}).status_code == 422

    def test_giving_up_what_was_just_sent_is_refused_in_words(
        self, staff: Any, abnormal: ChannelRefund
    ) -> None:
        answer = staff(Role.FINANCE).post(f"{path(abnormal)}/return")
        assert answer.status_code == 409
        assert "刚刚发出" in answer.text

    def test_the_auditor_looks_and_does_nothing(self, staff: Any, abnormal: ChannelRefund) -> None:
        page = staff(Role.AUDITOR).get(path(abnormal)).text
        assert abnormal.out_refund_no in page
        assert '<form method="post" action="/console/refunds' not in page

    def test_one_that_was_never_sent_is_given_up(self, staff: Any, abnormal: ChannelRefund) -> None:
        with transaction() as session:
            session.execute(
                update(ChannelRefund)
                .where(ChannelRefund.id == abnormal.id)
                .values(state=RefundState.DUE, sent_at=None)
            )
        assert staff(Role.FINANCE).post(f"{path(abnormal)}/return").status_code == 303
        with transaction() as session:
            after = session.scalars(
                select(ChannelRefund.state).where(ChannelRefund.id == abnormal.id)
            ).one()
        assert after is RefundState.RETURNED


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name: str) -> None:
        known = set(language.dictionary(name)["refund_states"])
        assert known == {str(word) for word in (*LISTS, *Told)}
