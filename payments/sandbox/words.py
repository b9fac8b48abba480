"""The words of the sandbox's pages: Simplified Chinese first, English second."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LANGUAGES = ("zh-CN", "en")

Words = Mapping[str, Mapping[str, str]]


@cache
def dictionary(language: str) -> Words:
    """Give one language's words, by section."""
    every: dict[str, Words] = json.loads(
        Path(__file__).with_name("words.json").read_text(encoding="utf-8")
    )
    return every[language]


def say(language: str, section: str, key: str, **facts: object) -> str:
    """Give a word with its facts filled in; a value without a word stands for itself."""
    text = dictionary(language)[section].get(key, key)
    for name, fact in facts.items():
        text = text.replace(f"{{{name}}}", str(fact))
    return text
