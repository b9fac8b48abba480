"""The room of screenings: preview, run, outcomes, filing."""

import re
from uuid import UUID

import pytest
from factories import make_person
from sqlalchemy import select, text

from backend import clock
from backend.closings import screenings
from backend.closings.models import Finding, ScreeningItem, ScreeningOutcome
from backend.console import language
from backend.console.screenings import STATES
from backend.db import transaction
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

ROOM = "/console/screenings"
TERM = "2020-2021-1"


def run(clerk) -> str:
    """Run a screening from its preview; return its page."""
    preview = clerk.get(f"{ROOM}/preview?term={TERM}").text
    found = re.search(rf'action="({ROOM}/[0-9a-f-]{{36}})"', preview)
    assert found is not None
    for _ in range(2):
        assert clerk.post(found[1], {"term": TERM}).location == found[1]
    return found[1]


def item_of(page: str, holder_id: UUID) -> ScreeningItem:
    with transaction() as session:
        return session.scalars(
            select(ScreeningItem).where(
                ScreeningItem.screening_id == UUID(page.rpartition("/")[2]),
                ScreeningItem.holder_id == holder_id,
                ScreeningItem.finding == Finding.EXPIRED,
            )
        ).one()


def decide_the_rest(page: str) -> None:
    """Give all that other tests left an outcome."""
    with transaction() as session:
        session.execute(
            text(
                "UPDATE screening_items SET outcome = 'keep', reason = 'x', decided_at = now(),"
                " decided_by = (SELECT made_by FROM screenings WHERE id = screening_id)"
                " WHERE screening_id = :id AND outcome IS NULL"
            ),
            {"id": page.rpartition("/")[2]},
        )


class TestScreenings:
    def test_is_run_decided_and_filed(self, staff, parts) -> None:
        clerk, gone = staff(), make_person(parts, valid_days=-1)
        page = run(clerk)
        item = item_of(page, gone.id)
        said = {"items": [item.id], "outcome": "close", "reason": " 已离校 ", "scope": "ticked"}
        assert clerk.post(f"{page}/outcomes", said | {"finding": "expired"}).location == (
            f"{page}?finding=expired"
        )
        assert (item_of(page, gone.id).outcome, item_of(page, gone.id).reason) == (
            ScreeningOutcome.CLOSE, "已离校",
        )  # fmt: skip
        decide_the_rest(page)
        assert "任何人都不能再改" in clerk.get(page).text
        for _ in range(2):
            assert clerk.post(f"{page}/filing").location == page
        late = clerk.post(f"{page}/outcomes", said | {"outcome": "keep"})
        assert (late.status_code, "已归档" in late.text) == (409, True)
        file = clerk.post(f"{page}/export")
        assert (gone.number in file.text, gone.name in file.text) == (True, False)
        with transaction() as session:
            actions = set(
                session.scalars(
                    select(LogEntry.action).where(LogEntry.subject_id == page.rpartition("/")[2])
                )
            )
        assert actions == {
            "screening.make", "screening.decide", "screening.file", "screening.export",
        }  # fmt: skip

    def test_cannot_be_filed_with_open_findings(self, staff, parts) -> None:
        clerk = staff()
        make_person(parts, valid_days=-1)
        page = run(clerk)
        assert "全部处理完毕后可归档" in clerk.get(page).text
        refused = clerk.post(f"{page}/filing")
        assert (refused.status_code, 'role="alert"' in refused.text) == (409, True)

    def test_all_that_a_page_shows_is_decided_at_once(self, staff, parts) -> None:
        clerk = staff()
        people = [make_person(parts, valid_days=-1) for _ in range(2)]
        page = run(clerk)
        ids = [item_of(page, one.id).id for one in people]
        said = {"shown": ids, "outcome": "contact", "reason": "电话通知", "scope": "page"}
        assert clerk.post(f"{page}/outcomes", said).status_code == 303
        assert {item_of(page, one.id).outcome for one in people} == {ScreeningOutcome.CONTACT}

    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({"items": []}, 422),
            ({"outcome": "burn"}, 422),
            ({"reason": " \u200b "}, 422),
            ({"items": ["x"]}, 404),
            ({"items": [str(new_id())]}, 404),
        ],
    )
    def test_what_does_not_fit_changes_nothing(self, staff, parts, changed, status) -> None:
        clerk, gone = staff(), make_person(parts, valid_days=-1)
        page = run(clerk)
        said = {"items": [item_of(page, gone.id).id], "outcome": "keep", "reason": "x"}
        assert clerk.post(f"{page}/outcomes", said | changed).status_code == status
        assert item_of(page, gone.id).outcome is None

    def test_findings_are_shown_by_kind_and_state_without_names(self, staff, parts) -> None:
        clerk, gone = staff(), make_person(parts, name="清查乙丙", valid_days=-1)
        page = run(clerk)
        shown = clerk.get(f"{page}?finding=expired")
        while gone.number not in shown.text:
            older = re.search(rf'href="({page}[^"]+cursor=[^"]+)"', shown.text)
            assert older is not None
            shown = clerk.get(older[1].replace("&amp;", "&"))
        assert gone.name not in shown.text
        assert gone.number not in clerk.get(f"{page}?finding=duplicate&state=decided").text

    @pytest.mark.parametrize("term", ["", "x", "2098-2099-2", "2020-2022-1", "%00", "x" * 40])
    def test_a_term_is_one_that_is_over(self, staff, term) -> None:
        clerk = staff()
        answer = clerk.get(f"{ROOM}/preview?term={term}")
        assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
        assert clerk.post(f"{ROOM}/{new_id()}", {"term": term}).status_code == 422

    def test_others_look_and_do_nothing(self, staff, parts) -> None:
        make_person(parts, valid_days=-1)
        page = run(staff())
        for role, may_export in ((Role.FINANCE, False), (Role.AUDITOR, True)):
            shown = staff(role).get(page).text
            assert "/outcomes" not in shown
            assert ("/export" in shown) is may_export
            assert staff(role).get(f"{ROOM}/preview?term={TERM}").status_code == 403

    @pytest.mark.parametrize("query", ["finding=x", "state=%00", "finding=expired&state=all"])
    def test_any_query_is_a_page(self, staff, query) -> None:
        clerk = staff()
        assert clerk.get(f"{run(clerk)}?{query}").status_code == 200


class TestTerms:
    def test_those_that_ended_last_are_offered(self, app) -> None:
        now = clock.now().replace(year=2027, month=3, day=2)
        with transaction() as session:
            assert screenings.ended_terms(session, count=3, now=now) == [
                "2026-2027-1", "2025-2026-2", "2025-2026-1",
            ]  # fmt: skip


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name: str) -> None:
        words = language.dictionary(name)
        assert set(words["findings"]) == set(Finding)
        assert set(words["screening_outcomes"]) == set(ScreeningOutcome)
        assert set(words["screening_states"]) == set(STATES)
