"""What people read and hear: Simplified Chinese first, English where the caller prefers it."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from flask import has_request_context, json, request

from backend.clock import SHANGHAI
from backend.money import yuan_text

LANGUAGES = ("zh-CN", "en")
SCANNED = frozenset({"charges", "passages"})
"""The blueprints whose refusals a terminal shows on its display."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said about one code."""

    title: str
    detail: str


@cache
def dictionary(language: str) -> dict[str, Any]:
    """Return one language's dictionary.

    `problems` are what answers refuse with, `reasons` what stands in decisions alone, `displays`
    what terminals show; `policies` are the names of rules and what they say, `units` their values.
    """
    text = resources.files(__name__).joinpath(f"{language}.json").read_text("utf-8")
    return dict(json.loads(text))


def language() -> str:
    """Return the language of this answer: the one that the caller prefers, whatever its region."""
    return preferred(request.accept_languages) if has_request_context() else "zh-CN"


def preferred(accepted: Iterable[tuple[str, float]]) -> str:
    """Return the language of ours that somebody prefers; Chinese where they like both as much.

    >>> preferred([("zh-TW", 1), ("en", 0.8)]), preferred([("fr", 1), ("en-GB", 0.5)])
    ('zh-CN', 'en')
    """
    liked = {"zh": 0.0, "en": 0.0, "*": 0.0}
    for tag, quality in accepted:
        name = tag.lower().partition("-")[0]
        if name in liked:
            liked[name] = max(liked[name], quality)
    return "en" if liked["en"] > max(liked["zh"], liked["*"]) else "zh-CN"


def of(code: str, facts: dict[str, Any]) -> Words:
    """Return title and detail of a code, with its facts filled in."""
    return said(language(), code, facts)


def said(name: str, code: str, facts: dict[str, Any]) -> Words:
    """Return the same in the language of this name."""
    known = dictionary(name)
    title, detail = (
        known["problems"].get(code) or known["reasons"].get(code) or known["problems"]["other"]
    )
    return Words(title, fill(detail, facts))


def policy(key: str, name: str) -> Words:
    """Return the name of a policy and what it says, in the language of this name."""
    return Words(*dictionary(name)["policies"].get(key, (key, "")))


def policy_value(unit: str, value: Any, name: str) -> str:
    """Return the value of a policy as people read it, in the language of this name.

    >>> policy_value("fen", 850, "en"), policy_value("permille", 105, "en")
    ('¥8.50', '10.5%')
    """
    known = dictionary(name)["units"]
    if isinstance(value, bool):
        return str(known["on" if value else "off"])
    if isinstance(value, str | list):
        chosen = [value] if isinstance(value, str) else value
        return ("、" if name == "zh-CN" else ", ").join(known[one] for one in chosen or ["none"])
    facts = {"value": value, "value_fen": value, "percent": f"{value / 10:g}"}
    return fill(known[unit], facts)


def display(key: str, **facts: Any) -> dict[str, str]:
    """Return the two lines and the spoken sentence of a scan's answer."""
    line1, line2, voice = dictionary(language())["displays"][key]
    return {
        "line1": fill(line1, facts),
        "line2": fill(line2, facts),
        "voice": fill(voice, facts),
    }


def refusal_display(code: str, facts: dict[str, Any]) -> dict[str, str]:
    """Return what a terminal shows of a refusal: the reason, then what to do."""
    said = of(code, facts)
    return {"line1": said.title, "line2": said.detail, "voice": said.title}


def fault(text: str) -> str:
    """Return what marshmallow says of a field, in the language of this answer.

    The English dictionary has marshmallow's own sentences, word by word.
    """
    for key, sentence in _faults():
        if said := sentence.fullmatch(text):
            return fill(dictionary(language())["faults"][key], said.groupdict())
    return fill(dictionary(language())["faults"]["value"], {})


@cache
def _faults() -> list[tuple[str, re.Pattern[str]]]:
    """Return the sentences as patterns, with a group for each fact."""
    return [
        (key, re.compile(re.sub(r"\\{(\w+)\\}", _group, re.escape(sentence))))
        for key, sentence in dictionary("en")["faults"].items()
    ]


def _group(place: re.Match[str]) -> str:
    return f"(?P<{place[1]}>{'.+' if place[1] == 'choices' else '[^ ]+'})"


class _Lenient(string.Formatter):
    """Fills `{short_fen}` as yuan, `{opens_at}` by the school's clock; a missing fact as ''."""

    def get_value(self, key: int | str, _: Any, kwargs: Any) -> Any:
        value = kwargs.get(key) if isinstance(key, str) else None
        if value is None:
            return ""
        if isinstance(key, str) and key.endswith("_fen") and isinstance(value, int):
            return yuan_text(value)
        if isinstance(key, str) and key.endswith("_at") and isinstance(value, str) and value:
            return f"{datetime.fromisoformat(value).astimezone(SHANGHAI):%m-%d %H:%M}"
        return value


def fill(pattern: str, facts: dict[str, Any]) -> str:
    """Return a sentence with its facts."""
    return _Lenient().vformat(pattern, (), facts)
