"""The catalogue: every key has a rule, and every value that breaks it is found."""

from typing import Any

import pytest

from backend.http import words
from backend.policies.rules import (
    CATALOGUE,
    NOT_ABOVE,
    PRESETS,
    Unit,
    approvers,
    disordered,
    fault_of,
    payload_hash,
    proposers,
)

NUMBERS = {key for key, rule in CATALOGUE.items() if not rule.choices and rule.unit != "switch"}


def test_names_every_key_that_is_shipped_and_no_other() -> None:
    assert CATALOGUE.keys() == PRESETS["standard"].keys()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_possible(preset: str) -> None:
    values = PRESETS["standard"] | PRESETS[preset]
    assert {key: fault for key, value in values.items() if (fault := fault_of(key, value))} == {}
    assert disordered(values) is None


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_bounds_are_kept_to_the_unit(key: str) -> None:
    rule = CATALOGUE[key]
    assert (fault_of(key, rule.least), fault_of(key, rule.most)) == (None, None)
    assert (fault_of(key, rule.least - 1), fault_of(key, rule.most + 1)) == ("range", "range")
    for stranger in (True, None, "1", 1.5, [1], {}):
        assert fault_of(key, stranger) == "type", stranger


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("offline.money", 0, "type"),
        ("offline.money", None, "type"),
        ("code.pay_default", "both", "choice"),
        ("code.pay_default", ["short"], "type"),
        ("card.restore_channels", [], None),
        ("card.restore_channels", ["kiosk"], None),
        ("card.restore_channels", ["kiosk", "kiosk"], "choice"),
        ("card.restore_channels", ["pigeon"], "choice"),
        ("card.restore_channels", [["kiosk"]], "type"),
        ("card.restore_channels", "kiosk", "type"),
        ("no.such.key", 1, "key"),
    ],
)
def test_other_values(key: str, value: Any, fault: str | None) -> None:
    assert fault_of(key, value) == fault


def test_money_is_for_finance_too_and_the_surcharge_for_logistics() -> None:
    for key, rule in CATALOGUE.items():
        assert "card_centre" in proposers([key]) & approvers([key])
        assert ("finance" in proposers([key])) == (
            rule.unit is Unit.FEN or "money" in key or key == "refund.enabled"
        ), key
    assert "logistics" in proposers(["charge.surcharge_permille"])
    assert proposers(["charge.surcharge_permille", "top_up.most_fen"]) == {"card_centre"}


def test_pairs_are_of_keys() -> None:
    for low, high in NOT_ABOVE:
        assert disordered({low: 2, high: 1}) == (low, high)
        assert disordered({low: 1, high: 1}) is None


def test_the_hash_tells_every_change_and_no_order() -> None:
    assert payload_hash({"a": 1, "b": [1]}) == payload_hash({"b": [1], "a": 1})
    assert payload_hash({"a": 1}) != payload_hash({"a": True})
    assert payload_hash({"a": 1}) != payload_hash({"a": "1"})


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_key_and_unit_has_words(language: str) -> None:
    known = words.dictionary(language)
    assert known["policies"].keys() == CATALOGUE.keys()
    said = {unit.value for unit in Unit} - {Unit.SWITCH, Unit.ONE_OF, Unit.SOME_OF}
    said |= {choice for rule in CATALOGUE.values() for choice in rule.choices}
    assert known["units"].keys() == said | {"on", "off", "none"}
