"""One request that is sent twice at the same moment, as an impatient client does: one answer."""

from collections.abc import Callable
from typing import Any

import pytest
from applicants import Case
from factories import make_holder
from flask import Flask
from phones import DevicePhone, Phone

from backend.http.parts import Parts

AtOnce = Callable[..., list[Any]]
ROUNDS = 12

pytestmark = pytest.mark.usefixtures("app")


def test_an_application_is_recorded_once(at_once: AtOnce, parts: Parts) -> None:
    for _ in range(ROUNDS):
        case = Case(parts)
        made = at_once(case.make, case.make)
        assert sorted(first for _, first in made) == [False, True]


def test_a_delegation_is_given_once(at_once: AtOnce, app: Flask, parts: Parts) -> None:
    for _ in range(ROUNDS):
        known = make_holder(parts)
        phones = [DevicePhone(Phone(app.test_client(), token=known.token), known) for _ in range(2)]
        phones[0].ask_challenge()
        phones[1].asked, phones[1].path = phones[0].asked, phones[0].path
        phones[1].key, phones[1].public_key = phones[0].key, phones[0].public_key
        answers = at_once(phones[0].put, phones[1].put)
        assert sorted(answer.status_code for answer in answers) == [200, 201]
        assert len({answer.get_json()["delegation"] for answer in answers}) == 1
