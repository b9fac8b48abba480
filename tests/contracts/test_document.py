"""The published document is fresh, complete and true to itself."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, json
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from backend import db
from backend.app import create_app
from backend.demo.people import STAFF
from backend.errors import DomainError
from backend.http import document, refusals, words
from backend.http.auth import GUARDS
from backend.http.vocabulary import EXAMPLES, FACTS, MEANINGS, WHOLE

ROOT = Path(__file__).parents[2]
Document = dict[str, Any]
ANSWERED_OTHERWISE = {
    "internal-error": "a fault of ours; no endpoint promises one",
    "method-not-allowed": "an address that is documented takes the methods that are",
}
"""Codes on no endpoint, and why."""
NOT_PROBLEMS = {
    ("receiveWechatNotice", "400"): "WeChat Pay says how it is to be refused",
    ("readyz", "503"): "tells which part is away, in the shape of its 200",
}


@pytest.fixture(scope="session")
def published(app: Flask) -> Document:
    """The document of the application under test."""
    found: Document = app.extensions["openapi"]
    return found


def operations(published: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of everything published."""
    for path, item in published["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def answers(published: Document, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation's answers by status, with references followed."""
    return {status: follow(published, answer) for status, answer in operation["responses"].items()}


def follow(published: Document, part: Any) -> Any:
    """Return what a reference stands for."""
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = published["components"][kind][name]
    return part


def validate(published: Document, schema: Mapping[str, Any], value: object) -> None:
    """Fail unless a value fits a schema of the document."""
    whole = {**schema, "components": published["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def bodies(published: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield where, media type and content of every request and answer."""
    for _, _, operation in operations(published):
        name = operation["operationId"]
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request", media_type, media
        for status, answer in answers(published, operation).items():
            for media_type, media in answer.get("content", {}).items():
                yield f"{name} {status}", media_type, media


class TestFiles:
    def test_are_fresh(self, published: Document) -> None:
        for name, text in document.files(published).items():
            assert (ROOT / "openapi" / name).read_text("utf-8") == text, "run `make openapi`"

    def test_do_not_depend_on_settings_or_servers(self) -> None:
        bind = db.Session.kw["bind"]  # what follows wires a second application, to nothing
        try:
            assert document.write(ROOT / "openapi", create_app, check=True) == []
        finally:
            db.Session.configure(bind=bind)

    def test_are_what_the_server_says(self, app: Flask) -> None:
        answer = app.test_client().get("/openapi.json")
        assert answer.text == (ROOT / "openapi/openapi.json").read_text("utf-8")


class TestDocument:
    def test_is_valid_openapi_3_1(self, published: Document) -> None:
        assert published["openapi"].startswith("3.1")
        OpenAPIV31SpecValidator(published).validate()

    def test_holds_every_endpoint(self, app: Flask, published: Document) -> None:
        served = {
            (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
            for rule in app.url_map.iter_rules()
            if rule.endpoint.rpartition(".")[0] in GUARDS
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
        assert served <= {(path, method) for path, method, _ in operations(published)}

    def test_names_every_operation_once_in_camel_case(self, published: Document) -> None:
        names = [operation["operationId"] for _, _, operation in operations(published)]
        assert len(set(names)) == len(names)
        assert [name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", name)] == []

    def test_sums_every_operation_up_in_one_sentence(self, published: Document) -> None:
        for _, _, operation in operations(published):
            assert re.fullmatch(r"[A-Z].{9,110}\.", operation["summary"]), operation["summary"]

    def test_puts_every_operation_into_one_section(self, published: Document) -> None:
        known = {tag["name"] for tag in published["tags"]}
        for path, _, operation in operations(published):
            (section,) = operation["tags"]
            assert section in known
            assert (section == "operations") == (not path.startswith(("/api/", "/callbacks/")))

    def test_says_who_may_call(self, published: Document) -> None:
        schemes = published["components"]["securitySchemes"]
        for _, _, operation in operations(published):
            kinds = [kind for need in operation["security"] for kind in need]
            assert set(kinds) <= set(schemes)
            if operation["operationId"] != "createOperatorSession":  # its 401 is the login's own
                assert bool(kinds) == ("401" in operation["responses"])

    def test_lets_terminals_sign(self, published: Document) -> None:
        scheme = published["components"]["securitySchemes"]["terminal-key"]
        assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Signature")
        assert "RFC 9421" in scheme["description"]
        for _, _, operation in operations(published):
            if {"terminal": []} in operation["security"]:
                assert operation["security"] == [{"terminal": []}, {"terminal-key": []}]
                refused = follow(published, operation["responses"]["401"])["description"]
                assert [line.split("`")[1] for line in refused.splitlines()] == [
                    "unauthenticated", "signature-invalid", "signature-stale",
                ]  # fmt: skip

    def test_refuses_with_problems_only(self, published: Document) -> None:
        for _, _, operation in operations(published):
            for status, answer in answers(published, operation).items():
                assert re.fullmatch("[1-5][0-9]{2}", status)
                if status >= "400" and (operation["operationId"], status) not in NOT_PROBLEMS:
                    assert [*answer["content"]] == ["application/problem+json"]

    def test_shows_the_shape_of_every_success(self, published: Document) -> None:
        for _, _, operation in operations(published):
            for status, answer in answers(published, operation).items():
                if status[0] == "2" and status != "204":
                    assert all("schema" in media for media in answer["content"].values())
                    assert answer["content"]

    def test_shows_examples_that_fit(self, published: Document) -> None:
        for where, media_type, media in bodies(published):
            if "json" not in media_type or where.startswith("receiveWechatNotice"):
                continue
            assert media["examples"], where
            for example in media["examples"].values():
                validate(published, media["schema"], follow(published, example)["value"])

    def test_leads_to_every_component(self, published: Document) -> None:
        text = json.dumps(published)
        for kind, parts in published["components"].items():
            for name in parts:
                assert kind == "securitySchemes" or f'"#/components/{kind}/{name}"' in text, name

    def test_counts_money_in_whole_fen(self, published: Document) -> None:
        for name, schema in published["components"]["schemas"].items():
            for member, property_ in schema.get("properties", {}).items():
                kinds = property_.get("type")
                if "number" in (kinds or ()):
                    pytest.fail(f"{name}.{member} is not whole")
                if member.endswith("_fen"):
                    assert kinds in ("integer", ["integer", "null"])
                    assert "fen" in property_["description"], f"{name}.{member}"

    def test_shows_a_display_as_tills_get_it(self, published: Document) -> None:
        shown = words.display("charge-approved", name="王**", total_fen=850, balance_fen=12_150)
        assert published["components"]["examples"]["ChargeReply"]["value"]["display"] == shown

    def test_breaks_no_code_in_two(self, published: Document) -> None:
        for code in re.findall(r"`[^`\n]*`", json.dumps(published, ensure_ascii=False)):
            assert "- " not in code, code

    def test_names_nobody_of_the_demo(self, published: Document) -> None:
        shown = json.dumps(published["components"]["examples"])
        assert not [name for name, _ in STAFF if f'"{name}"' in shown]

    def test_lists_the_words_of_every_state(self, published: Document) -> None:
        for name, schema in published["components"]["schemas"].items():
            for member, property_ in schema.get("properties", {}).items():
                if re.fullmatch("(.*_)?state|direction|decision|role|category", member):
                    assert follow(published, property_)["enum"], f"{name}.{member}"


class TestVocabulary:
    def test_has_a_meaning_and_an_example_for_every_name(self, published: Document) -> None:
        missing = []
        for name, schema in published["components"]["schemas"].items():
            for member, property_ in schema.get("properties", {}).items():
                if not property_.get("description"):
                    missing.append(f"{name}.{member}: no meaning")
                if name not in ("Problem", *WHOLE):
                    shown = document.shown(property_, published["components"]["schemas"])
                    if shown is None and "null" not in str(property_.get("type")):
                        missing.append(f"{name}.{member}: no example")
        for path, item in published["paths"].items():
            missing += [
                f"{path} {parameter['name']}: no meaning"
                for parameter in document.parameters(item)
                if not parameter["description"]
            ]
        assert missing == [], "backend/http/vocabulary.py"

    def test_holds_nothing_that_is_not_published(self, published: Document) -> None:
        schemas = published["components"]["schemas"]
        names = {
            key
            for name, schema in schemas.items()
            for member in schema.get("properties", {})
            for key in (member, f"{name}.{member}")
        }
        for item in published["paths"].values():
            names |= {parameter["name"] for parameter in document.parameters(item)}
        assert {*MEANINGS, *EXAMPLES} - names == set()
        assert {*WHOLE} - {*schemas} == set()
        assert {*FACTS} - {*refusals.codes()} == set()


class TestProblems:
    def test_each_stands_on_an_endpoint_or_is_explained(self, published: Document) -> None:
        text = json.dumps(published["paths"])
        silent = {
            code
            for code in refusals.codes()
            if f"examples/{code}" not in text and f"responses/{code}" not in text
        }
        assert silent == {*ANSWERED_OTHERWISE}

    @pytest.mark.parametrize("language", words.LANGUAGES)
    def test_each_is_said_in_both_languages(self, language: str) -> None:
        said = words.dictionary(language)["problems"]
        assert set(said) == {*refusals.codes(), "other"}
        assert all(title and detail for title, detail in said.values())

    @pytest.mark.parametrize("code", sorted(DomainError.by_code))
    def test_examples_show_the_facts_that_the_docstring_names(self, code: str) -> None:
        _, _, facts = (DomainError.by_code[code].__doc__ or "").partition("  Fact")
        named = set(re.findall(r"`(\w+)`", facts.split(".")[0]))
        assert named == set(FACTS.get(code, {}))
