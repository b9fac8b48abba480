"""The job that fetches bills: what is due, what is not there yet, and what nobody believes."""

import logging
from datetime import timedelta

import pytest

from backend import clock
from backend.clock import business_date
from backend.db import transaction
from backend.operation_log.service import SYSTEM
from backend.reconciliation import fetch_plan, fetching
from backend.reconciliation.fetching import BillNotThere
from backend.reconciliation.importing import BillEmpty
from backend.reconciliation.models import BillFetch, BillState, LineMatch
from backend.reconciliation.rules import first_try_at
from backend.refunds.handling import ChannelSilent
from backend.topups.models import TopUp, TopUpState

from .conftest import Past, lines_of

pytestmark = pytest.mark.usefixtures("app")

SOON = timedelta(minutes=1)
LATER = timedelta(days=1)


def missed(past: Past) -> None:
    """Let the day's bill be one that was missed."""
    with transaction() as session:
        session.add(
            BillFetch(
                channel=past.channel.name, day=past.day, next_try_at=clock.now() - SOON, tries=0
            )
        )


def fetch_due(past: Past, *, after: timedelta = timedelta()) -> int:
    """Run the job, as if so much time had gone by."""
    channels = {past.channel.name: past.channel}
    return fetching.fetch_due(channels=channels, sealer=past.parts.sealer, now=clock.now() + after)


def fetch_of(past: Past) -> BillFetch:
    """Return how fetching the day's bill stands."""
    with transaction() as session:
        return session.get_one(BillFetch, (past.channel.name, past.day))


class TestJob:
    def test_fetches_a_missed_bill_once(self, past: Past) -> None:
        order = past.settled()
        missed(past)
        fetch_due(past)
        (bill,) = past.bills()
        assert (bill.state, bill.payments) == (BillState.IMPORTED, 1)
        assert lines_of(bill.id) == {order.out_trade_no: [LineMatch.MATCHED]}
        stands = fetch_of(past)
        assert (stands.next_try_at, stands.answer, stands.alarmed_at) == (None, None, None)
        fetch_due(past, after=LATER)
        assert [each.id for each in past.bills()] == [bill.id]

    def test_closes_the_rest(self, past: Past) -> None:
        order = past.order()
        with transaction() as session:
            stored = session.get_one(TopUp, order.id)
            stored.state, stored.next_query_at = TopUpState.CLOSED, None
        missed(past)
        fetch_due(past)
        with transaction() as session:
            assert session.get_one(TopUp, order.id).state is TopUpState.PAID

    def test_plans_yesterday_and_the_days_since_the_first_order(self, past: Past) -> None:
        now = clock.now()
        with transaction() as session:
            fetch_plan.plan_fetches(session, channel=past.channel.name, now=now)
            fetch_plan.plan_fetches(session, channel=past.channel.name, now=now)
            yesterday = business_date(now) - timedelta(days=1)
            planned = session.get_one(BillFetch, (past.channel.name, yesterday))
            assert (
                planned.next_try_at is None
                or planned.tries
                or (planned.next_try_at == first_try_at(yesterday))
            )

    def test_tries_again_and_raises_the_alarm_once_a_day(
        self, past: Past, caplog: pytest.LogCaptureFixture
    ) -> None:
        past.settled()
        past.differ("not_ready")
        missed(past)
        fetch_due(past)
        stands = fetch_of(past)
        # Alipay says the same of a day without a trade: we know better.
        known = {"wechat": "not-ready", "alipay": "empty-though-paid"}
        assert (stands.answer, stands.tries) == (known[past.channel.name], 1)
        assert past.bills() == []
        assert stands.alarmed_at is not None
        assert stands.next_try_at is None or stands.next_try_at > clock.now()
        assert f"bill of {past.channel.name} on {past.day} is not there" in caplog.text
        assert self.alarms(caplog) == 1
        with transaction() as session:
            args = {"channel": past.channel.name, "day": past.day, "answer": "not-ready"}
            assert not fetch_plan.note_not_fetched(session, now=clock.now(), **args)
            assert fetch_plan.note_not_fetched(session, now=clock.now() + LATER, **args)
        with transaction() as session:
            assert past.day in {fetch.day for fetch in fetch_plan.overdue_fetches(session)}
        past.differ()
        past.take()
        assert fetch_of(past).alarmed_at is None
        assert fetch_of(past).next_try_at is None

    def alarms(self, caplog: pytest.LogCaptureFixture) -> int:
        return sum(record.levelno == logging.ERROR for record in caplog.records)

    def test_is_quiet_until_the_evening(self, past: Past) -> None:
        yesterday = business_date(clock.now()) - timedelta(days=1)
        for hours, alarm in ((0, False), (9, False), (10, True), (11, False), (24, True)):
            with transaction() as session:
                raised = fetch_plan.note_not_fetched(
                    session,
                    channel=f"{past.channel.name}-{past.day}",  # a row of this test's own
                    day=yesterday,
                    answer="not-ready",
                    now=first_try_at(yesterday) + timedelta(hours=hours),
                )
            assert raised is alarm, hours

    def test_does_not_believe_that_a_day_with_payments_was_empty(self, past: Past) -> None:
        past.settled()
        past.differ("empty_day")
        missed(past)
        fetch_due(past)
        assert (past.bills(), fetch_of(past).answer) == ([], "empty-though-paid")

    def test_keeps_what_it_cannot_read_and_says_so(
        self, past: Past, caplog: pytest.LogCaptureFixture
    ) -> None:
        past.settled()
        past.differ("changed_header")
        missed(past)
        fetch_due(past)
        (bill,) = past.bills()
        stands = fetch_of(past)
        assert (bill.state, bill.fault, stands.answer) == (BillState.REFUSED, "header", "refused")
        assert stands.alarmed_at is not None
        assert stands.next_try_at is not None
        assert "refused: header in line" in caplog.text

    def test_goes_on_after_a_channel_that_does_not_answer(self, past: Past) -> None:
        past.settled()
        missed(past)
        past.post("faults", {"answer_5xx": True, "drop": True})
        fetch_due(past)
        assert past.bills() == []
        assert fetch_of(past).tries == 1
        past.post("faults", {"drop": True})
        with transaction() as session:
            fetch = session.get_one(BillFetch, (past.channel.name, past.day))
            fetch.next_try_at = clock.now()
        fetch_due(past)
        assert len(past.bills()) == 1

    def test_leaves_what_a_killed_worker_claimed_to_the_next(self, past: Past) -> None:
        missed(past)
        now, claimed = clock.now(), []
        while day := self.claim(past, now):
            claimed.append(day)
        assert past.day in claimed
        assert self.claim(past, now + fetch_plan.LEASE - SOON) is None
        again = []
        while day := self.claim(past, now + fetch_plan.LEASE):
            again.append(day)
        assert sorted(again) == sorted(claimed)

    def claim(self, past: Past, now):  # type: ignore[no-untyped-def]
        with transaction() as session:
            return fetch_plan.claim_fetch(session, channel=past.channel.name, now=now)


class TestNow:
    def fetch(self, past: Past):  # type: ignore[no-untyped-def]
        return fetching.fetch(
            past.channel, past.day, sealer=past.parts.sealer, actor=SYSTEM, now=clock.now()
        )

    def test_brings_what_is_there(self, past: Past) -> None:
        past.settled()
        assert self.fetch(past).first
        assert not self.fetch(past).first

    def test_says_what_is_not(self, past: Past) -> None:
        past.settled()
        past.differ("not_ready")
        with pytest.raises((BillNotThere, BillEmpty)):
            self.fetch(past)
        past.post("faults", {"lose_answer": True, "drop": True})
        with pytest.raises(ChannelSilent):
            self.fetch(past)
