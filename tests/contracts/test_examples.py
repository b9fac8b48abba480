"""The examples in `openapi/examples` do what they say."""

import ast
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest
from contracts.http_file import play, read
from factories import Person, give, make_gate, make_person, make_terminal, make_till

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.service import SYSTEM
from backend.operators.models import Role
from backend.operators.service import add_operator
from backend.terminals.models import TerminalKind
from backend.terminals.service import invite

EXAMPLES = Path(__file__).parents[2] / "openapi/examples"


@dataclass(frozen=True)
class Phone:
    """A phone that is bound to somebody, and what it logs in with."""

    person: Person
    login_code: str


def played(file: str, /, **given: str) -> list[Any]:
    """Play an example and return its answers; fail at the first that is not as announced."""
    told = play(EXAMPLES / file, given)
    _, steps = read(EXAMPLES / file)
    for step, status, body in told:
        assert (status, body.get("code") if step.code else None) == (step.status, step.code), (
            step.title,
            body,
        )
    assert len(told) == len(steps)
    return [body for _, _, body in told]


@pytest.fixture(scope="module")
def phone(parts: Parts, server: str) -> Phone:
    """A phone bound by the first example, with money in the purse."""
    person, login_code = make_person(parts), secrets.token_hex(6)
    answers = played(
        "bind.http",
        base_url=server,
        login_code=login_code,
        holder_number=person.number,
        name=person.name,
        document_number=person.document,
    )
    assert answers[-1]["binding"] == "active"
    with transaction() as session:
        give(session, person.id, main_fen=10_000, subsidy_fen=0, now=clock.now())
    return Phone(person, login_code)


class TestExamples:
    def test_are_all_played_here(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "."], cwd=EXAMPLES, capture_output=True, text=True, check=True
        ).stdout.split()
        text = Path(__file__).read_text()
        assert [name for name in listed if f'"{name}"' not in text] == []

    def test_charge(self, phone: Phone, server: str) -> None:
        _, _, charge, again, _, found, reversal, statement = played(
            "charge.http",
            base_url=server,
            login_code=phone.login_code,
            till_token=make_till().token,
            charge_id=str(new_id()),
            reversal_id=str(new_id()),
        )
        assert charge == again == found
        assert charge["balance_fen"] == 10_000 - 850
        assert reversal["total_fen"] == 350
        assert [item["amount_fen"] for item in statement["items"]][:2] == [350, -850]

    def test_pass(self, phone: Phone, server: str) -> None:
        _, _, first, second, passages = played(
            "pass.http",
            base_url=server,
            login_code=phone.login_code,
            gate_token=make_gate().token,
            passage_id=str(new_id()),
            second_passage_id=str(new_id()),
        )
        assert (first["decision"], second["decision"]) == ("allow", "deny")
        assert second["reason"] == "code-spent"
        assert len(passages["items"]) == 2

    def test_top_up(self, phone: Phone, server: str, platform_sandbox: str) -> None:
        *_, synced, found = played(
            "top-up.http",
            base_url=server,
            sandbox_url=platform_sandbox,
            login_code=phone.login_code,
            top_up_id=str(new_id()),
        )
        assert synced == found
        assert found["state"] == "paid"

    def test_lose_and_restore(self, phone: Phone, server: str) -> None:
        *_, restoration, codes = played(
            "lose-and-restore.http",
            base_url=server,
            login_code=phone.login_code,
            document_last_six=phone.person.document[-6:],
            till_token=make_till().token,
            report_id=str(new_id()),
            charge_id=str(new_id()),
            restoration_id=str(new_id()),
        )
        assert sorted(restoration["restored"]) == ["physical_card", "virtual_card"]
        assert codes["codes"]

    def test_enrol(self, parts: Parts, server: str) -> None:
        username, secret, password = secrets.token_hex(4), pyotp.random_base32(), "中文 password"
        with transaction() as session:
            add_operator(
                session,
                username=username,
                role=Role.CARD_CENTRE,
                password=password,
                totp_secret=secret,
                sealer=parts.sealer,
            )
        answers = played(
            "enrol.http",
            base_url=server,
            username=username,
            password=password,
            totp=pyotp.TOTP(secret).at(clock.now()),
            terminal_id=str(make_terminal(TerminalKind.TILL).id),
        )
        assert answers[4]["kind"] == "till"

    def test_a_device_that_signs(self, server: str) -> None:
        gate = make_gate()
        with transaction() as session:
            token = invite(session, terminal_id=gate.id, actor=SYSTEM, now=clock.now())
        with subprocess.Popen(
            [sys.executable, "-u", EXAMPLES / "device.py", server, token],
            stdout=subprocess.PIPE, text=True,
        ) as device:  # fmt: skip
            assert device.stdout is not None
            enrolled, beaten = (ast.literal_eval(device.stdout.readline()) for _ in range(2))
            device.terminate()
        assert (enrolled["terminal_id"], enrolled["token"]) == (str(gate.id), None)
        assert beaten["commands"] == []
