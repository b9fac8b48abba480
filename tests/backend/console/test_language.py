"""The dictionaries say the same things, and the pages say nothing else."""

import ast
import re
import string
from pathlib import Path

import pytest

from backend.cards.rules import CardEvent
from backend.console import language
from backend.console.routes import back_to
from backend.policies.rules import PRESETS

BACKEND = Path(language.__file__).parents[1]
TEMPLATES = sorted((BACKEND / "console/templates/console").glob("*.html"))


def places(sentence: str) -> set[str]:
    """Return what a sentence is filled with."""
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


class TestWords:
    def test_both_languages_have_the_same_keys_and_places(self) -> None:
        chinese, english = (language.dictionary(name) for name in language.LANGUAGES)
        assert {s: list(words) for s, words in chinese.items()} == {
            s: list(words) for s, words in english.items()
        }
        for section, words in chinese.items():
            for key, sentence in words.items():
                assert places(sentence) == places(english[section][key]), (section, key)

    def test_the_pages_say_what_the_dictionaries_have_and_all_of_it(self) -> None:
        text = "".join(path.read_text() for path in TEMPLATES)
        text += (BACKEND / "console/routes.py").read_text()
        said = set(re.findall(r'say\(["\'](\w+)["\'], ["\'](\w+)["\']', text))
        spoken = {section for section, _ in said}
        known = {
            (section, key)
            for section, words in language.dictionary("en").items()
            if section in spoken
            for key in words
        }
        computed = {("roster", key) for key in ("rows", "added", "changed", "unchanged", "would")}
        assert said - known == set()
        assert known - said - computed == set()

    def test_every_operation_that_is_recorded_has_a_name(self) -> None:
        named = set(language.dictionary("en")["actions"])
        features = {name.partition(".")[0] for name in named}
        recorded = {f"card.{event}" for event in CardEvent}
        recorded |= {f"refund.{state}" for state in ("succeeded", "returned", "abnormal")}
        for path in BACKEND.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                said = re.fullmatch(r"([a-z_]+)\.[a-z_]+", str(getattr(node, "value", "")))
                if said and said[1] in features:
                    recorded.add(said[0])
        assert recorded - set(PRESETS["standard"]) == named


class TestSwitch:
    def test_is_chinese_unless_the_browser_prefers_english(self, staff) -> None:
        person = staff(signed_in=False)
        assert '<html lang="zh-CN">' in person.get("/console/sign-in").text
        english = person.get("/console/sign-in", headers={"Accept-Language": "en-GB"})
        assert '<html lang="en">' in english.text

    def test_changes_and_stays(self, staff) -> None:
        person = staff()
        answer = person.post("/console/language", {"language": "en", "to": "/console/log"})
        assert answer.location == "/console/log"
        page = person.get("/console/log").text
        assert '<html lang="en">' in page
        assert "Operation log" in page

    @pytest.mark.parametrize(
        "to",
        ["", "https://elsewhere.example/", "//elsewhere.example/console/", "/api/v1/me",
         "/\\elsewhere.example", "/console\r\nSet-Cookie: x=1", "javascript:alert(1)"],
    )  # fmt: skip
    def test_leads_nowhere_else(self, to) -> None:
        assert back_to(to) == "/console/"
