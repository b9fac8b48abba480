"""Words: both languages say the same, about everything that can happen."""

import re

import marshmallow as ma
import pytest
from flask import Flask
from marshmallow import class_registry
from marshmallow.validate import Length

from backend.charges.models import ChargeState
from backend.errors import DomainError
from backend.http import words
from backend.http.problems import HTTP_CODES
from qr import CodeError
from qr.rules import Reason

pytestmark = pytest.mark.usefixtures("app")  # every feature, and with it every code, is loaded
CHINESE, ENGLISH = (words.dictionary(language) for language in words.LANGUAGES)
OTHER = {"other", "internal-error"}
PARTS = ("problems", "reasons", "displays")


def facts_in(sentence: str) -> list[str]:
    """Return the facts that a sentence has places for."""
    return sorted(re.findall(r"{(\w+)}", sentence))


def subclasses(error: type[CodeError]) -> set[type[CodeError]]:
    """Return everything that is wrong with codes."""
    return {error, *(lower for sub in error.__subclasses__() for lower in subclasses(sub))}


class TestDictionaries:
    @pytest.mark.parametrize("part", [*PARTS, "faults", "policies", "units", "pages"])
    def test_have_the_same_keys(self, part: str) -> None:
        assert CHINESE.keys() == ENGLISH.keys() == {*PARTS, "faults", "policies", "units", "pages"}
        assert CHINESE[part].keys() == ENGLISH[part].keys()

    @pytest.mark.parametrize("part", PARTS)
    def test_have_places_for_the_same_facts(self, part: str) -> None:
        for key, sentences in CHINESE[part].items():
            in_english = [facts_in(sentence) for sentence in ENGLISH[part][key]]
            assert [facts_in(sentence) for sentence in sentences] == in_english, key

    @pytest.mark.parametrize("dictionary", [CHINESE, ENGLISH])
    def test_leave_nothing_empty(self, dictionary: dict[str, dict[str, list[str]]]) -> None:
        for key, sentences in (dictionary["problems"] | dictionary["reasons"]).items():
            assert len(sentences) == 2, key
            assert all(sentence.strip() for sentence in sentences), key
        for key, sentences in dictionary["displays"].items():
            assert len(sentences) == 3, key
            assert all(sentence.strip() for sentence in sentences), key

    def test_chinese_is_chinese_and_english_is_not(self) -> None:
        for part in PARTS:
            for key in CHINESE[part]:
                assert re.search(r"[\u4e00-\u9fff]", "".join(CHINESE[part][key])), key
                assert not re.search(r"[\u4e00-\u9fff]", "".join(ENGLISH[part][key])), key


class TestCodes:
    def test_every_refusal_has_words(self) -> None:
        assert not DomainError.by_code.keys() - CHINESE["problems"].keys()

    def test_every_http_failure_has_words(self) -> None:
        assert not set(HTTP_CODES.values()) - CHINESE["problems"].keys()

    def test_every_fault_of_a_code_is_a_refusal(self) -> None:
        for error in subclasses(CodeError) - {CodeError}:
            assert error.code in DomainError.by_code

    def test_there_are_no_words_for_what_cannot_happen(self) -> None:
        known = DomainError.by_code.keys() | set(HTTP_CODES.values()) | OTHER
        assert not CHINESE["problems"].keys() - known

    def test_every_reason_of_a_scanner_has_words(self) -> None:
        assert CHINESE["reasons"].keys() == set(Reason) - CHINESE["problems"].keys()

    def test_every_state_of_a_charge_has_a_display(self) -> None:
        assert {f"charge-{state}" for state in ChargeState} <= CHINESE["displays"].keys()

    def test_sentences_use_facts_that_their_refusal_names(self) -> None:
        for code, sentences in CHINESE["problems"].items():
            for fact in facts_in("".join(sentences)):
                error = DomainError.by_code[code]
                assert f"`{fact}`" in (error.__doc__ or ""), code


def messages_of(schema: type[ma.Schema]) -> set[str]:
    """Return every sentence with which a schema of requests can refuse."""
    said = {*schema.error_messages.values(), "Missing data for required field."}
    for field in schema().fields.values():
        said |= {*field.error_messages.values()}
        for validator in field.validators:
            if isinstance(validator, ma.validate.Length):
                said |= {Length.message_min, Length.message_max, Length.message_all}
                said.add(Length.message_equal)
            elif isinstance(validator, ma.validate.Range):
                said |= {"Must be greater than or equal to {min}."}
                said |= {"Must be less than or equal to {max}."}
                said.add("Must be greater than or equal to {min} and less than or equal to {max}.")
            else:
                assert isinstance(validator, ma.validate.Regexp | ma.validate.OneOf)
                said.add(validator.error)
    return {text for text in said if "formatted" not in text}  # said of answers


class TestFaults:
    def test_every_sentence_of_every_request_has_words(self) -> None:
        schemas = [
            schema
            for known in class_registry._registry.values()
            for schema in known
            if schema.__module__.startswith("backend.")
            and schema.__name__.endswith(("Request", "Query"))
        ]
        assert len(schemas) > 15
        said = {text for schema in schemas for text in messages_of(schema)}
        filled = {
            text.replace("{obj_type}", "datetime").replace("{awareness}", "aware") for text in said
        }
        assert filled - {*ENGLISH["faults"].values()} == set()

    @pytest.mark.parametrize(
        ("text", "chinese"),
        [
            ("Must be one of: pay, gate.", "只能是：pay, gate。"),
            ("Length must be between 1 and 32.", "长度应为 1 至 32 个字符。"),
            ("Must be greater than or equal to 1.", "不能小于 1。"),
            (
                "Must be greater than or equal to 1 and less than or equal to 9.",
                "应在 1 与 9 之间。",
            ),
            ("nobody ever said that", "内容不对。"),
        ],
    )
    def test_are_said_in_the_callers_language(self, app: Flask, text: str, chinese: str) -> None:
        with app.test_request_context():
            assert words.fault(text) == chinese
        with app.test_request_context(headers={"Accept-Language": "en"}):
            assert words.fault(text) in (text, "Invalid value.")


class TestFill:
    def test_writes_fen_as_yuan(self) -> None:
        said = words.of("insufficient-balance", {"balance_fen": 5, "short_fen": 1250})
        assert said.detail == "余额 0.05 元，还差 12.50 元，请充值。"

    def test_writes_moments_by_the_schools_clock(self) -> None:
        facts = {"hours_today": "06:00–23:00", "opens_at": "2026-09-20T22:00:00.000Z"}
        said = words.of("access-outside-hours", facts)
        assert said.detail == "今日开放时间 06:00–23:00，请于 09-21 06:00 再来。"

    def test_leaves_the_place_of_a_missing_fact_empty(self) -> None:
        assert "{" not in words.of("insufficient-balance", {}).detail

    def test_takes_facts_as_they_are(self) -> None:
        hostile = {"retry_after": "{0.__class__} {fact!r} %s"}
        assert "{0.__class__} {fact!r} %s" in words.of("too-many-requests", hostile).detail

    def test_has_words_for_a_code_that_nobody_knows(self) -> None:
        assert words.of("no-such-code", {}) == words.Words(*CHINESE["problems"]["other"])

    def test_speaks_in_the_language_of_the_request(self, app: Flask) -> None:
        with app.test_request_context(headers={"Accept-Language": "en"}):
            assert words.of("card-lost", {}).title == "Card reported lost"
            assert words.display("charge-approved", name="王**", total_fen=850, balance_fen=0) == {
                "line1": "王** paid",
                "line2": "¥8.50 · balance ¥0.00",
                "voice": "Paid, 8.50 yuan",
            }
