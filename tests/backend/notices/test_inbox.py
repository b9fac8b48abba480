"""The inbox over HTTP: newest first, complete, read up to a place; and what may be sent besides."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder
from flask import Flask
from werkzeug.test import TestResponse

from backend import clock, db
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices import service as notices
from backend.notices.models import HolderNotice

pytestmark = pytest.mark.usefixtures("app")

Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(app: Flask) -> Ask:
    client = app.test_client()

    def send(who: Bound, method: str, path: str, **request: Any) -> TestResponse:
        return client.open(f"/api/v1/me/{path}", method=method, headers=who.headers, **request)

    return send


def tell(holder: Bound, *kinds: str) -> None:
    """Tell a holder some things, each in a transaction of its own, and wait until all are seen."""
    for kind in kinds:
        with transaction() as session:
            notices.tell(session, holder_id=holder.id, kind=kind, now=clock.now(), amount_fen=100)
    for _ in range(100):  # what else runs in the database has to let them through
        with transaction() as session:
            seen = notices.list_notices(session, holder_id=holder.id, before=None, limit=1)
        if seen and seen[0].kind == kinds[-1]:
            return
        time.sleep(0.05)


class TestListNotices:
    def test_shows_the_newest_first_in_pages(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        tell(holder, *(f"kind-{number}" for number in range(5)))
        seen, cursor, newest = [], None, []
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            body = ask(holder, "GET", "notices", query_string=query).get_json()
            seen += [item["kind"] for item in body["items"]]
            newest.append(body["newest"])
            cursor = body["next_cursor"]
            if cursor is None:
                break
        assert seen == [f"kind-{number}" for number in (4, 3, 2, 1, 0)]
        assert newest[0]
        assert newest[1:] == [None, None]

    def test_says_what_each_is_about(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        tell(holder, "top-up-paid")
        [item] = ask(holder, "GET", "notices").get_json()["items"]
        assert (item["kind"], item["amount_fen"], item["read"]) == ("top-up-paid", 100, False)
        assert item["at"].endswith("Z")

    def test_is_empty_at_first(self, parts: Parts, ask: Ask) -> None:
        assert ask(make_holder(parts), "GET", "notices").get_json() == {
            "items": [],
            "next_cursor": None,
            "unread": 0,
            "newest": None,
        }

    def test_leaves_out_where_somebody_went(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        tell(holder, "passage-allowed", "passage-denied")
        body = ask(holder, "GET", "notices").get_json()
        assert [item["kind"] for item in body["items"]] == ["passage-denied"]
        assert body["unread"] == 1

    @pytest.mark.parametrize("cursor", ["", "x", "1.2", f"{10**18}.{'0' * 32}", "1\n"])
    def test_refuses_a_place_that_nobody_gave(self, parts: Parts, ask: Ask, cursor: str) -> None:
        answer = ask(make_holder(parts), "GET", "notices", query_string={"cursor": cursor})
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")


class TestReadNotices:
    def test_counts_down_and_never_up(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        tell(holder, "one", "two")
        first = ask(holder, "GET", "notices").get_json()
        assert first["unread"] == 2
        for _ in range(2):
            answer = ask(holder, "PUT", "notices/read", json={"up_to": first["newest"]})
            assert (answer.status_code, answer.get_json()) == (200, {"unread": 0})
        tell(holder, "three")
        second = ask(holder, "GET", "notices").get_json()
        assert [item["read"] for item in second["items"]] == [False, True, True]
        ask(holder, "PUT", "notices/read", json={"up_to": second["newest"]})
        ask(holder, "PUT", "notices/read", json={"up_to": first["newest"]})
        assert ask(holder, "GET", "notices").get_json()["unread"] == 0

    def test_reads_nothing_that_is_yet_to_come(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        tell(holder, "one")
        ahead = {"up_to": "9" * 18 + "." + "f" * 32}
        assert ask(holder, "PUT", "notices/read", json=ahead).get_json() == {"unread": 0}
        tell(holder, "two")
        assert ask(holder, "GET", "notices").get_json()["unread"] == 1

    def test_what_committed_late_is_unread_and_on_top(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        with db.Session() as slow:
            notices.tell(slow, holder_id=holder.id, kind="slow", now=clock.now())
            slow.flush()
            with transaction() as session:
                notices.tell(session, holder_id=holder.id, kind="quick", now=clock.now())
            ahead = {"up_to": "9" * 18 + "." + "f" * 32}
            assert ask(holder, "GET", "notices").get_json()["items"] == []
            ask(holder, "PUT", "notices/read", json=ahead)
            slow.commit()
        tell(holder, "last")
        body = ask(holder, "GET", "notices").get_json()
        assert [item["kind"] for item in body["items"]] == ["last", "quick", "slow"]
        assert body["unread"] == 3

    def test_is_everybodys_own(self, parts: Parts, ask: Ask) -> None:
        one, other = make_holder(parts), make_holder(parts)
        tell(one, "secret")
        place = ask(one, "GET", "notices").get_json()["newest"]
        ask(other, "PUT", "notices/read", json={"up_to": place})
        assert ask(one, "GET", "notices").get_json()["unread"] == 1
        assert ask(other, "GET", "notices").get_json()["items"] == []

    def test_counts_to_a_hundred(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts)
        with transaction() as session:
            for _ in range(130):
                notices.tell(session, holder_id=holder.id, kind="many", now=clock.now())
        tell(holder, "last")
        assert ask(holder, "GET", "notices").get_json()["unread"] == 100


class TestForgetOld:
    def test_deletes_old_ones_only(self, parts: Parts) -> None:
        holder = make_holder(parts)
        with transaction() as session:
            for days in (181, 179):
                at = clock.now() - timedelta(days=days)
                notices.tell(session, holder_id=holder.id, kind=f"{days}", now=at)
        with transaction() as session:
            assert notices.forget_old(session, before=clock.now() - timedelta(days=180)) >= 1
        with transaction() as session:
            left = session.query(HolderNotice).filter_by(holder_id=holder.id).all()
        assert [notice.kind for notice in left] == ["179"]


class TestMessageConsents:
    @pytest.fixture
    def template_id(self, parts: Parts) -> str:
        return parts.messengers["wechat"].templates["top-up-paid"].id

    def answer(self, ask: Ask, who: Bound, id_: UUID, *accepted: str) -> TestResponse:
        body = {"accepted": list(accepted), "rejected": []}
        return ask(who, "PUT", f"message-consents/{id_}", json=body)

    def credits(self, ask: Ask, who: Bound, template_id: str) -> int:
        items = ask(who, "GET", "message-topics").get_json()["items"]
        found: int = next(i["credits"] for i in items if i["template_id"] == template_id)
        return found

    def test_count_once_however_often_they_are_told(
        self, parts: Parts, ask: Ask, template_id: str
    ) -> None:
        holder, consent_id = make_holder(parts), new_id()
        first = self.answer(ask, holder, consent_id, template_id)
        again = self.answer(ask, holder, consent_id, template_id)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert self.credits(ask, holder, template_id) == 1
        self.answer(ask, holder, new_id(), template_id)
        assert self.credits(ask, holder, template_id) == 2

    def test_that_name_a_template_twice_are_refused(
        self, parts: Parts, ask: Ask, template_id: str
    ) -> None:
        holder = make_holder(parts)
        for accepted, rejected in (
            ([template_id, template_id], []),
            ([template_id], [template_id]),
            ([], [template_id, template_id]),
        ):
            body = {"accepted": accepted, "rejected": rejected}
            answer = ask(holder, "PUT", f"message-consents/{new_id()}", json=body)
            assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
        assert self.credits(ask, holder, template_id) == 0

    def test_with_other_content_are_refused(self, parts: Parts, ask: Ask, template_id: str) -> None:
        holder, consent_id = make_holder(parts), new_id()
        self.answer(ask, holder, consent_id, template_id)
        answer = self.answer(ask, holder, consent_id)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "id-reused")
        other = self.answer(ask, make_holder(parts), consent_id, template_id)
        assert (other.status_code, other.get_json()["code"]) == (404, "not-found")

    def test_to_an_unknown_template_count_nothing(
        self, parts: Parts, ask: Ask, template_id: str
    ) -> None:
        holder, consent_id = make_holder(parts), new_id()
        answer = self.answer(ask, holder, consent_id, template_id, "nobody's")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "template-unknown")
        assert self.credits(ask, holder, template_id) == 0
        assert self.answer(ask, holder, consent_id, template_id).status_code == 201

    def test_that_reject_take_nothing_away(self, parts: Parts, ask: Ask, template_id: str) -> None:
        holder = make_holder(parts)
        self.answer(ask, holder, new_id(), template_id)
        body = {"accepted": [], "rejected": [template_id]}
        assert ask(holder, "PUT", f"message-consents/{new_id()}", json=body).status_code == 201
        assert self.credits(ask, holder, template_id) == 1

    def test_are_counted_to_a_bound(self, parts: Parts, ask: Ask, template_id: str) -> None:
        holder = make_holder(parts)
        for _ in range(103):
            self.answer(ask, holder, new_id(), template_id)
        assert self.credits(ask, holder, template_id) == 100

    def test_of_another_platform_have_no_topics(self, parts: Parts, ask: Ask) -> None:
        holder = make_holder(parts, platform="alipay")
        assert ask(holder, "GET", "message-topics").get_json() == {"items": []}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"accepted": [], "rejected": ["x"] * 6},
            {"accepted": [""], "rejected": []},
            {"accepted": [None], "rejected": []},
            {"accepted": "x", "rejected": []},
        ],
    )
    def test_that_cannot_be_read_are_refused(self, parts: Parts, ask: Ask, body: Any) -> None:
        answer = ask(make_holder(parts), "PUT", f"message-consents/{new_id()}", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")
