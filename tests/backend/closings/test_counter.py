"""Closing an account at the counter: the kind fits who it is, and an exemption holds."""

from datetime import timedelta

import pytest
from factories import Person, make_person, sign_in

from backend import clock
from backend.holders.models import Category
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Counter

TODAY = clock.business_date(clock.now())
FITS = {
    Category.STUDENT: {"own_request", "graduation", "leaving"},
    Category.STAFF: {"own_request", "leaving", "retirement"},
    Category.TEMPORARY_OUTSIDER: {"own_request", "early"},
}
KINDS = ["own_request", "graduation", "leaving", "retirement", "early", "expiry"]


@pytest.mark.parametrize("category", list(FITS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fits_the_category(
    counter: Counter, parts: Parts, category: Category, kind: str
) -> None:
    said = counter.start(make_person(parts, category=category), kind=kind)
    if kind in FITS[category]:
        assert said.status_code == 201
    else:
        body = said.get_json()
        assert (said.status_code, body["code"]) == (409, "closing-kind-not-possible")
        assert (body["kind"], body["category"]) == (kind, category.value)


@pytest.mark.parametrize(
    ("category", "code"),
    [(Category.TEMPORARY_TRAINEE, None), (Category.STUDENT, "closing-kind-not-possible")],
)
def test_an_expiry_is_of_temporary_cards_that_are_over(
    counter: Counter, parts: Parts, category: Category, code: str | None
) -> None:
    person = make_person(parts, category=category, valid_days=-1)
    assert counter.start(person, kind="expiry").get_json().get("code") == code


def exempted(counter: Counter, parts: Parts) -> tuple[Person, str, str]:
    """Return somebody whom an approved batch exempts, its path, and that of their row."""
    person, path = make_person(parts, valid_days=-1), f"/closing-batches/{new_id()}"
    counter.call(
        "PUT", path, graduated_on=TODAY.isoformat(), holder_numbers=[person.number], document="x"
    )
    (row,) = counter.call("GET", f"{path}/preview").get_json()["items"]
    said = counter.call(
        "PUT", f"{path}/graduates/{row['id']}", exemption="deferred", reason="延期",
        until=(TODAY + timedelta(days=90)).isoformat(),
    )  # fmt: skip
    assert said.status_code == 200
    approved = counter.call("POST", f"{path}/approval", sign_in(parts, Role.CARD_CENTRE))
    assert approved.status_code == 200
    return person, path, f"{path}/graduates/{row['id']}"


def test_one_person_does_not_undo_an_exemption(counter: Counter, parts: Parts) -> None:
    person, path, row = exempted(counter, parts)
    refused = counter.start(person, kind="graduation")
    body = refused.get_json()
    assert (refused.status_code, body["code"]) == (409, "exempt-from-closing")
    assert (body["exemption"], body["batch_id"]) == ("deferred", path.rpartition("/")[2])
    assert body["until"] == (TODAY + timedelta(days=90)).isoformat()
    counter.call("PUT", row, exemption=None, reason=None, until=None)
    assert counter.start(person, kind="graduation").status_code == 201


def test_an_exempted_student_may_leave_otherwise_and_a_retry_is_answered(
    counter: Counter, parts: Parts
) -> None:
    person, _, _ = exempted(counter, parts)
    id_ = new_id()
    first, again = (counter.start(person, id_, kind="leaving") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert counter.start(person, kind="expiry").get_json()["code"] == "already-closing"
