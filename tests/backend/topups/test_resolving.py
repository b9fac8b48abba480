"""Frozen top-ups over HTTP: the channel's present word leaves one way, and two people go it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, balances, make_holder, sign_in
from flask import Flask
from sandboxes import Platform
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.operators.models import Role
from backend.refunds.models import ChannelRefund
from backend.topups import asking
from backend.topups.models import StrayPayment, TopUp, TopUpState
from backend.topups.settling import settle
from payments import Trade, TradeState

PATH = "/api/v1/staff/top-ups"


class Office:
    """Two people of finance at the API, and the channels behind it."""

    def __init__(self, app: Flask, parts: Parts, platform: Platform, order: Any) -> None:
        self.client, self.parts, self.platform, self.order = (
            app.test_client(),
            parts,
            platform,
            order,
        )
        self.maker, self.checker = (sign_in(parts, Role.FINANCE) for _ in range(2))

    def freeze(
        self, holder: Bound, *, told_fen: int = 1, trade_no: str = "4200", channel: str = "wechat"
    ) -> TopUp:
        """Order 10.00 yuan at the sandbox, and have a signed word tell of another amount."""
        top_up = asking.place_order(
            self.order(holder, 1000, channel=channel),
            channel=self.parts.channels[channel],
            sealer=self.parts.sealer,
        )
        told = Trade(
            top_up.out_trade_no, TradeState.PAID, told_fen, "CNY", trade_no, "m", "a", None, None
        )
        with transaction() as session:
            settle(session, channel=channel, trade=told, via="notice", now=clock.now())
            return session.get_one(TopUp, top_up.id)

    def call(self, method: str, path: str, who: dict[str, str] | None = None, **body: Any) -> Any:
        said = {"json": body} if body else {}
        return self.client.open(PATH + path, method=method, headers=who or self.maker, **said)

    def propose(self, top_up: TopUp, id_: UUID, reason: str = "客户来电", **who: Any) -> Any:
        return self.call("PUT", f"/{top_up.id}/resolutions/{id_}", reason=reason, **who)

    def decide(self, top_up: TopUp, id_: UUID, who: Any, *, approve: bool = True) -> Any:
        return self.call("POST", f"/{top_up.id}/resolutions/{id_}/decision", who, approve=approve)

    def resolve(self, top_up: TopUp) -> str:
        """Settle it by two people; return the way that it went."""
        id_ = new_id()
        way: str = self.propose(top_up, id_).get_json()["way"]
        assert self.decide(top_up, id_, self.checker).status_code == 201
        return way


@pytest.fixture
def holder(parts: Parts) -> Bound:
    return make_holder(parts)


@pytest.fixture
def office(app: Flask, parts: Parts, platform: Platform, order: Any) -> Office:
    return Office(app, parts, platform, order)


Reread = Callable[[TopUp], TopUp]


class TestWays:
    @pytest.mark.parametrize("channel", ["wechat", "alipay"])
    def test_what_is_paid_as_ordered_is_credited(
        self, office: Office, holder: Bound, reread: Reread, channel: str
    ) -> None:
        frozen = office.freeze(holder, channel=channel)
        assert frozen.state is TopUpState.EXCEPTION
        office.platform.faults(drop=True)
        office.platform.pay(frozen)
        assert balances(holder.id)[0] == 0
        assert office.resolve(frozen) == "credit"
        assert reread(frozen).state is TopUpState.PAID
        assert balances(holder.id)[0] == 1000

    def test_what_nobody_paid_is_closed(
        self, office: Office, holder: Bound, reread: Reread
    ) -> None:
        frozen = office.freeze(holder)
        assert office.resolve(frozen) == "nothing_came"
        assert reread(frozen).state is TopUpState.CLOSED
        assert balances(holder.id)[0] == 0

    def test_what_is_not_as_ordered_goes_back(
        self, office: Office, holder: Bound, reread: Reread
    ) -> None:
        frozen = office.freeze(holder)
        office.platform.faults(drop=True)
        office.platform.pay(frozen)
        with transaction() as session:  # the platform knows of 10.00 yuan: let ours be of 9.00
            session.execute(update(TopUp).where(TopUp.id == frozen.id).values(amount_fen=900))
        assert office.resolve(frozen) == "send_back"
        assert reread(frozen).state is TopUpState.RETURNED
        with transaction() as session:
            stray = session.query(StrayPayment).filter_by(top_up_id=frozen.id).one()
            refund = session.query(ChannelRefund).filter_by(subject_id=stray.id).one()
        assert (stray.amount_fen, refund.amount_fen) == (1000, 1000)
        assert balances(holder.id)[0] == 0
        with transaction() as session:
            assert ledger.prove(session).holds

    def test_what_another_order_took_is_closed(
        self, office: Office, holder: Bound, reread: Reread
    ) -> None:
        frozen = office.freeze(holder)
        office.platform.faults(drop=True)
        office.platform.pay(frozen)
        told = office.parts.channels["wechat"].query(frozen.out_trade_no)
        taken = office.order(holder, 1000)
        with transaction() as session:
            session.execute(
                update(TopUp)
                .where(TopUp.id == taken.id)
                .values(state=TopUpState.PAID, trade_no=told.trade_no, next_query_at=None)
            )
        assert office.resolve(frozen) == "of_another"
        assert reread(frozen).state is TopUpState.CLOSED


class TestTwoPeople:
    def test_one_person_is_not_enough(self, office: Office, holder: Bound, reread: Reread) -> None:
        frozen, id_ = office.freeze(holder), new_id()
        assert office.propose(frozen, id_).status_code == 201
        answer = office.decide(frozen, id_, office.maker)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "second-person-needed")
        assert reread(frozen).state is TopUpState.EXCEPTION
        with pytest.raises(IntegrityError, match="two_people"), transaction() as session:
            session.execute(
                text(
                    "UPDATE top_up_resolutions SET approved = true, approved_by = made_by,"
                    " decided_at = now() WHERE id = :id"
                ),
                {"id": id_},
            )

    def test_a_refused_one_makes_room_for_the_next(self, office: Office, holder: Bound) -> None:
        frozen, first, second = office.freeze(holder), new_id(), new_id()
        office.propose(frozen, first)
        assert office.propose(frozen, second).get_json()["code"] == "resolution-waits"
        assert office.decide(frozen, first, office.checker, approve=False).status_code == 201
        assert office.propose(frozen, second).status_code == 201
        said = office.decide(frozen, first, office.checker).get_json()
        assert (said["code"], said["approved"]) == ("resolution-decided", False)

    def test_only_what_was_proposed_is_done(
        self, office: Office, holder: Bound, reread: Reread
    ) -> None:
        frozen, id_ = office.freeze(holder), new_id()
        assert office.propose(frozen, id_).get_json()["way"] == "nothing_came"
        office.platform.faults(drop=True)
        office.platform.pay(frozen)
        answer = office.decide(frozen, id_, office.checker)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "channel-says-otherwise")
        assert reread(frozen).state is TopUpState.EXCEPTION
        assert office.decide(frozen, id_, office.checker, approve=False).status_code == 201
        assert office.resolve(frozen) == "credit"

    def test_a_silent_channel_settles_nothing(
        self, office: Office, holder: Bound, reread: Reread
    ) -> None:
        frozen, id_ = office.freeze(holder), new_id()
        office.platform.faults(answer_5xx=True)
        assert office.propose(frozen, id_).get_json()["code"] == "channel-silent"
        office.platform.faults()
        office.propose(frozen, id_)
        office.platform.faults(answer_5xx=True)
        answer = office.decide(frozen, id_, office.checker)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "channel-silent")
        assert reread(frozen).state is TopUpState.EXCEPTION


class TestRetries:
    def test_get_the_first_answer(self, office: Office, holder: Bound) -> None:
        frozen, id_ = office.freeze(holder), new_id()
        first = office.propose(frozen, id_).get_json()
        office.decide(frozen, id_, office.checker)
        again = office.propose(frozen, id_)
        assert (again.status_code, again.get_json()) == (200, first)
        decided = office.decide(frozen, id_, office.checker)
        assert (decided.status_code, decided.get_json()["approved"]) == (200, True)
        assert office.propose(frozen, id_, "另一原因").get_json()["code"] == "id-reused"
        other = office.freeze(holder, trade_no="4201")
        assert office.propose(other, id_).status_code == 404
        assert office.propose(frozen, new_id()).get_json()["code"] == "top-up-not-frozen"

    def test_are_one_row_of_the_log_each(self, office: Office, holder: Bound) -> None:
        frozen = office.freeze(holder)
        office.resolve(frozen)
        with transaction() as session:
            actions = session.scalars(
                text("SELECT action FROM operation_log WHERE subject_id = :id ORDER BY at, id"),
                {"id": frozen.id},
            ).all()
        assert actions[-2:] == ["top_up.resolution_make", "top_up.resolution_approve"]


class TestLooking:
    def test_lists_what_is_frozen(self, office: Office, holder: Bound) -> None:
        frozen = office.freeze(holder)
        items = office.call("GET", "?state=exception").get_json()["items"]
        assert str(frozen.id) in [item["id"] for item in items]
        office.propose(frozen, new_id())
        shown = office.call("GET", f"/{frozen.id}").get_json()
        assert shown["state"] == "exception"
        assert [each["way"] for each in shown["resolutions"]] == ["nothing_came"]
        assert office.call("GET", f"/{new_id()}").status_code == 404
        assert office.call("GET", "?state=lost").status_code == 422
