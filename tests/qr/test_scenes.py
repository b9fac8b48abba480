import json
import runpy
from datetime import datetime
from pathlib import Path

import pytest

import qr
from qr import CodeError, read_jwks
from qr.bundle import BundleError
from qr.rules import Reason
from qr.scanner import Scanner
from qr.store import ScannerStore

PATH = Path(qr.__file__).with_name("scenes.json")
FILE = json.loads(PATH.read_text("utf-8"))
SCENES = {scene["name"]: scene for scene in FILE["scenes"]}


def scanner_of(scene, store):
    return Scanner(
        store, roots=read_jwks(FILE["roots"]), issuer=FILE["issuer"], terminal=scene["terminal"]
    )


def play(scanner, step):
    """Return what a scanner makes of one step, spelled as scenes spell it."""
    if "learn" in step:
        try:
            scanner.learn(step["learn"])
        except BundleError as error:
            return error.code
        return None
    now = datetime.fromisoformat(step["at"])
    if "amount_fen" in step:
        decision = scanner.decide_charge(step["scan"], amount_fen=step["amount_fen"], now=now)
    else:
        decision = scanner.decide_passage(
            step["scan"],
            direction=step["direction"],
            now=now,
            emergency=step.get("emergency", False),
        )
    facts = {"facts": dict(decision.facts)} if decision.facts else {}
    return {"accepted": decision.accepted, "reason": decision.reason, **facts}


class TestScenes:
    @pytest.mark.parametrize("name", SCENES)
    def test_end_as_written(self, name, tmp_path):
        store = ScannerStore(tmp_path / "store")
        scanner = scanner_of(SCENES[name], store)
        for number, step in enumerate(SCENES[name]["steps"]):
            assert play(scanner, step) == step["expect"], f"step {number}"
        store.close()

    @pytest.mark.parametrize("name", SCENES)
    def test_end_as_written_when_the_power_fails_before_every_step(self, name, tmp_path):
        for number, step in enumerate(SCENES[name]["steps"]):
            store = ScannerStore(tmp_path / "store")
            found = play(scanner_of(SCENES[name], store), step)
            assert found == step["expect"], f"step {number}"
            store.close()


class TestFile:
    def test_is_what_the_second_implementation_writes(self):
        writer = runpy.run_path(str(Path(__file__).with_name("write_scenes.py")))
        assert PATH.read_text("utf-8") == writer["spelled"]()

    def test_shows_every_reason_and_every_cap(self):
        expected = [step["expect"] for scene in SCENES.values() for step in scene["steps"]]
        decisions = [expect for expect in expected if isinstance(expect, dict)]
        reasons = {str(reason) for reason in Reason}
        reasons |= {error.code for error in CodeError.__subclasses__()}
        assert {expect["reason"] for expect in decisions} == reasons | {None}
        assert {expect["facts"]["cap"] for expect in decisions if "facts" in expect} == {
            *("per_sale", "per_card_count", "per_card", "terminal")
        }
        refusals = {error.code for error in BundleError.__subclasses__()} | {BundleError.code}
        assert {expect for expect in expected if not isinstance(expect, dict)} == refusals | {None}

    def test_has_names_of_its_own_for_its_scenes(self):
        assert len(SCENES) == len(FILE["scenes"]) >= 25
