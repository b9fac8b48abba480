"""Plays files of the HTTP clients of VS Code and JetBrains.

Knows what our examples use: requests between `###`, `@name = value`, `{{name}}`, a name for an
answer in `# @name`, `{{answer.response.body.$.path[0].member}}`, and `# expect status [code]`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT_SECONDS = 20


@dataclass
class Step:
    """One request, its places still to be filled, and what has to come back."""

    title: str
    method: str
    url: str
    name: str | None
    status: int
    code: str | None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


def read(path: Path) -> tuple[dict[str, str], list[Step]]:
    """Return a file's variables and its requests."""
    head, *parts = re.split(r"(?m)^### ", path.read_text("utf-8"))
    return dict(re.findall(r"(?m)^@(\w+) = (.*)$", head)), [_step(part) for part in parts]


def _step(part: str) -> Step:
    title, *lines = part.splitlines()
    remarks = [line for line in lines if line.startswith("# ")]
    rest = [line for line in lines if not line.startswith("# ")]
    name = next((r.split()[2] for r in remarks if r.startswith("# @name ")), None)
    _, _, status, *code = next(r for r in remarks if r.startswith("# expect ")).split()
    method, url = rest[0].split(" ", 1)
    end = rest.index("") if "" in rest else len(rest)
    return Step(
        title=title,
        method=method,
        url=url,
        name=name,
        status=int(status),
        code=code[0] if code else None,
        headers=dict(line.split(": ", 1) for line in rest[1:end]),
        body="\n".join(rest[end:]).strip(),
    )


def play(path: Path, given: Mapping[str, str]) -> list[tuple[Step, int, Any]]:
    """Send a file's requests in order, with `given` for its variables; return what came back.

    Raises:
        KeyError: `given` names a variable that the file does not have, or the file one that is
            nowhere.
    """
    variables, steps = read(path)
    if unknown := set(given) - set(variables):
        raise KeyError(unknown)
    variables |= given
    answers: dict[str, Any] = {}
    told = []
    for step in steps:
        status, body = _send(step, variables, answers)
        told.append((step, status, body))
        if status != step.status:
            break
        if step.name:
            answers[step.name] = body
    return told


def _send(step: Step, variables: Mapping[str, str], answers: Mapping[str, Any]) -> tuple[int, Any]:
    def fill(text: str) -> str:
        return re.sub(r"{{([^{}]+)}}", lambda place: _value(place[1], variables, answers), text)

    request = Request(
        fill(step.url),
        data=fill(step.body).encode() if step.body else None,
        headers={name: fill(value) for name, value in step.headers.items()},
        method=step.method,
    )
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def _value(place: str, variables: Mapping[str, str], answers: Mapping[str, Any]) -> str:
    name, _, path = place.partition(".response.body.$.")
    if not path:
        return variables[name]
    keys = [int(key) if key.isdigit() else key for key in re.findall(r"\w+", path)]
    return str(reduce(lambda found, key: found[key], keys, answers[name]))
