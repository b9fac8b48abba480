"""The room of payouts: what nobody has got yet, batches for two people, what bounced."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from factories import Bound, make_holder, other_policies
from flask import Flask
from sqlalchemy import select

from backend import clock
from backend.closings import emptying
from backend.closings import service as closings
from backend.closings.models import ClosingKind
from backend.console import language
from backend.console.routes import yuan
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.refunds import claims, payout_list
from backend.refunds.models import ClaimWay, PayoutLine, PayoutLineState
from backend.refunds.payout_list import BatchState
from backend.refunds.rules import AGES_DAYS

DRAFT = "/console/payouts/draft"


def owe(parts: Parts, balance_fen: int = 1200, *, days: int = 400) -> tuple[Bound, UUID]:
    """Close the account of somebody with money that no channel takes back; return the line.

    It has been owed for so many days: before what other tests left.
    """
    holder, closing_id = make_holder(parts, balance_fen=balance_fen), new_id()
    with transaction() as session:
        closings.start(
            session,
            closing_id=closing_id,
            holder_id=holder.id,
            kind=ClosingKind.LEAVING,
            document="人事1号",
            actor=SYSTEM,
            now=clock.now(),
        )
    later = clock.now() + timedelta(days=4)
    while emptying.advance(closing_id=closing_id, channels=parts.channels, now=later):
        pass
    with transaction() as session:
        line = session.scalars(select(PayoutLine).where(PayoutLine.holder_id == holder.id)).one()
        line.owed_since = clock.now() - timedelta(days=days)
        return holder, line.id


@pytest.fixture
def owed(parts: Parts) -> tuple[Bound, UUID]:
    """Somebody to whom 12.00 yuan are owed."""
    return owe(parts)


def state_of(line_id: UUID) -> PayoutLineState:
    with transaction() as session:
        return session.get_one(PayoutLine, line_id).state


def ages() -> dict[int, tuple[int, int]]:
    with transaction() as session:
        found = payout_list.unclaimed_by_age(session, now=clock.now())
    return {age.more_than_days: (age.lines, age.amount_fen) for age in found}


def make(maker) -> str:
    """Make a batch from the preview; return its page."""
    found = re.search(r'action="(/console/payouts/[0-9a-f-]{36})"', maker.get(DRAFT).text)
    assert found is not None
    answer = maker.post(found[1])
    assert answer.location == found[1]
    return found[1]


def pay_all(maker, batch: str, reference: str) -> None:
    """Note that the bank has sent all of a batch, what other tests listed too."""
    ticked = re.findall(r'name="lines" value="([^"]+)"', maker.get(batch).text)
    said = {"lines": ticked, "bank_reference": reference}
    assert maker.post(f"{batch}/payments", said).location == batch


class TestPayouts:
    def test_two_people_of_finance_pay_a_batch(self, staff, owed) -> None:
        maker, checker, (holder, line_id) = staff(Role.FINANCE), staff(Role.FINANCE), owed
        preview = maker.get(DRAFT).text
        assert holder.number in preview
        assert holder.name not in preview
        batch = make(maker)
        assert maker.post(batch).location == batch
        assert "须由另一位财务人员复核" in maker.get(batch).text
        assert maker.post(f"{batch}/decision", {"decision": "approve"}).status_code == 409
        assert checker.post(f"{batch}/decision", {"decision": "perhaps"}).status_code == 422
        assert maker.post(f"{batch}/export").status_code == 409
        assert checker.post(f"{batch}/decision", {"decision": "approve"}).location == batch
        file = maker.post(f"{batch}/export")
        assert (file.mimetype, str(line_id) in file.text) == ("text/csv", True)
        assert holder.name not in file.text
        assert "打款中" in maker.get(batch).text
        pay_all(maker, batch, " 20261126-1 ")
        page = maker.get(batch).text
        assert "20261126-1" in page
        assert "已办结" in page
        assert state_of(line_id) is PayoutLineState.PAID
        with transaction() as session:
            actions = set(
                session.scalars(select(LogEntry.action).where(LogEntry.subject_id == line_id))
            )
        assert actions == {"payout_line.pay"}

    def test_approving_asks_for_a_fresh_code(self, staff, owed) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        batch = make(maker)
        checker.outdate_code()
        asked = checker.post(f"{batch}/decision", {"decision": "approve"})
        assert (asked.status_code, "再次验证" in asked.text) == (403, True)
        assert "已验证" in checker.post("/console/confirmation", {"totp": checker.code()}).text
        assert checker.post(f"{batch}/decision", {"decision": "approve"}).status_code == 303

    def test_a_refused_batch_lists_its_lines_again(self, staff, owed) -> None:
        maker, checker, (_, line_id) = staff(Role.FINANCE), staff(Role.FINANCE), owed
        batch = make(maker)
        assert state_of(line_id) is PayoutLineState.BATCHED
        checker.post(f"{batch}/decision", {"decision": "refuse"})
        assert "批次已退回" in maker.get(batch).text
        assert state_of(line_id) is PayoutLineState.LISTED

    def test_what_bounces_is_listed_again_with_its_story(self, staff, owed) -> None:
        maker, checker, (holder, line_id) = staff(Role.FINANCE), staff(Role.FINANCE), owed
        batch, line = make(maker), f"/console/payouts/lines/{line_id}"
        checker.post(f"{batch}/decision", {"decision": "approve"})
        assert maker.post(f"{line}/payment", {"bank_reference": "B-1"}).location == line
        blank = maker.post(f"{line}/bounce", {"reason": "  "})
        assert (blank.status_code, 'role="alert"' in blank.text) == (422, True)
        assert maker.post(f"{line}/bounce", {"reason": "账号已注销"}).location == line
        page = maker.get(line).text
        for said in ("已退票", "账号已注销", "B-1", "历次打款", "登记打款退票"):
            assert said in page, said
        again = maker.get("/console/payouts/lines?days=365").text
        assert holder.number in again
        with transaction() as session:
            next_id = session.scalars(
                select(PayoutLine.id).where(PayoutLine.follows_id == line_id)
            ).one()
            claims.claim(
                session,
                claim_id=new_id(),
                line_id=next_id,
                holder_id=holder.id,
                way=ClaimWay.IN_PERSON,
                actor=SYSTEM,
                now=clock.now(),
            )
        assert "到财务领取" in maker.get(f"/console/payouts/lines/{next_id}").text
        assert "到财务领取" in maker.get("/console/payouts/lines?days=365").text
        assert "认领待答复" in maker.get("/console/payouts").text
        assert holder.number in maker.get("/console/payouts/lines?state=claims").text
        page = maker.get(f"/console/payouts/lines/{next_id}").text
        form = re.search(r'action="(/console/payouts/claims/[0-9a-f-]{36}/answer)"', page)
        assert form is not None
        blank = maker.post(form[1], {"answer": "refuse", "reason": " "})
        assert (blank.status_code, 'role="alert"' in blank.text) == (422, True)
        for _ in range(2):
            assert maker.post(form[1], {"answer": "accept"}).status_code == 303
        assert maker.post(form[1], {"answer": "refuse", "reason": "x"}).status_code == 409
        assert "已受理" in maker.get(f"/console/payouts/lines/{next_id}").text
        assert holder.number not in maker.get("/console/payouts/lines?state=claims").text
        bounced = maker.get("/console/payouts/lines?state=bounced").text
        assert holder.number in bounced

    def test_nothing_is_noted_unless_all_of_it_can_be(self, staff, owed) -> None:
        maker, checker, (_, line_id) = staff(Role.FINANCE), staff(Role.FINANCE), owed
        batch = make(maker)
        checker.post(f"{batch}/decision", {"decision": "approve"})
        for said, status in (
            ({"bank_reference": "1"}, 422),
            ({"lines": [str(line_id)], "bank_reference": " "}, 422),
            ({"lines": ["x"], "bank_reference": "1"}, 404),
            ({"lines": [str(line_id), str(new_id())], "bank_reference": "1"}, 404),
        ):
            assert maker.post(f"{batch}/payments", said).status_code == status, said
        assert state_of(line_id) is PayoutLineState.BATCHED


class TestUnclaimed:
    @pytest.mark.parametrize(("days", "group"), [(0, 0), (30, 0), (31, 30), (91, 90), (366, 365)])
    def test_is_shown_by_age(self, staff, parts, days, group) -> None:
        before = ages()
        owe(parts, days=days)
        after = ages()
        grown = {age for age in after if after[age] != before[age]}
        assert grown == {group}
        lines, amount_fen = after[group]
        assert (lines - before[group][0], amount_fen - before[group][1]) == (1, 1200)
        assert f"<dd>{yuan(amount_fen)}</dd>" in staff(Role.AUDITOR).get("/console/payouts").text

    def test_others_look_and_do_nothing(self, staff, owed) -> None:
        batch = make(staff(Role.FINANCE))
        for role in (Role.CARD_CENTRE, Role.AUDITOR):
            person = staff(role)
            for page in (batch, "/console/payouts", f"/console/payouts/lines/{owed[1]}"):
                assert '<form method="post" action="/console/payouts' not in person.get(page).text
            assert person.get(DRAFT).status_code == 403
            assert person.post(f"{batch}/decision", {"decision": "approve"}).status_code == 403

    @pytest.mark.parametrize(
        "query", ["", "state=open", "state=x", "days=0", "days=9999", "days=%00", "state=paid"]
    )
    def test_any_query_is_a_page(self, staff, query) -> None:
        person = staff(Role.FINANCE)
        for room in ("payouts", "payouts/lines"):
            assert person.get(f"/console/{room}?{query}").status_code == 200

    @pytest.mark.parametrize("wanted", list(BatchState))
    def test_batches_are_found_by_state(self, staff, owed, wanted) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        batch = make(maker)
        if wanted is not BatchState.WAITING:
            answer = "refuse" if wanted is BatchState.REFUSED else "approve"
            checker.post(f"{batch}/decision", {"decision": answer})
        if wanted is BatchState.SETTLED:
            pay_all(maker, batch, "1")
        for other in BatchState:
            page = maker.get(f"/console/payouts?state={other}").text
            assert (batch in page) is (other is wanted), other


class TestDayLimit:
    @pytest.fixture
    def at_most(self, app: Flask) -> Iterator[None]:
        """One person may pay out 15 yuan a day."""
        with other_policies(operator__payout_day_fen=1500):
            yield

    def test_a_batch_holds_what_fits_into_the_makers_day(self, staff, owed, parts, at_most) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        first, large, small = (
            owe(parts, fen, days=days)[1] for fen, days in ((1200, 9002), (800, 9001), (300, 9000))
        )
        assert re.search("另有 [0-9]+ 笔不在本批", maker.get(DRAFT).text)
        batch = make(maker)
        assert [state_of(id_).value for id_ in (first, large, small)] == [
            "batched", "listed", "batched",
        ]  # fmt: skip
        refused = maker.post(f"/console/payouts/{new_id()}")
        assert (refused.status_code, "超过每日限额" in refused.text) == (409, True)
        other = make(checker)
        assert (state_of(large), other != batch) == (PayoutLineState.BATCHED, True)

    def test_what_was_refused_does_not_count(self, staff, parts, at_most) -> None:
        maker, checker = staff(Role.FINANCE), staff(Role.FINANCE)
        _, line_id = owe(parts, days=9003)
        checker.post(f"{make(maker)}/decision", {"decision": "refuse"})
        make(maker)
        assert state_of(line_id) is PayoutLineState.BATCHED


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name: str) -> None:
        words = language.dictionary(name)
        assert set(words["payout_batch_states"]) == set(BatchState)
        assert set(words["payout_states"]) == set(PayoutLineState)
        assert set(words["claim_ways"]) == set(ClaimWay)
        assert set(words["payout_ages"]) == {"0", *(str(days) for days in AGES_DAYS)}
