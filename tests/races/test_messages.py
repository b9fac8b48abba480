"""Messages at the same moment: one credit is one message, and one message is sent once."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from factories import Bound
from post import Post

from backend import clock
from backend.cards import binding
from backend.db import transaction
from backend.holders import login
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices import messages
from backend.notices import service as notices

pytestmark = pytest.mark.usefixtures("app")

AtOnce = Callable[..., list[Any]]


@pytest.fixture
def post(parts: Parts, platform_sandbox: str) -> Iterator[Post]:
    ends = Post(parts, platform_sandbox)
    yield ends
    ends.faults()


@pytest.fixture
def holder(post: Post) -> Bound:
    """Somebody, the only one for whom anything is due."""
    somebody = post.holder()
    post.waiting(somebody.id)
    return somebody


class TestOneCredit:
    def test_is_one_message_of_ten_notices_at_once(
        self, post: Post, at_once: AtOnce, holder: Bound
    ) -> None:
        for round_ in range(1, 6):
            post.agree(holder, "top-up-paid")
            at_once(*[partial(post.tell, holder, "top-up-paid")] * 10)
            assert len(post.messages(holder)) == round_
            assert post.credits(holder) == 0

    def test_is_counted_once_for_one_answer_told_ten_times_at_once(
        self, post: Post, at_once: AtOnce, holder: Bound
    ) -> None:
        with transaction() as session:
            who = login.authenticate(session, holder.token, clock.now())
        consent_id = new_id()

        def agree() -> bool:
            with transaction() as session:
                return messages.agree(
                    session,
                    consent_id=consent_id,
                    holder_id=holder.id,
                    platform="wechat",
                    account_index=who.account_index,
                    account_sealed=who.account_sealed,
                    accepted=[post.template("top-up-paid")],
                    rejected=[],
                    templates=post.parts.messengers["wechat"].templates,
                    now=clock.now(),
                )[1]

        assert Counter(at_once(*[agree] * 10)) == {True: 1, False: 9}
        assert post.credits(holder) == 1


class TestTwoRelays:
    def test_never_have_the_same_message(self, post: Post, at_once: AtOnce, holder: Bound) -> None:
        post.agree(holder, "top-up-paid", times=40)
        for number in range(40):
            with transaction() as session:
                notices.tell(
                    session, holder_id=holder.id, kind="top-up-paid", now=clock.now(),
                    amount_fen=number, balance_fen=0,
                )  # fmt: skip
        sent = at_once(*[post.send] * 4)
        assert sum(sent) == 40
        arrived = Counter(one["data"]["amount1"] for one in post.arrived(holder))
        assert len(arrived) == 40
        assert set(arrived.values()) == {1}


class TestUnbinding:
    def test_leaves_nothing_waiting_however_it_meets_the_rest(
        self, post: Post, at_once: AtOnce
    ) -> None:
        for _ in range(6):
            holder = post.holder()
            post.waiting(holder.id)
            post.agree(holder, "top-up-paid", times=8)
            post.tell(holder, "top-up-paid")

            def unbind(holder: Bound = holder) -> None:
                with transaction() as session:
                    who = login.authenticate(session, holder.token, clock.now())
                    binding.unbind(session, caller=who, now=clock.now())

            tell = partial(post.tell, holder, "top-up-paid")
            at_once(unbind, *[tell] * 4, post.send, post.send)
            states = {state for state, _ in post.states(holder)}
            assert states <= {"dropped", "sent"}
            assert post.credits(holder) is None


class TestReading:
    def test_never_goes_back_whoever_comes_last(
        self, post: Post, at_once: AtOnce, holder: Bound
    ) -> None:
        for _ in range(6):
            post.tell(holder, "card-lost")
        rows: list[Any] = []
        while len(rows) < 6:  # the horizon waits for other tests' transactions
            with transaction() as session:
                rows = list(
                    notices.list_notices(session, holder_id=holder.id, before=None, limit=6)
                )
        places = [(row.written_by, row.id) for row in rows]

        def read(place: Any) -> None:
            with transaction() as session:
                notices.mark_read(session, holder_id=holder.id, up_to=place)

        at_once(*(partial(read, place) for place in places * 2))
        with transaction() as session:
            assert notices.mark_of(session, holder_id=holder.id) == max(places)
