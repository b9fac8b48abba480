"""Orders and their one way to credit, on a real PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound, balances, make_holder, make_person, virtual_card
from sqlalchemy import select

from backend import clock
from backend.cards.models import Card, CardState
from backend.cards.service import AccountClosed, CardExpired
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders.limits import BelowLeast, LimitExceeded
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind
from backend.notices.models import HolderNotice
from backend.operation_log.service import SYSTEM
from backend.refunds.models import ChannelRefund
from backend.topups import figures, following, service, settling
from backend.topups.models import NoticeOutcome, StrayPayment, TopUp, TopUpState
from backend.topups.service import AlreadyPaid, TooManyUnpaid
from payments import CloseOutcome, Prepayment, Trade, TradeState

pytestmark = pytest.mark.usefixtures("app")

Order = Callable[..., TopUp]


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


def trade_of(top_up: TopUp, **changes: Any) -> Trade:
    """Return the channel's word that an order was paid as ordered, or with changes."""
    trade = Trade(
        out_trade_no=top_up.out_trade_no,
        state=TradeState.PAID,
        amount_fen=top_up.amount_fen,
        currency="CNY",
        trade_no=f"42{top_up.out_trade_no}",
        merchant_id="1900000000",
        app_id="wx0000000000000000",
        paid_at=clock.now(),
        payer=None,
    )
    return replace(trade, **changes)


def settle(trade: Trade, *, channel: str = "wechat") -> NoticeOutcome:
    """Settle as every bringer of the channel's word does."""
    with transaction() as session:
        return settling.settle(session, channel=channel, trade=trade, via="test", now=clock.now())


def put_in(top_up: TopUp, status: TopUpState) -> None:
    """Put an order into a state."""
    with transaction() as session:
        session.get_one(TopUp, top_up.id).state = status


class TestOrder:
    def test_is_stored_before_anybody_is_asked(
        self, holder: Bound, order: Order, reread: Any
    ) -> None:
        top_up = reread(order(holder, 1000))
        assert (top_up.state, top_up.client_params) == (TopUpState.CREATED, None)
        assert top_up.expires_at - top_up.created_at == timedelta(minutes=30)
        assert top_up.created_at < top_up.next_query_at < top_up.expires_at
        assert len(top_up.out_trade_no) == 32
        assert balances(holder.id) == (0, 0)

    def test_is_one_however_often_it_is_said(self, holder: Bound, order: Order) -> None:
        top_up_id = new_id()
        first = order(holder, 1000, top_up_id=top_up_id)
        again = order(holder, 1000, top_up_id=top_up_id, now=clock.now() + timedelta(days=2))
        assert again.created_at == first.created_at

    @pytest.mark.parametrize("other", [{"amount_fen": 1001}, {"channel": "alipay"}])
    def test_is_refused_under_an_id_of_other_content(
        self, holder: Bound, order: Order, other: dict[str, Any]
    ) -> None:
        top_up_id = new_id()
        order(holder, 1000, top_up_id=top_up_id)
        with pytest.raises(IdReused):
            order(holder, **{"amount_fen": 1000, "top_up_id": top_up_id, **other})

    def test_is_refused_under_an_id_of_somebody_else(
        self, parts: Parts, holder: Bound, order: Order
    ) -> None:
        top_up_id = new_id()
        order(holder, top_up_id=top_up_id)
        with pytest.raises(NotFound):
            order(make_holder(parts), top_up_id=top_up_id)

    @pytest.mark.parametrize(
        ("amount_fen", "limit", "limit_fen"),
        [
            (99, "top_up_least", 100),
            (50_001, "top_up_most", 50_000),
        ],
    )
    def test_is_within_the_schools_limits(
        self, holder: Bound, order: Order, amount_fen: int, limit: str, limit_fen: int
    ) -> None:
        refusal = BelowLeast if amount_fen < limit_fen else LimitExceeded
        with pytest.raises(refusal) as refused:
            order(holder, amount_fen)
        assert refused.value.facts == {"limit": limit, "limit_fen": limit_fen}
        order(holder, limit_fen)

    def test_may_not_lift_the_balance_above_its_limit(self, parts: Parts, order: Order) -> None:
        holder = make_holder(parts, balance_fen=199_000)
        with pytest.raises(LimitExceeded) as refused:
            order(holder, 1001)
        assert refused.value.facts == {"limit": "top_up_balance", "limit_fen": 200_000}
        order(holder, 1000)

    def test_is_refused_while_ten_wait(self, holder: Bound, order: Order) -> None:
        made = [order(holder) for _ in range(10)]
        with pytest.raises(TooManyUnpaid) as refused:
            order(holder)
        assert refused.value.facts == {"orders": 10}
        settle(trade_of(made[0]))
        order(holder)

    def test_is_refused_no_more_when_those_that_wait_are_over(
        self, holder: Bound, order: Order
    ) -> None:
        for _ in range(10):
            order(holder, now=clock.now() - timedelta(hours=1))
        order(holder)

    @pytest.mark.parametrize(
        ("card_state", "refusal"),
        [
            (CardState.LOST, None),
            (CardState.FROZEN, None),
            (CardState.EXPIRED, CardExpired),
            (CardState.CLOSING, AccountClosed),
        ],
    )
    def test_is_taken_for_a_lost_card_but_not_for_a_dead_one(
        self, holder: Bound, order: Order, card_state: CardState, refusal: Any
    ) -> None:
        with transaction() as session:
            session.get_one(Card, virtual_card(holder.id).id).state = card_state
        if refusal is None:
            order(holder)
        else:
            with pytest.raises(refusal):
                order(holder)


class TestSettle:
    @pytest.mark.parametrize(
        "status",
        [
            TopUpState.CREATED,
            TopUpState.PENDING,
            TopUpState.CLOSING,
            TopUpState.CLOSED,
            TopUpState.FAILED,
        ],
    )
    def test_credits_what_was_paid_whatever_we_thought(
        self, holder: Bound, order: Order, reread: Any, status: TopUpState
    ) -> None:
        top_up = order(holder)
        put_in(top_up, status)
        assert settle(trade_of(top_up)) is NoticeOutcome.CREDITED
        after = reread(top_up)
        assert (after.state, after.trade_no) == (TopUpState.PAID, f"42{top_up.out_trade_no}")
        assert after.next_query_at is None
        assert balances(holder.id) == (1000, 0)

    def test_credits_once(self, holder: Bound, order: Order) -> None:
        top_up = order(holder)
        said = [settle(trade_of(top_up)) for _ in range(3)]
        assert said == [NoticeOutcome.CREDITED, *[NoticeOutcome.ALREADY_SETTLED] * 2]
        assert balances(holder.id) == (1000, 0)

    def test_freezes_an_order_that_names_the_payment_of_another(
        self, holder: Bound, order: Order, reread: Any
    ) -> None:
        paid, other = order(holder), order(holder)
        settle(trade_of(paid))
        again = trade_of(other, trade_no=f"42{paid.out_trade_no}")
        assert settle(again) is NoticeOutcome.MISMATCH
        assert reread(other).state is TopUpState.EXCEPTION
        assert balances(holder.id) == (1000, 0)

    def test_takes_the_money_out_of_the_channel(self, holder: Bound, order: Order) -> None:
        with transaction() as session:
            before = ledger.prove(session).by_kind[AccountKind.CHANNEL.value]
        settle(trade_of(order(holder, channel="alipay")), channel="alipay")
        with transaction() as session:
            assert ledger.prove(session).by_kind[AccountKind.CHANNEL.value] == before - 1000

    @pytest.mark.parametrize(
        "wrong",
        [
            {"amount_fen": 999},
            {"amount_fen": 1001},
            {"amount_fen": 100_000},
            {"amount_fen": None},
            {"currency": "USD"},
            {"currency": ""},
            {"trade_no": None},
            {"trade_no": ""},
            {"state": TradeState.REFUNDED},
        ],
    )
    def test_freezes_an_order_paid_otherwise_than_ordered(
        self, holder: Bound, order: Order, reread: Any, wrong: dict[str, Any]
    ) -> None:
        top_up = order(holder)
        assert settle(trade_of(top_up, **wrong)) is NoticeOutcome.MISMATCH
        assert reread(top_up).state is TopUpState.EXCEPTION
        assert reread(top_up).next_query_at is None
        assert settle(trade_of(top_up)) is NoticeOutcome.ALREADY_SETTLED  # a person settles it
        assert balances(holder.id) == (0, 0)

    def test_leaves_a_paid_order_alone_when_a_wrong_word_comes(
        self, holder: Bound, order: Order, reread: Any
    ) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        assert settle(trade_of(top_up, amount_fen=1001)) is NoticeOutcome.MISMATCH
        refunded = trade_of(top_up, state=TradeState.REFUNDED)
        assert settle(refunded) is NoticeOutcome.ALREADY_SETTLED
        assert reread(top_up).state is TopUpState.PAID
        assert balances(holder.id) == (1000, 0)

    @pytest.mark.parametrize("said", [TradeState.UNPAID, TradeState.CLOSED, TradeState.UNKNOWN])
    def test_credits_nothing_that_is_not_paid(
        self, holder: Bound, order: Order, said: TradeState
    ) -> None:
        assert settle(trade_of(order(holder), state=said)) is NoticeOutcome.IGNORED
        assert balances(holder.id) == (0, 0)

    def test_knows_an_order_by_its_number(self, holder: Bound, order: Order) -> None:
        top_up = order(holder)
        unknown = NoticeOutcome.UNKNOWN_ORDER
        own = top_up.out_trade_no
        other_spellings = (str(top_up.id), own.upper(), f"{{urn:uuid:{own}}}", f"{{{own}}}")
        for number in ("", "x", "0" * 32, own[:-1], "é" * 32, *other_spellings):
            assert settle(trade_of(top_up, out_trade_no=number)) is unknown
        assert balances(holder.id) == (0, 0)


def strays_of(top_up: TopUp) -> list[tuple[str, str, int, str]]:
    """Return the stray payments of an order: channel, number, amount, reason."""
    with transaction() as session:
        found = session.scalars(
            select(StrayPayment)
            .where(StrayPayment.top_up_id == top_up.id)
            .order_by(StrayPayment.received_at)
        ).all()
    return [(row.channel, row.trade_no, row.amount_fen, row.reason.value) for row in found]


def owed_for(top_up: TopUp) -> list[tuple[str, str, int, int]]:
    """Return what is to go back under an order's number: channel, number, paid, amount."""
    with transaction() as session:
        found = session.scalars(
            select(ChannelRefund).where(ChannelRefund.out_trade_no == top_up.out_trade_no)
        ).all()
    return [(row.channel, row.trade_no, row.paid_fen, row.amount_fen) for row in found]


def told(holder: Bound) -> list[str]:
    """Return the kinds of what a holder was told of top-ups."""
    with transaction() as session:
        kinds = session.scalars(
            select(HolderNotice.kind)
            .where(HolderNotice.holder_id == holder.id, HolderNotice.kind.like("top-up-%"))
            .order_by(HolderNotice.id)
        )
        return list(kinds)


class TestStrayPayment:
    """What no purse takes: never credited, never lost."""

    @pytest.mark.parametrize("amount_fen", [1000, 1, 2500])
    def test_of_a_paid_order_goes_back_once(
        self, holder: Bound, order: Order, reread: Any, amount_fen: int
    ) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        second = trade_of(top_up, trade_no=f"43{top_up.out_trade_no}", amount_fen=amount_fen)
        said = [settle(second) for _ in range(3)]
        assert said == [NoticeOutcome.RETURNED, *[NoticeOutcome.ALREADY_SETTLED] * 2]
        assert strays_of(top_up) == [("wechat", second.trade_no, amount_fen, "second_payment")]
        assert owed_for(top_up) == [("wechat", second.trade_no, amount_fen, amount_fen)]
        assert (reread(top_up).state, balances(holder.id)) == (TopUpState.PAID, (1000, 0))
        assert told(holder) == ["top-up-paid", "top-up-returned"]
        assert settle(trade_of(top_up)) is NoticeOutcome.ALREADY_SETTLED

    def test_of_every_later_payment_goes_back(self, holder: Bound, order: Order) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        for n in range(3):
            settle(trade_of(top_up, trade_no=f"4{n}9{top_up.out_trade_no}"))
        assert len(strays_of(top_up)) == len(owed_for(top_up)) == 3
        assert balances(holder.id) == (1000, 0)

    def test_through_another_channel_goes_back_there(
        self, holder: Bound, order: Order, reread: Any
    ) -> None:
        top_up = order(holder)
        other = trade_of(top_up, trade_no=f"20{top_up.out_trade_no}")
        assert settle(other, channel="alipay") is NoticeOutcome.RETURNED
        assert strays_of(top_up) == [("alipay", other.trade_no, 1000, "other_channel")]
        assert owed_for(top_up) == [("alipay", other.trade_no, 1000, 1000)]
        assert (reread(top_up).state, balances(holder.id)) == (TopUpState.CREATED, (0, 0))
        assert settle(trade_of(top_up)) is NoticeOutcome.CREDITED
        assert settle(other, channel="alipay") is NoticeOutcome.ALREADY_SETTLED
        assert balances(holder.id) == (1000, 0)

    @pytest.mark.parametrize("closed", [CardState.CLOSING, CardState.CLOSED])
    def test_for_a_closed_account_goes_back(
        self, holder: Bound, order: Order, reread: Any, closed: CardState
    ) -> None:
        top_up = order(holder)
        with transaction() as session:
            for card in session.scalars(select(Card).where(Card.holder_id == holder.id)):
                card.state = closed
        assert settle(trade_of(top_up)) is NoticeOutcome.RETURNED
        after = reread(top_up)
        assert (after.state, after.next_query_at) == (TopUpState.RETURNED, None)
        assert strays_of(top_up) == [("wechat", f"42{top_up.out_trade_no}", 1000, "account_closed")]
        assert settle(trade_of(top_up)) is NoticeOutcome.ALREADY_SETTLED
        assert (balances(holder.id), told(holder)) == ((0, 0), ["top-up-returned"])
        with pytest.raises(AccountClosed):
            order(holder)

    def test_moves_money_from_the_channel_to_what_is_due(self, holder: Bound, order: Order) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        with transaction() as session:
            before = ledger.prove(session).by_kind
        settle(trade_of(top_up, trade_no=f"43{top_up.out_trade_no}"))
        with transaction() as session:
            after = ledger.prove(session).by_kind
        moved = {kind: fen - before.get(kind, 0) for kind, fen in after.items()}
        assert {kind: fen for kind, fen in moved.items() if fen} == {
            "channel": -1000, "refunds_due": 1000,
        }  # fmt: skip

    @pytest.mark.parametrize(
        "wrong",
        [
            {"amount_fen": None},
            {"amount_fen": 0},
            {"amount_fen": 10**12},
            {"currency": "USD"},
            {"state": TradeState.REFUNDED},
        ],
    )
    def test_that_cannot_simply_go_back_is_for_a_person(
        self, holder: Bound, order: Order, wrong: dict[str, Any]
    ) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        second = trade_of(top_up, **({"trade_no": f"43{top_up.out_trade_no}"} | wrong))
        assert settle(second) is NoticeOutcome.MISMATCH
        assert (strays_of(top_up), balances(holder.id)) == ([], (1000, 0))

    def test_is_not_another_orders_credit(self, holder: Bound, order: Order) -> None:
        paid, other = order(holder), order(holder)
        settle(trade_of(paid))
        settle(trade_of(other))
        again = trade_of(paid, trade_no=f"42{other.out_trade_no}")
        assert settle(again) is NoticeOutcome.MISMATCH
        assert strays_of(paid) == []


class TestReplacement:
    def test_is_an_order_of_the_same_wish(self, holder: Bound, order: Order) -> None:
        first = order(holder)
        second = order(holder, 2000, channel="alipay", replaces_id=first.id)
        third = order(holder, 2000, replaces_id=second.id)
        assert [row.wish_id for row in (first, second, third)] == [first.id] * 3

    def test_of_the_two_the_one_paid_second_goes_back(
        self, holder: Bound, order: Order, reread: Any
    ) -> None:
        for first_pays in (True, False):
            before = balances(holder.id)[0]
            old = order(holder)
            new = order(holder, 2000, channel="alipay", replaces_id=old.id)
            sooner, later = (old, new) if first_pays else (new, old)
            assert settle(trade_of(sooner), channel=sooner.channel) is NoticeOutcome.CREDITED
            assert settle(trade_of(later), channel=later.channel) is NoticeOutcome.RETURNED
            assert reread(later).state is TopUpState.RETURNED
            assert strays_of(later) == [
                (later.channel, f"42{later.out_trade_no}", later.amount_fen, "replaced")
            ]
            assert balances(holder.id)[0] - before == sooner.amount_fen

    @pytest.mark.parametrize("status", [TopUpState.PAID, TopUpState.EXCEPTION])
    def test_of_what_brought_money_is_refused(
        self, holder: Bound, order: Order, status: TopUpState
    ) -> None:
        top_up = order(holder)
        put_in(top_up, status)
        with pytest.raises(AlreadyPaid) as refused:
            order(holder, 2000, replaces_id=top_up.id)
        assert refused.value.facts == {
            "top_up_id": str(top_up.id), "state": status.value, "amount_fen": 1000,
        }  # fmt: skip

    def test_of_nothing_or_of_somebody_elses_is_not_found(
        self, holder: Bound, order: Order, parts: Parts
    ) -> None:
        for replaced in (new_id(), order(make_holder(parts)).id):
            with pytest.raises(NotFound):
                order(holder, replaces_id=replaced)

    def test_belongs_to_what_an_id_says(self, holder: Bound, order: Order) -> None:
        old, id_ = order(holder), new_id()
        order(holder, top_up_id=id_, replaces_id=old.id)
        assert order(holder, top_up_id=id_, replaces_id=old.id).id == id_
        for other in (None, order(holder).id):
            with pytest.raises(IdReused):
                order(holder, top_up_id=id_, replaces_id=other)


class TestCancel:
    def cancel(self, holder: Bound, top_up: TopUp) -> TopUp:
        with transaction() as session:
            return service.cancel(
                session, top_up_id=top_up.id, holder_id=holder.id, actor=SYSTEM, now=clock.now()
            )

    @pytest.mark.parametrize(("channel", "minutes"), [("wechat", 5), ("alipay", 0)])
    def test_closes_an_unpaid_order_when_its_channel_may(
        self, holder: Bound, order: Order, channel: str, minutes: int
    ) -> None:
        top_up = order(holder, channel=channel)
        after = self.cancel(holder, top_up)
        assert after.state is TopUpState.CLOSING
        due = top_up.created_at + timedelta(minutes=minutes)
        assert abs(after.next_query_at - due) < timedelta(seconds=10)
        again = self.cancel(holder, top_up)
        assert again.next_query_at == after.next_query_at

    @pytest.mark.parametrize(
        "status", [status for status in TopUpState if status not in ("created", "pending")]
    )
    def test_leaves_every_other_order_as_it_is(
        self, holder: Bound, order: Order, status: TopUpState
    ) -> None:
        top_up = order(holder)
        put_in(top_up, status)
        assert self.cancel(holder, top_up).state is status

    def test_of_somebody_elses_is_not_found(
        self, holder: Bound, order: Order, parts: Parts
    ) -> None:
        with pytest.raises(NotFound):
            self.cancel(holder, order(make_holder(parts)))

    def test_does_not_keep_a_payment_from_being_credited(self, holder: Bound, order: Order) -> None:
        top_up = order(holder)
        self.cancel(holder, top_up)
        assert settle(trade_of(top_up)) is NoticeOutcome.CREDITED


class TestUnresolved:
    def test_counts_what_is_frozen_and_what_is_open_for_too_long(
        self, holder: Bound, order: Order
    ) -> None:
        def count() -> tuple[int, int]:
            with transaction() as session:
                found = figures.unresolved(session, now=clock.now())
            return found.frozen, found.overdue

        long_ago = clock.now() - timedelta(hours=26, minutes=1)
        before = count()
        old, young = order(holder, now=long_ago), order(holder)
        assert count() == (before[0], before[1] + 1)
        put_in(young, TopUpState.EXCEPTION)
        assert count() == (before[0] + 1, before[1] + 1)
        put_in(old, TopUpState.EXCEPTION)
        assert count() == (before[0] + 2, before[1] + 1)
        for top_up in (old, young):
            put_in(top_up, TopUpState.CLOSED)
        assert count() == before


class TestWordsThatComeLate:
    def test_an_order_taken_late_stays_paid(
        self, holder: Bound, order: Order, reread: Any, parts: Parts
    ) -> None:
        top_up = order(holder)
        settle(trade_of(top_up))
        with transaction() as session:
            service.note_ordered(
                session, top_up_id=top_up.id, prepayment=Prepayment("p", {"kind": "qr"})
            )
        with transaction() as session:
            service.note_refused(session, top_up_id=top_up.id)
        with transaction() as session:
            assert not following.begin_close(session, top_up_id=top_up.id, now=clock.now())
        with transaction() as session:
            following.note_closed(
                session, top_up_id=top_up.id, outcome=CloseOutcome.CLOSED, now=clock.now()
            )
        assert reread(top_up).state is TopUpState.PAID
        assert reread(top_up).next_query_at is None

    @pytest.mark.parametrize("outcome", [CloseOutcome.ALREADY_PAID, CloseOutcome.RETRY])
    def test_only_the_channels_yes_closes_an_order(
        self, holder: Bound, order: Order, reread: Any, outcome: CloseOutcome
    ) -> None:
        top_up, now = order(holder), clock.now()
        with transaction() as session:
            assert following.begin_close(session, top_up_id=top_up.id, now=now)
        with transaction() as session:
            following.note_closed(session, top_up_id=top_up.id, outcome=outcome, now=now)
        after = reread(top_up)
        assert (after.state, after.next_query_at) == (
            TopUpState.CLOSING,
            now + timedelta(seconds=30),
        )

    @pytest.mark.parametrize("outcome", [CloseOutcome.CLOSED, CloseOutcome.NOT_FOUND])
    def test_a_closed_order_is_looked_at_once_more(
        self, holder: Bound, order: Order, reread: Any, outcome: CloseOutcome
    ) -> None:
        top_up, now = order(holder), clock.now()
        with transaction() as session:
            following.begin_close(session, top_up_id=top_up.id, now=now)
        with transaction() as session:
            following.note_closed(session, top_up_id=top_up.id, outcome=outcome, now=now)
        after = reread(top_up)
        last_look = top_up.expires_at + timedelta(hours=1)
        assert (after.state, after.next_query_at) == (TopUpState.CLOSED, last_look)


class TestClaim:
    def test_is_for_one_worker_at_a_time(self, holder: Bound, order: Order) -> None:
        top_up, due = order(holder), clock.now() + timedelta(seconds=30)

        def claim(when: Any) -> bool:
            with transaction() as session:
                found = following.claim_due(session, channel="wechat", now=when, limit=1000)
            return top_up.id in {question.top_up_id for question in found}

        assert not claim(due - timedelta(seconds=4))
        assert claim(due)
        assert not claim(due)
        assert claim(due + timedelta(seconds=61))  # the worker died

    def test_skips_what_another_worker_holds(self, holder: Bound, order: Order) -> None:
        top_up, due = order(holder), clock.now() + timedelta(seconds=10)
        with transaction() as session:
            session.scalars(select(TopUp).where(TopUp.id == top_up.id).with_for_update()).one()
            with transaction() as other:
                found = following.claim_due(other, channel="wechat", now=due, limit=1000)
        assert top_up.id not in {question.top_up_id for question in found}


class TestList:
    def test_is_of_ones_own_newest_first_in_pages(
        self, parts: Parts, holder: Bound, order: Order
    ) -> None:
        order(make_holder(parts))
        made = [order(holder, 100 + n).id for n in range(5)]
        with transaction() as session:
            found, before = [], None
            while page := figures.list_top_ups(
                session, holder_id=holder.id, before=before, limit=2
            ):
                found += [top_up.id for top_up in page]
                before = (page[-1].created_at, page[-1].id)
        assert found == made[::-1]

    def test_finds_nobody_elses(self, parts: Parts, holder: Bound, order: Order) -> None:
        top_up, stranger = order(holder), make_person(parts)
        with transaction() as session:
            with pytest.raises(NotFound):
                service.find(session, top_up_id=top_up.id, holder_id=stranger.id)
            with pytest.raises(NotFound):
                service.find(session, top_up_id=new_id(), holder_id=holder.id)
