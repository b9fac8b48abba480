"""Late uploads over lines that break: everything is recorded once, whatever is cut or repeated.

`LATE_ITEMS` says how many decisions are made and uploaded; `make late` does 10,000 and prints what
became of them.
"""

import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from factories import Device, balances, make_gate, make_holder, make_till, virtual_card
from flask import Flask, json
from phones import DevicePhone, Phone
from scanners import CutLine, Told, Uploads, pay_code, policies, row_ids, scanner_on, sign
from sqlalchemy import Engine, func, select, text

from backend import clock
from backend.arrears import service as arrears
from backend.bundles.service import root_keys
from backend.charges.models import Charge, ChargeState
from backend.db import Session, transaction
from backend.gates.models import Passage
from backend.http.parts import Parts
from backend.ledger import service as ledger
from backend.terminals.models import Terminal
from backend.uploads.models import LateUpload
from backend.uploads.rules import Outcome
from backend.uploads.service import missing_sequences
from qr import Scope
from qr.jwks import write_jwks
from qr.scanner import Scanner
from qr.sync import Server, bearer

ITEMS = int(os.environ.get("LATE_ITEMS", "600"))
HOLDERS, GATES, TILLS = 20, 4, 2
BALANCE_FEN = max(5_000, 9 * ITEMS)
"""Enough for most of what each will buy, not for all."""
AWAY = timedelta(hours=2)
"""How long nobody had a network."""
CHARGED = (Outcome.CHARGED, Outcome.CHARGED_WITH_ARREARS)

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network, nearly as much as they like."""
    with policies(
        money=True, per_card_count=250, per_card_fen=10**6, per_sale_fen=20_000,
        per_terminal_fen=10**8, total_fen=10**9,
    ):  # fmt: skip
        yield


@pytest.fixture
def phone(app: Flask, parts: Parts) -> Callable[..., DevicePhone]:
    """Make a phone that may show codes without network."""

    def make(**holder: Any) -> DevicePhone:
        known = make_holder(parts, **({"balance_fen": BALANCE_FEN} | holder))
        made = DevicePhone(Phone(app.test_client(), token=known.token), known)
        assert made.enrol().status_code == 201
        return made

    return make


class Afternoon:
    """Two hours without network: people show codes, scanners decide and remember."""

    def __init__(
        self, parts: Parts, phones: list[DevicePhone], directory: Path, *, seed: int
    ) -> None:
        self.parts, self.chance = parts, random.Random(seed)
        self.began = clock.now() - AWAY
        self.phones = [(phone, virtual_card(phone.holder.id).alias or b"") for phone in phones]
        self.devices = [*(make_gate() for _ in range(GATES)), *(make_till() for _ in range(TILLS))]
        self.scanners: dict[UUID, Scanner] = {
            device.id: scanner_on(device, parts, directory / f"{device.id}", now=self.began)
            for device in self.devices
        }
        self.shown = ""

    def live(self, decisions: int) -> None:
        """Let so many decisions be made; one in 25 is on a code that was shown just before."""
        step = AWAY / (decisions + 1)
        for number in range(decisions):
            self.decide(number, self.began + number * step)

    def decide(self, number: int, moment: datetime) -> None:
        """Let one person show a code at one terminal."""
        at_till = number % 5 == 4
        device = self.chance.choice(self.devices[GATES:] if at_till else self.devices[:GATES])
        if number % 5 in (0, 4) or self.chance.random() >= 0.05:  # else the same code once more
            wrong = self.chance.random() < 0.03
            scope = Scope.PAY if at_till is not wrong else Scope.GATE
            phone, alias = self.phones[number % HOLDERS]
            self.shown = (
                phone.code(scope, now=moment, sequence=number % 16)
                if number % 2
                else sign(self.parts, alias, scope=scope, issued_at=moment)
            )
        elif at_till:
            return
        scanner = self.scanners[device.id]
        if at_till:
            price = self.chance.randrange(100, 2000)
            scanner.decide_charge(self.shown, amount_fen=price, now=moment)
            if self.chance.random() < 0.05:  # the other till is shown the same code
                other = next(d for d in self.devices[GATES:] if d is not device)
                self.scanners[other.id].decide_charge(self.shown, amount_fen=price, now=moment)
        else:
            scanner.decide_passage(self.shown, direction="in", now=moment)

    def queue(self, device: Device) -> list[dict[str, Any]]:
        """Return what a device will tell."""
        store = self.scanners[device.id]._store
        return [*store.waiting(most=store.queue_length)]


class Uploader:
    """Uploads one device's queue in any order, some of it twice, over a line that breaks."""

    def __init__(
        self, base_url: str, device: Device, queue: list[dict[str, Any]], *, seed: int
    ) -> None:
        self.server = Server(base_url, bearer(device.token))
        self.path = "/charges/late" if device.caller.kind == "till" else "/passages/late"
        self.queue, self.chance = [*queue], random.Random(seed)
        self.chance.shuffle(self.queue)
        self.told: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.sent = self.failed = 0

    def run(self) -> "Uploader":
        """Send until everything was answered."""
        waiting, answered = self.queue, []
        while waiting:
            batch = waiting[: self.chance.randrange(1, 60)]
            again = self.chance.sample(answered, min(len(answered), 5))
            sent = [*batch, *again, *batch[:3]]
            self.chance.shuffle(sent)
            self.sent += len(sent)
            try:
                answer = self.server.post(self.path, {"items": sent})["items"]
            except OSError:
                self.failed += 1
                continue
            assert [said["id"] for said in answer] == [item["id"] for item in sent]
            for said in answer:
                self.told[said["id"]].add((said["outcome"], said["reference"]))
            answered += batch
            waiting = waiting[len(batch) :]
        return self


def test_everything_is_recorded_once_over_lines_that_break(
    server: str, parts: Parts, phone: Callable[..., DevicePhone], tmp_path: Path
) -> None:
    afternoon = Afternoon(parts, [phone() for _ in range(HOLDERS)], tmp_path, seed=1)
    began = time.monotonic()
    afternoon.live(ITEMS)
    decided = time.monotonic()
    queues = {device: afternoon.queue(device) for device in afternoon.devices}
    items = [item for queue in queues.values() for item in queue]
    line = CutLine(int(server.rsplit(":", 1)[1]), seed=2, cut_before=0.15, cut_after=0.2)
    uploaders = [
        Uploader(line.base_url, device, queue, seed=number)
        for number, (device, queue) in enumerate([*queues.items()] * 2)
    ]
    with ThreadPoolExecutor(len(uploaders)) as threads:
        done = [future.result() for future in [threads.submit(u.run) for u in uploaders]]
    line.close()
    uploaded = time.monotonic()

    outcomes: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for uploader in done:
        for id_, said in uploader.told.items():
            outcomes[id_] |= said
    assert {*outcomes} == {item["id"] for item in items}
    assert {len(said) for said in outcomes.values()} == {1}, "one answer for ever"
    recorded = check_once(queues)
    check_money(afternoon, {UUID(id_): said for id_, [(said, _)] in outcomes.items()})
    words = [outcome for [(outcome, _)] in outcomes.values()]
    print(  # noqa: T201 - `make late` shows them
        f"\noffline decisions        {len(items)}"
        f"\nconnections              {line.carried + line.cut_before + line.cut_after}"
        f" ({line.cut_before} cut before the request, {line.cut_after} before the answer)"
        f"\nitems sent               {sum(uploader.sent for uploader in done)}"
        f"\nrecorded once            {recorded}"
        f"\nlost                     {len(items) - recorded}"
        + "".join(f"\n  {word:<22} {words.count(word)}" for word in sorted({*words}))
        + f"\nseconds                  {decided - began:.1f} to decide,"
        f" {uploaded - decided:.1f} to upload"
    )
    assert line.cut_before, "no line was cut"
    assert line.cut_after, "no answer was lost"


def check_once(queues: dict[Device, list[dict[str, Any]]]) -> int:
    """See that each item is kept once, with nothing missing; return how many."""
    total = 0
    for device, queue in queues.items():
        with transaction() as session:
            kept = session.scalars(
                select(LateUpload.id).where(LateUpload.terminal_id == device.id)
            ).all()
            become = Charge if device.caller.kind == "till" else Passage
            rows = session.scalars(select(become.id).where(become.terminal_id == device.id)).all()
            gaps = missing_sequences(session, device.id)
            waits = session.scalars(
                select(LateUpload.id).where(
                    LateUpload.terminal_id == device.id, LateUpload.record_id.is_(None)
                )
            ).all()
        assert {*kept} == row_ids(queue)
        assert {*rows} == {*kept} - {*waits}
        assert (gaps.highest, gaps.missing) == (len(queue), [])
        total += len(kept)
    return total


def check_money(afternoon: Afternoon, outcomes: dict[UUID, str]) -> None:
    """See that each holder paid, or owes, exactly what was posted; no code paid twice."""
    tills = [device.id for device in afternoon.devices[GATES:]]
    with transaction() as session:
        assert ledger.prove(session).holds
        assert arrears.difference(session) == 0
        used = session.execute(
            select(LateUpload.code_key, func.count(LateUpload.record_id), func.count())
            .where(LateUpload.terminal_id.in_(tills), LateUpload.accepted)
            .group_by(LateUpload.code_key)
        ).all()
        assert {posted for _, posted, _ in used} == {1}
        assert any(shown > 1 for _, _, shown in used), "no code was shown twice"
        for phone, _ in afternoon.phones:
            paid_fen = session.scalar(
                select(func.coalesce(func.sum(Charge.amount_fen), 0)).where(
                    Charge.holder_id == phone.holder.id, Charge.state == ChargeState.APPROVED
                )
            )
            owed_fen = arrears.open_fen(session, holder_id=phone.holder.id)
            assert balances(phone.holder.id)[0] - owed_fen == BALANCE_FEN - int(paid_fen or 0)
        approved = session.scalars(
            select(Charge.id).where(
                Charge.terminal_id.in_(tills), Charge.state == ChargeState.APPROVED
            )
        ).all()
    assert {*approved} == {id_ for id_, outcome in outcomes.items() if outcome in CHARGED}


class TestAFaultWithinABatch:
    def test_loses_nothing_before_it_and_nothing_after_it(
        self, app: Flask, phone: Callable[..., DevicePhone]
    ) -> None:
        uploads, till, people = Uploads(app.test_client()), make_till(), [phone() for _ in range(3)]
        told = Told(till)
        items = [told.charge(pay_code(known), 500) for known in people]
        with Session() as holding:  # somebody sits on the second purse for longer than we wait
            ledger.lock_purse(holding, holder_id=people[1].holder.id)
            answer = uploads.send(till, *items)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            holding.rollback()
        with transaction() as session:
            kept = session.scalars(
                select(LateUpload.id).where(LateUpload.terminal_id == till.id)
            ).all()
        assert {*kept} == row_ids(items[:1])
        assert uploads.outcomes(till, *items) == [("charged", None)] * 3
        assert [balances(known.holder.id)[0] for known in people] == [BALANCE_FEN - 500] * 3

    def test_of_the_database_leaves_no_half_of_an_item(
        self, app: Flask, phone: Callable[..., DevicePhone], owner: Engine
    ) -> None:
        uploads, till, known = Uploads(app.test_client()), make_till(), phone()
        item = Told(till).charge(pay_code(known), 500)
        with owner.begin() as connection:
            connection.execute(
                text("ALTER TABLE late_uploads ADD CONSTRAINT fault CHECK (false) NOT VALID")
            )
        try:
            assert uploads.send(till, item).status_code == 500
        finally:
            with owner.begin() as connection:
                connection.execute(text("ALTER TABLE late_uploads DROP CONSTRAINT fault"))
        assert balances(known.holder.id) == (BALANCE_FEN, 0)
        with transaction() as session:
            assert session.get(Charge, UUID(item["id"])) is None
        assert uploads.outcome(till, item) == "charged"
        assert balances(known.holder.id) == (BALANCE_FEN - 500, 0)


class TestSync:
    @pytest.fixture
    def kit(self, server: str, parts: Parts, tmp_path: Path) -> Callable[[Device], Any]:
        """Run `python -m qr sync` for a terminal whose store is at `store`."""
        (tmp_path / "roots.json").write_text(json.dumps(write_jwks(root_keys(parts.sealer))))

        def sync(device: Device, key: Ed25519PrivateKey | None = None) -> tuple[int, str]:
            secret = tmp_path / "secret"
            secret.write_bytes(key.private_bytes_raw() if key else device.token.encode())
            done = subprocess.run(
                [sys.executable, "-m", "qr", "sync", "--store", tmp_path / "store",
                 "--roots", tmp_path / "roots.json", "--issuer", parts.settings.issuer,
                 "--terminal", str(device.id), "--server", server,
                 "--key" if key else "--token", secret],
                check=False, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        return sync

    def test_a_device_with_a_key_signs_all_of_it(
        self,
        kit: Callable[..., Any],
        parts: Parts,
        phone: Callable[..., DevicePhone],
        tmp_path: Path,
    ) -> None:
        key, now = Ed25519PrivateKey.generate(), clock.now()
        gate, known = make_gate(key=key), phone()
        scanner = scanner_on(gate, parts, tmp_path / "store", now=now)
        assert scanner.decide_passage(
            known.code(Scope.GATE, now=now), direction="in", now=now
        ).accepted
        scanner._store.close()
        assert kit(gate, Ed25519PrivateKey.generate())[0] == 1
        status, said = kit(gate, key)
        assert (status, said.split(", ")[1:]) == (0, ["1 told", "0 waiting\n"])

    def test_the_kit_uploads_a_queue_and_learns_a_bundle(
        self,
        kit: Callable[..., Any],
        parts: Parts,
        phone: Callable[..., DevicePhone],
        tmp_path: Path,
    ) -> None:
        known, till, now = phone(), make_till(), clock.now()
        scanner = scanner_on(till, parts, tmp_path / "store", now=now)
        learned = scanner.bundle and scanner.bundle.sequence
        codes = [pay_code(known, sequence=n, now=now) for n in range(3)]
        for code in (*codes, codes[0]):
            scanner.decide_charge(code, amount_fen=700, now=now + timedelta(seconds=1))
        scanner._store.close()
        with policies(per_sale_fen=1900):  # something that the next bundle tells
            code, said = kit(till)
        assert (code, said) == (0, f"bundle {(learned or 0) + 1}, 4 told, 0 waiting\n")
        assert balances(known.holder.id) == (BALANCE_FEN - 3 * 700, 0)
        code, said = kit(till)
        assert (code, said) == (0, f"bundle {(learned or 0) + 2}, 0 told, 0 waiting\n")
        with transaction() as session:
            assert missing_sequences(session, till.id).highest == 4
            assert session.get_one(Terminal, till.id).gap_since is None

    def test_the_kit_keeps_what_the_server_cannot_read(
        self,
        kit: Callable[..., Any],
        parts: Parts,
        phone: Callable[..., DevicePhone],
        tmp_path: Path,
    ) -> None:
        known, till, now = phone(), make_till(), clock.now()
        scanner = scanner_on(till, parts, tmp_path / "store", now=now)
        with scanner._store.deciding() as deciding:
            deciding.enqueue({"id": str(known.holder.id), "amount_fen": 0})
        scanner.decide_charge(pay_code(known, now=now), amount_fen=700, now=now)
        scanner._store.close()
        code, said = kit(till)
        assert (code, said.partition(", ")[2]) == (1, "1 told, 1 waiting\n")
        assert balances(known.holder.id) == (BALANCE_FEN - 700, 0)
        with transaction() as session:
            assert session.get_one(Terminal, till.id).missing_sequences == [1]
