"""What people read and hear: Simplified Chinese first, English where the caller prefers it."""

import string
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from flask import has_request_context, json, request

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
    """Return one language's dictionary."""
    text = resources.files(__name__).joinpath(f"{language}.json").read_text("utf-8")
    return dict(json.loads(text))


def language() -> str:
    """Return the language of this answer."""
    if has_request_context():
        return request.accept_languages.best_match(LANGUAGES, default="zh-CN") or "zh-CN"
    return "zh-CN"


def of(code: str, facts: dict[str, Any]) -> Words:
    """Return title and detail of a code, with its facts filled in."""
    known = dictionary(language())["problems"]
    title, detail = known.get(code) or known["other"]
    return Words(title, fill(detail, facts))


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


class _Lenient(string.Formatter):
    """Fills `{short_fen}` as yuan; what is missing leaves its place empty."""

    def get_value(self, key: int | str, _: Any, kwargs: Any) -> Any:
        value = kwargs.get(key) if isinstance(key, str) else None
        if value is None:
            return ""
        if isinstance(key, str) and key.endswith("_fen") and isinstance(value, int):
            return yuan_text(value)
        return value


def fill(pattern: str, facts: dict[str, Any]) -> str:
    """Return a sentence with its facts."""
    return _Lenient().vformat(pattern, (), facts)
