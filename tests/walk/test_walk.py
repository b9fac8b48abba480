"""A walk of random operations by everybody: no invariant breaks, and each verdict is foretold.

`WALK_STEPS` says how many, `WALK_SEED` which walk; `make walk` does 5,000 and prints what was done.
"""

import os
import time
from pathlib import Path

import pytest
from flask import Flask
from walk import (
    card_acts,
    money_acts,
    office_acts,
    offline_acts,
    school_acts,
    stubborn_acts,
)
from walk.campus import campus_of
from walk.invariants import check, check_at_the_end, p99
from walk.walk import Walk

from backend.settings import Settings

STEPS = int(os.environ.get("WALK_STEPS", "300"))
SEED = os.environ.get("WALK_SEED", "1")
EVERY = 100
"""Steps between two looks at all invariants."""
ALL = (card_acts, money_acts, offline_acts, school_acts, office_acts, stubborn_acts)
"""Whose acts the walk is made of."""


def test_no_invariant_breaks(
    settings: Settings, app: Flask, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place: Path = tmp_path_factory.mktemp("walk")
    with campus_of(settings, database_url, place, seed=SEED) as campus:
        walk = Walk(campus)
        began, asked = time.monotonic(), 0
        school_acts.begin(walk)
        while walk.steps < STEPS:
            walk.step()
            if walk.steps % EVERY == 0:
                asked += check(campus, walk.people)
        for _ in range(5):
            school_acts.pass_one_day(walk)
        campus.settle_channels()
        asked += check(campus, walk.people)
        check_at_the_end(campus)
        report(walk, seconds=time.monotonic() - began, asked=asked)
        assert len(walk.verdicts) > len(ALL)


def report(walk: Walk, *, seconds: float, asked: int) -> None:
    """Print what was done, by kind and verdict."""
    lines = [f"\n{walk.steps} operations (seed {SEED}), {walk.campus.requests} requests"]
    for name, verdicts in sorted(walk.verdicts.items()):
        said = ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())
        lines.append(f"  {name:<28} {verdicts.total():>5}  {said}")
    closed = sum(one.closed for one in walk.people)
    losses = walk.campus.seconds
    lines += [
        f"  people {len(walk.people)}, {closed} of them closed or closing; until {walk.campus.day}",
        f"  {asked} looks at invariants, none broken; no error of a server; all verdicts foretold",
        f"  {len(losses)} losses reported by phone, p99 {p99(losses):.2f} s; {seconds:.0f} s",
    ]
    print("\n".join(lines))  # noqa: T201 - `make walk` shows them
