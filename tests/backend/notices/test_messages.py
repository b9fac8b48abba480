"""Messages to WeChat through the real sandbox: counted, sent at most once, never sent in doubt."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound, give, make_holder, make_till, present
from flask import Flask
from post import Post
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from backend import clock, db
from backend.cards import binding
from backend.charges import service as charges
from backend.db import transaction
from backend.holders import login
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.notices import messages
from backend.notices import service as notices
from backend.notices.models import HolderNotice, MessageState, NoticeMessage, SubscriptionCredit
from backend.sealing import SealedCache
from payments import MessageTemplate, WeChatMiniProgram
from payments.sandbox.keys import prepare

pytestmark = pytest.mark.usefixtures("app")

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class TestOutbox:
    def test_holds_nothing_for_who_agreed_to_nothing(self, post: Post, holder: Bound) -> None:
        post.tell(holder, "top-up-paid")
        assert post.messages(holder) == []

    def test_takes_the_credit_with_the_message(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=2)
        for left in (1, 0, 0):
            post.tell(holder, "top-up-paid")
            assert post.credits(holder) == left
        assert post.states(holder) == [("due", None)] * 2

    def test_of_several_who_are_told_those_who_agreed_are_written_to(
        self, post: Post, holder: Bound
    ) -> None:
        other = post.holder()
        post.agree(holder, "top-up-paid")
        told = {
            one.id: {"amount_fen": fen, "balance_fen": 0} for one, fen in ((holder, 7), (other, 8))
        }
        for _ in range(2):
            with transaction() as session:
                notices.tell_each(session, kind="top-up-paid", now=clock.now(), told=told)
        (message,) = post.messages(holder)
        assert (message.facts["amount_fen"], post.credits(holder)) == (7, 0)
        assert post.messages(other) == []
        with transaction() as session:
            found = session.scalars(select(HolderNotice).where(HolderNotice.holder_id == other.id))
            assert [one.facts["amount_fen"] for one in found] == [8, 8]

    def test_keeps_both_or_neither(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        with db.Session() as session:
            notices.tell(session, holder_id=holder.id, kind="top-up-paid", now=clock.now())
            session.flush()
            session.rollback()
        assert (post.credits(holder), post.messages(holder)) == (1, [])

    def test_long_term_consent_is_never_used_up(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "arrears-opened")
        for _ in range(3):
            post.tell(holder, "arrears-opened")
        assert len(post.messages(holder)) == 3
        assert post.credits(holder, "arrears-opened") == 1

    def test_agreeing_to_one_thing_is_not_agreeing_to_another(
        self, post: Post, holder: Bound
    ) -> None:
        post.agree(holder, "card-lost")
        post.tell(holder, "top-up-paid")
        assert post.messages(holder) == []

    def test_credits_never_fall_below_zero(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        key = (_index(post.parts, holder), post.template("top-up-paid"))
        with db.Session() as session:
            session.get_one(SubscriptionCredit, key).credits = -1
            with pytest.raises(IntegrityError, match="never_below_zero"):
                session.flush()

    def test_a_former_template_gives_way_to_the_one_agreed_to_last(
        self, post: Post, holder: Bound
    ) -> None:
        post.agree(holder, "top-up-paid")
        who = _caller(holder)
        with transaction() as session:
            messages.agree(
                session,
                consent_id=new_id(),
                holder_id=holder.id,
                platform="wechat",
                account_index=who.account_index,
                account_sealed=who.account_sealed,
                accepted=["newer"],
                rejected=[],
                templates={"top-up-paid": MessageTemplate(id="newer", fields={})},
                now=clock.now() + MINUTE,
            )
        post.tell(holder, "top-up-paid")
        assert [message.template_id for message in post.messages(holder)] == ["newer"]
        post.send()
        assert post.states(holder) == [("dropped", "not-configured")]


class TestSending:
    def test_says_what_happened_where_it_was_agreed(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        post.send()
        assert post.states(holder) == [("sent", None)]
        [message] = post.arrived(holder)
        assert message["title"] == "充值到账提醒"
        assert message["page"] == "pages/topups/index"
        assert message["data"]["amount1"] == "50.00元"
        assert message["data"]["amount2"] == "62.00元"

    def test_is_done_once(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        for _ in range(3):
            post.send(MINUTE)
        assert len(post.arrived(holder)) == 1

    def test_forgets_the_account_when_it_is_over(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        [before] = post.messages(holder)
        post.send()
        [after] = post.messages(holder)
        assert before.account_sealed
        assert after.account_sealed is None

    def test_comes_after_a_rest_of_others(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=3)
        for _ in range(3):
            post.tell(holder, "top-up-paid")
        assert post.send(limit=2) == 2
        assert post.send() == 1
        assert len(post.arrived(holder)) == 3


class TestRefusal:
    def test_of_who_withdrew_ends_the_consent(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=3)
        post.consent(holder, [])
        post.tell(holder, "top-up-paid")
        post.send()
        assert post.states(holder) == [("refused", "43101")]
        assert post.credits(holder) is None, "WeChat knows better than our count"
        post.tell(holder, "top-up-paid")
        assert len(post.messages(holder)) == 1

    def test_leaves_a_newer_consent_alone(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.consent(holder, [])
        post.tell(holder, "top-up-paid")
        post.agree(holder, "top-up-paid", at_wechat=False)
        post.send(-MINUTE)
        assert post.messages(holder)[0].state is MessageState.DUE
        with transaction() as session:
            sending = messages.claim(
                session, platforms=["wechat"], stale_after=MINUTE, now=clock.now()
            )
        assert sending
        post.agree(holder, "top-up-paid", at_wechat=False)
        with transaction() as session:
            messages.note_refused(
                session, message_id=sending.id, code="43101", passing=False, now=clock.now()
            )
        assert post.credits(holder) == 2

    def test_of_an_unknown_account_ends_the_consent(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", at_wechat=False)
        post.tell(holder, "top-up-paid")
        post.send()
        assert post.states(holder) == [("refused", "40003")]
        assert post.credits(holder) is None

    def test_of_a_template_gives_the_credit_back(
        self, post: Post, holder: Bound, rewired: Callable[..., Any]
    ) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        template = post.parts.messengers["wechat"].templates["top-up-paid"]
        missing = replace(template, fields={"amount1": "amount"})
        post.send(messengers=rewired(templates={"top-up-paid": missing}))
        assert post.states(holder) == [("refused", "47003")]
        assert post.credits(holder) == 1

    def test_of_a_field_that_cannot_be_filled_calls_nobody(
        self, post: Post, holder: Bound, rewired: Callable[..., Any]
    ) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        template = post.parts.messengers["wechat"].templates["top-up-paid"]
        lacking = replace(template, fields={"character_string1": "reference"})
        post.send(
            messengers=rewired(templates={"top-up-paid": lacking}, base_url="http://127.0.0.1:9")
        )
        assert post.states(holder) == [("dropped", "field-unfit")]
        assert post.credits(holder) == 1


class TestTrouble:
    @pytest.mark.parametrize(
        ("faults", "end"),
        [
            ({"answer_5xx": True}, ("http", 0)),
            ({"lose_answer": True}, ("http", 1)),
            ({"hang_seconds": 1}, ("timeout", 1)),
        ],
    )
    def test_without_an_answer_is_never_sent_again(
        self, post: Post, holder: Bound, rewired: Any, faults: Any, end: tuple[str, int]
    ) -> None:
        code, arrives = end
        post.agree(holder, "top-up-paid", times=2)
        post.tell(holder, "top-up-paid")
        messengers = rewired(timeout_seconds=[1, 0.3])
        post.faults()
        messengers["wechat"]._token()  # fetched while the platform still answers
        post.faults(**faults)
        post.send(messengers=messengers)
        post.faults()
        for later in (MINUTE, 20 * MINUTE):
            post.send(later)
        assert post.states(holder) == [("unknown", code)]
        assert post.credits(holder) == 1, "it may have been used"
        assert len(post.arrived(holder)) == arrives

    def test_without_a_way_to_the_platform_waits(
        self, post: Post, holder: Bound, rewired: Any
    ) -> None:
        post.agree(holder, "top-up-paid", times=2)
        for _ in range(2):
            post.tell(holder, "top-up-paid")
        away = rewired(base_url="http://127.0.0.1:9")
        away["wechat"]._cache.set(away["wechat"]._token_key, "token", ex=60)
        assert post.send(messengers=away) == 1, "the round ends at the first that is not answered"
        assert post.states(holder) == [("due", "unreachable"), ("due", None)]
        post.parts.redis.delete(away["wechat"]._token_key)
        post.send(MINUTE)
        assert post.states(holder) == [("sent", None)] * 2
        assert len(post.arrived(holder)) == 2

    def test_without_a_token_waits_and_in_the_end_is_refused(
        self, post: Post, holder: Bound, rewired: Any
    ) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        wrong = rewired(app_secret="wrong")
        post.parts.redis.delete(wrong["wechat"]._token_key)
        later = timedelta(0)
        for back_off in messages.BACK_OFF:
            assert post.send(later, messengers=wrong) == 1
            assert post.states(holder) == [("due", "token")]
            assert post.send(later + back_off - SECOND, messengers=wrong) == 0
            later += back_off + SECOND
        post.send(later, messengers=wrong)
        assert post.states(holder) == [("refused", "token")]
        assert post.credits(holder) == 1

    def test_with_an_outdated_token_is_sent_with_another(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        wechat = post.parts.messengers["wechat"]
        wechat._cache.set(wechat._token_key, "outdated", ex=60)
        post.send()
        assert post.states(holder) == [("due", "40001")]
        post.send(MINUTE)
        assert post.states(holder) == [("sent", None)]

    def test_that_lasted_too_long_drops_what_is_no_news_any_more(
        self, post: Post, holder: Bound
    ) -> None:
        post.agree(holder, "top-up-paid", times=2)
        post.tell(holder, "top-up-paid", now=clock.now() - 31 * MINUTE)
        post.tell(holder, "top-up-paid")
        post.send()
        assert post.states(holder) == [("dropped", "stale"), ("sent", None)]
        assert post.credits(holder) == 1
        assert len(post.arrived(holder)) == 1


class TestInterrupted:
    def test_is_unknown_after_its_lease_and_not_sent(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid")
        post.tell(holder, "top-up-paid")
        with transaction() as session:
            assert messages.claim(
                session, platforms=["wechat"], stale_after=MINUTE, now=clock.now()
            )
        post.send(messages.LEASE - MINUTE)
        assert post.states(holder) == [("sending", None)]
        post.send(messages.LEASE + MINUTE)
        assert post.states(holder) == [("unknown", "interrupted")]
        assert post.arrived(holder) == []

    def test_a_late_word_still_counts_if_it_is_yes(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=2)
        claimed = []
        for _ in range(2):
            post.tell(holder, "top-up-paid")
            with transaction() as session:
                claimed.append(
                    messages.claim(
                        session, platforms=["wechat"], stale_after=MINUTE, now=clock.now()
                    )
                )
        post.send(messages.LEASE + MINUTE)
        yes, no = (sending.id for sending in claimed if sending)
        with transaction() as session:
            messages.note_sent(session, message_id=yes)
            messages.note_refused(
                session, message_id=no, code="47003", passing=False, now=clock.now()
            )
        assert post.states(holder) == [("sent", None), ("unknown", "interrupted")]


class TestUnbinding:
    def test_drops_what_waits_and_all_that_was_agreed_to(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=2)
        post.tell(holder, "top-up-paid")
        with transaction() as session:
            who = login.authenticate(session, holder.token, clock.now())
            binding.unbind(session, caller=who, now=clock.now())
        assert post.states(holder) == [("dropped", "unbound")]
        assert post.credits(holder) is None
        post.tell(holder, "top-up-paid")
        post.send()
        assert len(post.messages(holder)) == 1
        assert post.arrived(holder) == []


class TestLowBalance:
    def test_is_told_on_the_way_down_only(
        self, post: Post, pay_small: Callable[..., list[str]]
    ) -> None:
        assert pay_small(balance_fen=2_600, charges=[500, 200, 300]) == [
            "charge-approved",
            "charge-approved",
            "balance-low",
            "charge-approved",
        ]

    def test_is_told_again_after_it_rose(self, pay_small: Callable[..., list[str]]) -> None:
        kinds = pay_small(balance_fen=2_100, charges=[200, -500, 500])
        assert kinds.count("balance-low") == 2


class TestLargeCharge:
    def test_is_sent_from_the_amount_of_the_policy_on(
        self, post: Post, pay_small: Callable[..., list[str]], holder: Bound
    ) -> None:
        post.agree(holder, "charge-approved", times=3)
        pay_small(balance_fen=20_000, charges=[2_999, 3_000, 100], holder=holder)
        post.send()
        [message] = post.arrived(holder)
        assert message["data"]["amount1"] == "30.00元"
        assert message["data"]["amount4"] == "140.01元"


class TestRetention:
    def test_deletes_what_is_over_and_old(self, post: Post, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=2)
        old = clock.now() - timedelta(days=400)
        post.tell(holder, "top-up-paid", now=old)
        post.send()
        post.tell(holder, "top-up-paid")
        post.send()
        with transaction() as session:
            messages.forget_old(session, before=clock.now() - timedelta(days=180))
        assert post.states(holder) == [("sent", None)]


class TestFigures:
    def test_count_states_and_name_reasons(self, post: Post, holder: Bound) -> None:
        moment = clock.now() + timedelta(days=3650)
        with transaction() as session:
            for state, code in (
                (MessageState.SENT, None),
                (MessageState.REFUSED, "43101"),
                (MessageState.REFUSED, "43101"),
                (MessageState.REFUSED, "47003"),
            ):
                session.add(
                    NoticeMessage(
                        id=new_id(), holder_id=holder.id, platform="wechat", account_index=b"x",
                        account_sealed=None, template_id="t", kind="card-lost", facts={},
                        state=state, code=code, tries=1, due_at=moment, written_at=moment,
                        tried_at=moment,
                    )
                )  # fmt: skip
        with transaction() as session:
            found = messages.figures_by_state(session, since=moment)
        assert [(row.state.value, row.count, row.codes) for row in found if row.count] == [
            ("sent", 1, ()),
            ("refused", 3, ("43101", "47003")),
        ]
        with transaction() as session:
            messages.forget_old(session, before=moment + SECOND)


@pytest.fixture
def rewired(post: Post, state: Any) -> Callable[..., dict[str, WeChatMiniProgram]]:
    """Return the messenger, with some of its configuration changed."""

    def build(**changes: Any) -> dict[str, WeChatMiniProgram]:
        config = prepare(state / "sandbox").wechat_mini_program_config(post.url)
        cache = SealedCache(post.parts.redis, post.parts.sealer)
        return {"wechat": WeChatMiniProgram(replace(config, **changes), cache)}

    return build


@pytest.fixture
def pay_small(post: Post, app: Flask) -> Callable[..., list[str]]:
    """Charge somebody, or give them what is negative; return what they were told."""
    till = make_till()

    def charge(who: Bound, amount_fen: int, issued_at: int) -> None:
        with transaction() as session:
            outcome, _ = charges.charge(
                session, charge_id=new_id(), terminal=till.caller,
                code=present(who.id, issued_at=issued_at), code_text="text",
                amount_fen=Fen(amount_fen), note=None, now=clock.now(),
            )  # fmt: skip
        assert outcome.reason is None

    def pay(balance_fen: int, charges: list[int], holder: Bound | None = None) -> list[str]:
        who = holder or make_holder(post.parts)
        began = int(clock.now().timestamp()) - len(charges)
        for number, amount_fen in enumerate([-balance_fen, *charges]):
            if amount_fen < 0:
                with transaction() as session:
                    give(session, who.id, main_fen=-amount_fen, subsidy_fen=0, now=clock.now())
            else:
                charge(who, amount_fen, began + number)
        # Not as the inbox reads: another worker's open transaction would hide the newest there.
        told = select(HolderNotice.kind).where(HolderNotice.holder_id == who.id)
        with transaction() as session:
            return list(session.scalars(told.order_by(HolderNotice.written_by, HolderNotice.id)))

    return pay


def _caller(holder: Bound) -> login.HolderCaller:
    with transaction() as session:
        return login.authenticate(session, holder.token, clock.now())


def _index(parts: Parts, holder: Bound) -> bytes:
    return parts.sealer.index("platform-account", f"wechat:{holder.account_id}")
