"""The holder's inbox: complete, in order, and nothing is skipped."""

import time
from collections.abc import Callable
from uuid import UUID

import pytest
from factories import Bound, make_holder
from flask import Flask

from backend import clock, db
from backend.db import transaction
from backend.http.parts import Parts
from backend.notices import service as notices
from backend.notices.models import HolderNotice

pytestmark = pytest.mark.usefixtures("app")
START = (0, UUID(int=0))


def tell(holder_id: UUID, kind: str) -> None:
    """Tell a holder something."""
    with transaction() as session:
        notices.tell(session, holder_id=holder_id, kind=kind, now=clock.now())


def read(holder_id: UUID, after: tuple[int, UUID] = START, limit: int = 50) -> list[HolderNotice]:
    """Return what a reader sees now."""
    with transaction() as session:
        return notices.read_after(session, holder_id=holder_id, after=after, limit=limit)


def read_kinds(holder_id: UUID, kinds: list[str]) -> list[str]:
    """Return what a reader sees, once what else runs in the database let it through."""
    for _ in range(100):
        seen = [notice.kind for notice in read(holder_id)]
        if seen == kinds:
            break
        time.sleep(0.05)
    return seen


class TestReadAfter:
    def test_goes_on_from_a_place(self, parts: Parts) -> None:
        holder = make_holder(parts)
        for number in range(5):
            tell(holder.id, f"kind-{number}")
        assert read_kinds(holder.id, [f"kind-{n}" for n in range(5)])
        seen, place = [], START
        while page := read(holder.id, place, limit=2):
            seen += [notice.kind for notice in page]
            place = (page[-1].written_by, page[-1].id)
        assert seen == [f"kind-{n}" for n in range(5)]

    def test_shows_each_holder_their_own(self, parts: Parts) -> None:
        one, other = make_holder(parts), make_holder(parts)
        tell(one.id, "secret")
        assert read_kinds(one.id, ["secret"]) == ["secret"]
        assert read(other.id) == []

    def test_waits_for_who_began_earlier_and_commits_later(self, parts: Parts) -> None:
        holder = make_holder(parts)
        with db.Session() as slow:
            notices.tell(slow, holder_id=holder.id, kind="slow", now=clock.now())
            slow.flush()
            tell(holder.id, "quick")
            assert read(holder.id) == [], "a reader that saw it now would skip the slow one"
            slow.commit()
        assert read_kinds(holder.id, ["slow", "quick"]) == ["slow", "quick"]

    def test_what_is_rolled_back_was_never_told(self, parts: Parts) -> None:
        holder = make_holder(parts)
        with db.Session() as session:
            notices.tell(session, holder_id=holder.id, kind="never", now=clock.now())
            session.flush()
            session.rollback()
        tell(holder.id, "told")
        assert read_kinds(holder.id, ["told"]) == ["told"]


class TestEvents:
    @pytest.fixture
    def events(self, app: Flask) -> Callable[..., tuple[int, dict[str, object]]]:
        client = app.test_client()

        def ask(holder: Bound, after: object = None) -> tuple[int, dict[str, object]]:
            query = {} if after is None else {"after": str(after)}
            answer = client.get("/api/v1/me/events", query_string=query, headers=holder.headers)
            if answer.status_code < 300:
                assert int(answer.headers["Next-Poll-Ms"]) in range(500, 5001)
            return answer.status_code, answer.get_json(silent=True) or {}

        return ask

    def test_without_a_place_all_is_old(
        self, parts: Parts, events: Callable[..., tuple[int, dict[str, object]]]
    ) -> None:
        holder = make_holder(parts)
        tell(holder.id, "old")
        assert read_kinds(holder.id, ["old"]) == ["old"]
        status, body = events(holder)
        assert (status, body["items"]) == (200, [])
        assert events(holder, body["next"]) == (204, {})

    def test_each_is_told_once(
        self, parts: Parts, events: Callable[..., tuple[int, dict[str, object]]]
    ) -> None:
        holder = make_holder(parts)
        place: object = events(holder)[1]["next"]
        seen: list[object] = []
        for number in range(3):
            tell(holder.id, f"kind-{number}")
            read_kinds(holder.id, [f"kind-{n}" for n in range(number + 1)])
            status, body = events(holder, place)
            assert status == 200
            place = body["next"]
            assert isinstance(body["items"], list)
            seen += [item["kind"] for item in body["items"]]
        assert seen == ["kind-0", "kind-1", "kind-2"]
        assert events(holder, place)[0] == 204

    @pytest.mark.parametrize("after", ["", "1", "1.x", f"{10**19}.{'0' * 32}", "-1.0", "1.\n"])
    def test_a_place_that_nobody_gave_is_refused(
        self, parts: Parts, events: Callable[..., tuple[int, dict[str, object]]], after: str
    ) -> None:
        status, body = events(make_holder(parts), after)
        assert (status, body["code"]) == (422, "validation-failed")

    def test_the_last_place_that_can_be_written_is_empty(
        self, parts: Parts, events: Callable[..., tuple[int, dict[str, object]]]
    ) -> None:
        assert events(make_holder(parts), "9" * 18 + "." + "f" * 32) == (204, {})
