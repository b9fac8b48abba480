"""The words of the pages: Simplified Chinese first, English where it is asked for."""

from functools import cache
from importlib import resources
from typing import Any

from flask import json, request

from backend.http import words as refusals

COOKIE = "campus_card_language"
LANGUAGES = ("zh-CN", "en")


def language() -> str:
    """Return the language of this page: as chosen here, else as the browser prefers."""
    chosen = request.cookies.get(COOKIE)
    return chosen if chosen in LANGUAGES else refusals.language()


def other_language() -> str:
    """Return the language that the switch offers."""
    return next(known for known in LANGUAGES if known != language())


@cache
def dictionary(name: str) -> dict[str, dict[str, str]]:
    """Return one language's dictionary: sections of words."""
    text = resources.files(__package__).joinpath(f"words/{name}.json").read_text("utf-8")
    return dict(json.loads(text))


def say(section: str, key: str, **facts: Any) -> str:
    """Return a sentence of the present language with its facts filled in."""
    return refusals.fill(dictionary(language())[section][key], facts)


def word(section: str, key: str | None) -> str:
    """Return the word for a value such as a state; a value without a word stands for itself."""
    return dictionary(language())[section].get(key or "", key or "—")


def refusal(code: str, facts: dict[str, Any]) -> refusals.Words:
    """Return title and detail of a refusal, in the words that the API has for it."""
    return refusals.said(language(), code, facts)
