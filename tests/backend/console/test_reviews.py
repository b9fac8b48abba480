"""The page of reviews: what waits, why, and how it ends."""

import re

import pytest
from factories import make_gate, make_holder, make_till
from phones import DevicePhone, Phone
from scanners import Told, Uploads, policies

from backend.console import language
from backend.operators.models import Role
from backend.uploads.rules import Conflict, Outcome, UploadKind
from qr import Scope


@pytest.fixture
def waiting(app, parts):
    """A charge above the cap and one with a forged code; their items and the holder."""
    uploads, till = Uploads(app.test_client()), make_till()
    known = make_holder(parts, balance_fen=5000)
    phone = DevicePhone(Phone(app.test_client(), token=known.token), known)
    assert phone.enrol().status_code == 201
    told = Told(till)
    with policies(money=True, per_sale_fen=100):
        posted, forged = told.charge(phone.code(Scope.PAY), 300), told.charge("x", 450)
        uploads.send(till, posted, forged)
    return posted, forged, known


def page_of(person, item) -> str:
    """Open one review."""
    answer = person.get(f"/console/reviews/{item['id']}")
    assert answer.status_code == 200
    return str(answer.text)


class TestPage:
    def test_lists_what_waits_with_why_in_words(self, staff, waiting) -> None:
        posted, _, known = waiting
        page = staff().get("/console/reviews").text
        for said in ("超出脱机限额", "验签不符", "¥3.00", "¥4.50", known.number):
            assert said in page
        assert known.name not in page
        english = staff().get("/console/reviews", headers={"Accept-Language": "en"}).text
        assert "Above the caps" in english
        assert f"/console/reviews/{posted['id']}" in english

    def test_ends_a_review_for_a_reason(self, staff, waiting) -> None:
        posted, forged, _ = waiting
        person = staff(Role.FINANCE)
        assert "由学校承担（风险金）" in page_of(person, forged)
        assert "由持卡人承担" not in page_of(person, forged), "nobody is known"
        path = f"/console/reviews/{forged['id']}/resolution"
        for said in ({}, {"decision": "reject"}, {"decision": "x", "reason": "y"}):
            assert person.post(path, said).status_code == 422
        answer = person.post(path, {"decision": "reject", "reason": "<b>与商户核对</b>"})
        assert answer.location == f"/console/reviews/{forged['id']}"
        page = page_of(person, forged)
        assert "&lt;b&gt;与商户核对&lt;/b&gt;" in page
        assert person.username in page
        assert person.post(path, {"decision": "charge_risk", "reason": "x"}).status_code == 409
        assert page_of(person, posted).count("知悉，不作变更") == 1

    def test_the_auditor_looks_and_decides_nothing(self, staff, waiting) -> None:
        posted, _, _ = waiting
        assert '<form method="post" action="/console/reviews' not in page_of(
            staff(Role.AUDITOR), posted
        )

    def test_finance_sees_no_passages(self, staff, app) -> None:
        gate = make_gate()
        item = Told(gate).passage("x")
        Uploads(app.test_client()).send(gate, item)
        path = f"/console/reviews/{item['id']}"
        assert staff(Role.FINANCE).get(path).status_code == 404
        assert "脱机通行" in staff().get(path).text

    @pytest.mark.parametrize("query", ["state=", "state=resolved", "state=%00", "cursor=x"])
    def test_any_query_is_a_page(self, staff, waiting, query) -> None:
        assert staff().get(f"/console/reviews?{query}").status_code in (200, 422)

    def test_is_counted_in_the_overview(self, staff, waiting) -> None:
        def counted(person) -> int:
            found = re.search(r"待复核</dt><dd><a[^>]*>(\d+)", person.get("/console/").text)
            assert found is not None
            return int(found[1])

        _, forged, _ = waiting
        person = staff()
        before = counted(person)
        person.post(
            f"/console/reviews/{forged['id']}/resolution", {"decision": "reject", "reason": "x"}
        )
        assert counted(person) == before - 1
        assert "待复核" not in staff(Role.LOGISTICS).get("/console/").text

    def test_is_found_by_its_reference(self, staff, app) -> None:
        till = make_till()
        answer = Uploads(app.test_client()).send(till, Told(till).charge("x", 100))
        reference = answer.get_json()["items"][0]["reference"]
        page = staff().post("/console/search", {"wanted": reference}).text
        assert "脱机待复核" in page


class TestWords:
    @pytest.mark.parametrize("name", language.LANGUAGES)
    def test_there_is_a_word_for_everything_that_can_be(self, name) -> None:
        known = language.dictionary(name)
        for section, words in (
            ("conflicts", Conflict), ("conflict_details", Conflict), ("outcomes", Outcome),
            ("upload_kinds", UploadKind),
        ):  # fmt: skip
            assert {*known[section]} == {str(word) for word in words}
