"""Every decision stores the rows of policies that it used (每项决定都记下所依据的规定).

Read from the code: whatever a module reads by `policies["key"]` it names in a `used(...)` that ends
in a row, so that a new decision without its rows fails here, by name.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backend.holders.models import Permission
from backend.policies.rules import CATALOGUE

ROOT = Path(__file__).parents[2]
OF_POLICIES = frozenset({"backend/policies", "backend/rulebook", "backend/migrations"})
"""Where policies are made, not used."""
CALLS = frozenset({"policies_at", "policies_then"})
NAMES = frozenset({"policies", "today"})
"""What the policies of a moment are called; `today` where those of another moment stand beside."""
ONLY_REFUSING = frozenset({"count", "check_sum", "decided_by"})
"""What names rows for the log of a refusal alone: what goes through has to name them itself."""

CODES = "a code is a credential of a minute: what is decided with it stores its own rows"
BUNDLE = (
    "a terminal's bundle is signed, dated and replaced within hours; what is decided by it is"
    " judged anew when it is told, and that row stores the policies of the device's time"
)
SHOWN = "only shown: whoever acts asks anew, and that decision stores the rows"
NOT_STORED: dict[tuple[str, str], str] = {
    ("backend/bundles/service.py", "offline.bundle_fresh_hours"): BUNDLE,
    ("backend/bundles/service.py", "offline.bundle_hours"): BUNDLE,
    ("backend/cards/code_routes.py", "code.issues_per_minute"): CODES,
    ("backend/cards/code_routes.py", "code.lifetime_seconds"): CODES,
    ("backend/cards/code_routes.py", "code.pay_default"): CODES,
    ("backend/cards/code_routes.py", "code.refresh_seconds"): CODES,
    ("backend/cards/service.py", "card.restore_channels"): SHOWN,
    ("backend/charges/offline.py", "offline.money"): BUNDLE,
    ("backend/charges/offline.py", "offline.per_card_count"): BUNDLE,
    ("backend/charges/offline.py", "offline.per_card_fen"): BUNDLE,
    ("backend/charges/offline.py", "offline.per_sale_fen"): BUNDLE,
    ("backend/charges/offline.py", "offline.per_terminal_fen"): BUNDLE,
    ("backend/charges/offline.py", "offline.total_fen"): BUNDLE,
    ("backend/closings/own.py", "closing.wait_days"): SHOWN,
    ("backend/issues/exchanges.py", "exchange.grace_days"): (
        "a list of who is late; nothing follows"
    ),
    ("backend/jobs.py", "notice.stale_minutes"): (
        "old news is dropped unsent: the message's row has its times, the inbox has the notice"
    ),
}
"""Module and key, and why no row names it."""
WORKS_OUT_ALONE = {
    "backend/jobs.py": "every few minutes, for all: what changed them stored the row",
    "backend/holders/permissions.py": "it is here",
}
"""Who works out what cards are for without naming the row, and why."""


class Module:
    """One module of the server: what it reads of policies, and what it stores."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.relative_to(ROOT))
        self.tree = ast.parse(path.read_text())

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """What each node is part of."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @property
    def loaded(self) -> ModuleType:
        """The module itself, for what its names stand for."""
        return importlib.import_module(self.name.removesuffix(".py").replace("/", "."))

    def reads(self) -> Iterator[tuple[int, set[str]]]:
        """Yield each place where policies are read, and the keys."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Subscript) and _is_policies(node.value):
                yield node.lineno, self.keys(node.slice)
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and _is_policies(node.func.value)
            ):
                yield node.lineno, self.keys(node.args[0])

    def stored(self) -> set[str]:
        """Return the keys whose rows are named for something that is stored."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "used"
                and not self._only_refuses(node)
            ):
                for argument in node.args:
                    found |= self.keys(argument)
        return found

    def keys(self, expression: ast.AST, *, seen: frozenset[str] = frozenset()) -> set[str]:
        """Return the keys that an expression may stand for."""
        found: set[str] = set()
        for node in ast.walk(expression):
            if isinstance(node, ast.Constant) and node.value in CATALOGUE:
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found |= _matching(node)
            elif isinstance(node, ast.Name) and node.id not in seen:
                found |= self._named(node, seen=seen | {node.id})
        return found

    def _named(self, name: ast.Name, *, seen: frozenset[str]) -> set[str]:
        known = getattr(self.loaded, name.id, None)
        if inspect.isfunction(known):
            text = inspect.getsource(known)
            return {key for key in CATALOGUE if f'"{key}"' in text}
        if known is not None:
            return {key for key in _strings(known) if key in CATALOGUE}
        scope: ast.AST = name
        while not isinstance(scope, ast.FunctionDef | ast.Module):
            scope = self.parents[scope]
        found: set[str] = set()
        for node in ast.walk(scope):
            for target, value in _bindings(node):
                if isinstance(target, ast.Name) and target.id == name.id:
                    found |= self.keys(value, seen=seen)
        return found

    def _only_refuses(self, node: ast.AST) -> bool:
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
            if isinstance(node, ast.Call):
                named = node.func
                if isinstance(named, ast.Attribute) and named.attr in ONLY_REFUSING:
                    return True
        return False

    def names_of_policies(self) -> Iterator[tuple[int, str]]:
        """Yield what the policies of a moment are called where they are kept."""
        for node in ast.walk(self.tree):
            for target, value in _bindings(node):
                if isinstance(value, ast.Call) and _called(value) in CALLS:
                    yield node.lineno, getattr(target, "id", "?")  # type: ignore[attr-defined]


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", None) or getattr(node.func, "attr", "")


def _is_policies(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "policies" or (node.attr == "values" and _is_policies(node.value))
    if isinstance(node, ast.Call):
        return _called(node) in CALLS
    return isinstance(node, ast.Name) and node.id in NAMES


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the names that a statement or comprehension binds, each with what it stands for."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=True)
            else:
                yield target, node.value
    elif isinstance(node, ast.For | ast.comprehension):
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        yield from ((target, node.iter) for target in targets)


def _matching(node: ast.JoinedStr) -> set[str]:
    parts = [
        re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values
    ]
    return {key for key in CATALOGUE if re.fullmatch("".join(parts), key)}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list | frozenset | set | Mapping):
        for one in value:
            yield from _strings(one)


def modules() -> Iterator[Module]:
    """Every module that reads policies."""
    for path in sorted((ROOT / "backend").rglob("*.py")):
        if any(path.is_relative_to(ROOT / place) for place in OF_POLICIES):
            continue
        if any(name in path.read_text() for name in NAMES):  # `policies_at`, too, has it in it
            module = Module(path)
            if any(True for _ in module.reads()) or any(True for _ in module.names_of_policies()):
                yield module


MODULES = {module.name: module for module in modules()}


class TestRows:
    @pytest.mark.parametrize("name", MODULES)
    def test_what_a_module_reads_it_stores(self, name: str) -> None:
        module, stored = MODULES[name], MODULES[name].stored()
        for line, keys in module.reads():
            assert keys, f"{name}:{line}: which policy is this?"
            missing = {key for key in keys - stored if (name, key) not in NOT_STORED}
            assert not missing, f"{name}:{line}: no row names {sorted(missing)}"

    @pytest.mark.parametrize("name", MODULES)
    def test_policies_have_a_name_that_is_known_here(self, name: str) -> None:
        """Under another name this test would not see what is read."""
        assert {said for _, said in MODULES[name].names_of_policies()} <= NAMES

    def test_exceptions_are_no_longer_than_needed(self) -> None:
        for name, key in NOT_STORED:
            read = {one for _, keys in MODULES[name].reads() for one in keys}
            assert key in read - MODULES[name].stored(), (name, key)

    def test_no_key_is_read_by_nobody(self) -> None:
        read = {key for module in MODULES.values() for _, keys in module.reads() for key in keys}
        templates = {key for key in CATALOGUE if key.startswith("permissions.")}
        assert read | templates == set(CATALOGUE)

    def test_whoever_works_out_what_cards_are_for_names_the_row(self) -> None:
        for path in sorted((ROOT / "backend").rglob("*.py")):
            text, name = path.read_text(), str(path.relative_to(ROOT))
            if "work_out(" in text and name not in WORKS_OUT_ALONE:
                assert "permissions.rows_for(" in text, name


UNASKED = {
    Permission.INFORMATION: "of other applications: no service of our own is public information",
}
"""What no verb asks for, and why."""


class TestPermissions:
    def test_what_a_card_is_for_is_asked_somewhere(self) -> None:
        text = "".join(
            path.read_text()
            for path in sorted((ROOT / "backend").rglob("*.py"))
            if path.name != "models.py"
        )
        unasked = {one for one in Permission if f"Permission.{one.name}" not in text}
        assert unasked == set(UNASKED)
