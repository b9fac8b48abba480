"""What stands in the form of a change of policies: as it was typed, and what is meant by it."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import marshmallow as ma
from flask import request

from backend.clock import SHANGHAI
from backend.policies import rules
from backend.policies.rules import CATALOGUE, PRESETS, Unit
from backend.rulebook.proposals import Asked
from backend.rulebook.schemas import ProposalRequest

FACTS = ("preset", "document_number", "reason", "valid_from", "valid_until")
MOST_TYPED = 12
DECIMALS = {Unit.FEN: 2, Unit.PERMILLE: 1}
"""How many decimals people type: yuan, and percent.  Everything else is whole."""


@dataclass
class Form:
    """What was typed."""

    facts: dict[str, str]
    typed: dict[str, str]
    """Key to what stands in its field; nothing: it stays as it is."""
    picked: dict[str, list[str]]
    """Key to the choices that are ticked, where it is ticked that they change."""
    faults: set[str] = field(default_factory=set)
    """Names of fields, and keys."""

    @classmethod
    def blank(cls, preset: str) -> "Form":
        """Return an empty form, or one with a preset chosen."""
        known = preset if preset in PRESETS else ""
        return cls(dict.fromkeys(FACTS, "") | {"preset": known}, {}, {})

    @classmethod
    def sent(cls) -> "Form":
        """Return what this request's form holds."""
        form = request.form
        typed = {key: form.get(f"set-{key}", "").strip() for key in CATALOGUE}
        return cls(
            {name: form.get(name, "").strip() for name in FACTS},
            {key: said for key, said in typed.items() if said},
            {
                key: form.getlist(f"pick-{key}")
                for key, rule in CATALOGUE.items()
                if rule.unit is Unit.SOME_OF and f"change-{key}" in form
            },
        )

    @property
    def keys(self) -> Collection[str]:
        """The keys that it changes one by one."""
        return {*self.typed, *self.picked}

    def read(self) -> Asked:
        """Return what is meant.

        Raises:
            ValidationError: `faults` says where.
        """
        changes: dict[str, Any] = dict(self.picked)
        for key, typed in self.typed.items():
            changes[key] = value_of(CATALOGUE[key].unit, typed)
        self.faults |= {key for key, value in changes.items() if rules.fault_of(key, value)}
        said: dict[str, Any] = {name: self.facts[name] or None for name in FACTS}
        for name in ("valid_from", "valid_until"):
            said[name] = self._moment(name)
        try:
            found: dict[str, Any] = ProposalRequest().load(said | {"changes": changes})
        except ma.ValidationError as error:
            self.faults |= set(error.messages_dict)
        if self.faults:
            raise ma.ValidationError(sorted(self.faults))
        return Asked(**found)

    def _moment(self, name: str) -> str | None:
        if not self.facts[name]:
            return None
        try:
            return datetime.fromisoformat(self.facts[name]).replace(tzinfo=SHANGHAI).isoformat()
        except ValueError:
            self.faults.add(name)
            return None


def value_of(unit: Unit, typed: str) -> Any:
    """Return the value that was typed; None, which no key can have, where it is none.

    What a Chinese keyboard types is taken too; the preview shows what was understood.

    >>> value_of(Unit.FEN, "８。5"), value_of(Unit.PERMILLE, "10.5"), value_of(Unit.DAYS, "1.5")
    (850, 105, None)
    """
    if unit is Unit.SWITCH:
        return {"on": True, "off": False}.get(typed)
    if unit is Unit.ONE_OF:
        return typed
    decimals = DECIMALS.get(unit, 0)
    plain = unicodedata.normalize("NFKC", typed).replace("。", ".")
    found = re.fullmatch(rf"([0-9]{{1,{MOST_TYPED}}})(?:\.([0-9]{{1,2}}))?", plain)
    if found is None or len(found[2] or "") > decimals:
        return None
    return int(found[1] + (found[2] or "").ljust(decimals, "0"))


def fingerprint(asked: Asked) -> str:
    """Return what tells whether somebody sends what they saw."""
    return rules.payload_hash(asked.content()).hex()
