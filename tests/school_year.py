"""A small college that lives a year: its server and the platforms over HTTP, its days by command.

All programs of it run in this process, so that they share one clock, which is moved.  Whatever
happens because a day has come is done by `campus-card pass-days`; what happens within a day is done
by the people of the college, over HTTP, in the morning of that day.
"""

import base64
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pyotp
import pytest
import requests
import time_machine
from click.testing import CliRunner
from college import free_ports
from factories import WEIGHTS, Device, make_gate, make_till, owners_transaction
from flask import json
from psycopg import sql
from sqlalchemy import make_url, select
from werkzeug.serving import WSGIRequestHandler, make_server

from backend import app as wiring
from backend import cli, clock, db, jobs
from backend.charges.models import Charge
from backend.db import transaction
from backend.holders.models import Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Account, AccountKind
from backend.logs import JsonLines
from backend.operation_log import seals
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.operators.service import add_operator
from backend.policies.service import adopt_preset
from backend.settings import Settings
from payments.sandbox import app as platforms
from payments.sandbox.keys import prepare
from payments.sandbox.mini_program import access_token
from qr import KeyRing

API = "/api/v1"
TERMS = "2027-09"
EVERY_DAY = bool(os.environ.get("EVERY_DAY"))
PATIENCE_TENTHS = 100
DAYS_BEFORE = 7
"""How many days up to one on which somebody acts pass, where not every day of the year does."""
PROGRAM = Path(sys.executable).with_name("campus-card")
WITHIN_A_DAY = (
    "ask-channels", "send-refunds", "return-surcharges", "advance-closings", "send-messages",
    "seal-log",
)  # fmt: skip
"""Jobs that go by the minute: the worker does them all day long, here after each act."""


@dataclass
class Member:
    """Somebody of the college, as themselves."""

    number: str
    name: str
    born: str
    platform: str = "wechat"
    document: str = field(init=False)
    login_code: str = field(init=False)
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        body = f"110105{self.born}002"
        total = sum(int(digit) * weight for digit, weight in zip(body, WEIGHTS, strict=True))
        self.document = body + "10X98765432"[total % 11]
        self.login_code = f"{self.platform}-{secrets.token_hex(8)}"


@dataclass
class Clerk:
    """Somebody of the staff, with both secrets."""

    role: Role
    username: str
    password: str
    totp_secret: str
    token: tuple[date, str] | None = None


class Year:
    """The college, its clock, and what its people do."""

    def __init__(self, parts: Parts, directory: Path, clock_: Any, url: str) -> None:
        self.parts, self.directory, self._clock, self._url = parts, directory, clock_, url
        self.today = clock.business_date(clock.now())
        self.secrets: list[str] = []
        """Numbers and tokens that were used: none of them may stand anywhere."""
        self._clerks: dict[str, Clerk] = {}
        self._http = requests.Session()
        self._http.trust_env = False
        self.till, self.gate = self._device(make_till(is_canteen=True)), self._device(make_gate())

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def live_until(self, day: date) -> None:
        """Let the days up to this one come, each at its midnight, and wake up at nine."""
        if day > self.today:
            first = self.today + timedelta(days=1)
            if not EVERY_DAY:
                first = max(first, day - timedelta(days=DAYS_BEFORE - 1))
            ran = CliRunner().invoke(cli.main, ["pass-days", str(first), str(day)])
            assert ran.exit_code == 0, ran.output
            self.today = day
        self._clock.move_to(clock.start_of_day(day) + timedelta(hours=9))

    def work(self) -> None:
        """Do what the worker does within a day."""
        for name, _, work in jobs.TIMETABLE:
            if name in WITHIN_A_DAY:
                work(self.parts, clock.now())

    def await_refund(self, member: Member) -> None:
        """Send what goes back to its source, and wait until the platform says that it has."""
        for _ in range(PATIENCE_TENTHS):
            self.work()
            if self.log("refund.succeeded", member):
                break
            time.sleep(0.1)
        self.work()

    def seal(self) -> None:
        """Seal the whole log: the horizon is the server's, and others work there, too."""
        for _ in range(PATIENCE_TENTHS):
            self.work()
            with transaction() as session:
                if seals.lag(session, now=clock.now()).entries == 0:
                    return
            time.sleep(0.1)

    # -- People --

    def clerk(self, role: Role, number: int = 1) -> dict[str, str]:
        """Return what the requests of somebody of the staff carry today: they sign in daily."""
        known = self._clerks.setdefault(f"{role}-{number}", self._appoint(role, number))
        if known.token is None or known.token[0] != self.today:
            said = {
                "username": known.username,
                "password": known.password,
                "totp": pyotp.TOTP(known.totp_secret).at(clock.now()),
            }
            token = self.send("POST", "/staff/sessions", said, {}, expect=201)["token"]
            self.secrets.append(token)
            known.token = (self.today, token)
        return {"Authorization": f"Bearer {known.token[1]}"}

    def _appoint(self, role: Role, number: int) -> Clerk:
        key = f"{role}-{number}"
        if key in self._clerks:
            return self._clerks[key]
        clerk = Clerk(role, key, secrets.token_urlsafe(16), pyotp.random_base32())
        with transaction() as session:
            add_operator(
                session,
                username=clerk.username,
                role=role,
                password=clerk.password,
                totp_secret=clerk.totp_secret,
                sealer=self.parts.sealer,
            )
        self.secrets += [clerk.password, clerk.totp_secret]
        return clerk

    def _device(self, device: Device) -> Device:
        self.secrets.append(device.token)
        return device

    def enrol(self, member: Member) -> None:
        """Know a member by their number, once they are on the roster."""
        with transaction() as session:
            member.id = session.scalars(
                select(Holder.id).where(Holder.holder_number == member.number)
            ).one()
        self.secrets += [member.document, member.login_code]

    def phone(self, member: Member) -> dict[str, str]:
        """Return what a member's phone sends after it has logged in."""
        said = {"platform": member.platform, "code": member.login_code}
        token = self.send("POST", "/sessions", said, {}, expect=201)["token"]
        self.secrets.append(token)
        return {"Authorization": f"Bearer {token}"}

    # -- What they do --

    def bind(self, member: Member) -> None:
        """Bind a member's phone in both steps; the platform knows whose account it is."""
        self.control(
            "accounts",
            platform=member.platform,
            login_code=member.login_code,
            name=member.name,
            document_number=member.document,
        )
        phone = self.phone(member)
        said = {
            "holder_number": member.number,
            "name": member.name,
            "document_number": member.document,
            "terms_version": TERMS,
        }
        self.send("PUT", "/me/binding", said, phone)
        self.send("POST", "/me/binding/payment-identity", {"grant": member.login_code}, phone)

    def top_up(self, member: Member, amount_fen: int) -> None:
        """Pay a top-up; the platform tells, and the phone asks."""
        phone, path = self.phone(member), f"/me/top-ups/{new_id()}"
        said = {"channel": member.platform, "amount_fen": amount_fen}
        order = self.send("PUT", path, said, phone, expect=201)
        self.control("pay", out_trade_no=order["out_trade_no"], outcome="paid")
        assert self.send("POST", f"{path}/sync", None, phone)["state"] == "paid"

    def eat(self, member: Member, amount_fen: int) -> dict[str, Any]:
        """Show a code at the till, and pay."""
        said = {"code": self._code(member, "pay"), "amount_fen": amount_fen}
        return self.send("PUT", f"/charges/{new_id()}", said, self.till.headers, expect=201)

    def pass_gate(self, member: Member) -> dict[str, Any]:
        """Show a code at the gate."""
        said = {"code": self._code(member, "gate"), "direction": "in"}
        return self.send("PUT", f"/passages/{new_id()}", said, self.gate.headers, expect=201)

    def _code(self, member: Member, scope: str) -> str:
        codes = self.send("POST", "/me/codes", {"scope": scope}, self.phone(member), expect=None)
        self.secrets += [code["text"] for code in codes["codes"]]
        text: str = codes["codes"][0]["text"]
        return text

    def card_of(self, member: Member, kind: str = "physical") -> dict[str, Any]:
        """Return a card as the counter sees it."""
        said = {"holder_number": member.number}
        found = self.send("POST", "/staff/cards/lookups", said, self.clerk(Role.CARD_CENTRE))
        card: dict[str, Any] = next(one for one in found["cards"] if one["kind"] == kind)
        return card

    # -- How they do it --

    def send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        *,
        expect: int | None = 200,
    ) -> Any:
        """Send one request; `expect` None takes every success."""
        raw = {"data": body} if isinstance(body, bytes) else {"json": body}
        answer = self._http.request(
            method, f"{self._url}{API}{path}", headers=headers, timeout=15, **raw
        )
        good = answer.ok if expect is None else answer.status_code == expect
        assert good, (path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def control(self, path: str, **said: Any) -> None:
        """Work the platforms' controls."""
        sandbox = self.parts.settings.sandbox_url
        self._http.post(f"{sandbox}/control/{path}", json=said, timeout=15).raise_for_status()

    # -- What is left of it --

    def log(self, action: str, member: Member | None = None) -> list[LogEntry]:
        """Return the entries of the operation log (台账) of an action, oldest first."""
        query = select(LogEntry).where(LogEntry.action == action).order_by(LogEntry.at)
        if member is not None:
            query = query.where(LogEntry.holder_id == member.id)
        with transaction() as session:
            return list(session.scalars(query))

    def charges(self, member: Member) -> list[Charge]:
        """Return what a member's codes were shown for at tills, oldest first."""
        query = select(Charge).where(Charge.holder_id == member.id).order_by(Charge.charged_at)
        with transaction() as session:
            return list(session.scalars(query))

    def command(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of `campus-card` on the college, a program of its own."""
        settings = self.parts.settings
        environment = os.environ | {
            "CAMPUS_CARD_DATABASE_URL": settings.database_url,
            "CAMPUS_CARD_REDIS_URL": settings.redis_url,
            "CAMPUS_CARD_ROOT_KEY": base64.b64encode(settings.root_key).decode(),
            "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
            "CAMPUS_CARD_ISSUER": settings.issuer,
            "CAMPUS_CARD_BASE_URL": settings.base_url,
            "CAMPUS_CARD_PAYMENTS": str(settings.payments),
            "CAMPUS_CARD_DEMO": str(settings.demo),
        }
        return subprocess.run(
            [PROGRAM, *arguments], env=environment, cwd=self.directory, input=said,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@contextmanager
def found_college(
    directory: Path, database_url: str, redis_url: str, settings: Settings, first: date
) -> Iterator[Year]:
    """Found a college in an empty database, on the evening before its first day."""
    with ExitStack() as stack:
        evening = clock.start_of_day(first) - timedelta(hours=3)
        moved = time_machine.travel(evening, tick=True)
        moving = moved.start()
        stack.callback(moved.stop)
        port, sandbox_port = free_ports(2)
        own = _settings(
            directory,
            replace(settings, database_url=database_url, redis_url=redis_url),
            (port, sandbox_port),
        )
        _log_into(stack, directory / "year.log")
        platform_token = _serve_platforms(stack, directory, sandbox_port)
        before = db.Session.kw["bind"]
        stack.callback(lambda: db.Session.configure(bind=before))
        app = wiring.create_app(own)
        engine = db.Session.kw["bind"]
        stack.callback(engine.dispose)
        parts: Parts = app.extensions["campus_card"]
        stack.callback(parts.redis.close)
        _serve(stack, app, port)
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(cli, "_settings", lambda: own)
        patched.setattr(wiring, "wire", lambda _: parts)
        patched.setattr(db, "connect", lambda _: engine)
        with owners_transaction() as session:
            adopt_preset(session, "standard", document_number="图文〔2027〕1号", now=clock.now())
        with transaction() as session:
            for kind, name in (
                (AccountKind.SURCHARGE, None),
                (AccountKind.SUBSIDY_FUND, None),
                (AccountKind.CHANNEL, "wechat"),
                (AccountKind.CHANNEL, "alipay"),
            ):
                session.add(Account(id=new_id(), kind=kind, name=name))
        year = Year(parts, directory, moving, own.base_url)
        stack.callback(year.close)
        year.secrets.append(platform_token)
        yield year


def _settings(directory: Path, settings: Settings, ports: tuple[int, int]) -> Settings:
    base_url, sandbox_url = (f"http://127.0.0.1:{port}" for port in ports)
    keys = prepare(directory / "sandbox")
    configs = {
        "wechat_pay": keys.wechat_pay_config(sandbox_url, f"{base_url}/callbacks/wechat-pay"),
        "alipay": keys.alipay_config(sandbox_url, f"{base_url}/callbacks/alipay"),
        "wechat_mini_program": keys.wechat_mini_program_config(sandbox_url),
        "alipay_mini_program": keys.alipay_mini_program_config(sandbox_url),
    }
    payments = directory / "payments.json"
    payments.write_text(json.dumps({name: asdict(config) for name, config in configs.items()}))
    KeyRing.create(directory / "code-keys.json", now=clock.now())
    return replace(
        settings,
        code_keys=directory / "code-keys.json",
        base_url=base_url,
        payments=payments,
        demo=directory / "demo.json",
        sandbox_url=sandbox_url,
    )


def _log_into(stack: ExitStack, path: Path) -> None:
    """Write down all that the programs say, as the real ones do."""
    handler, root = logging.FileHandler(path, encoding="utf-8"), logging.getLogger()
    handler.setFormatter(JsonLines())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    stack.callback(handler.close)
    stack.callback(root.removeHandler, handler)
    stack.callback(root.setLevel, level)


class _Quiet(WSGIRequestHandler):
    """Logs no request line, as the platforms' own program does: a login's address has the code."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def _serve(
    stack: ExitStack, app: Any, port: int, handler: type[WSGIRequestHandler] = WSGIRequestHandler
) -> None:
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)


def _serve_platforms(stack: ExitStack, directory: Path, port: int) -> str:
    """Serve WeChat and Alipay; return the access token that WeChat gives the school."""
    world = platforms.create_world(directory / "sandbox", time_scale=600.0, environment={})
    stack.callback(world.messages.close)
    stack.callback(world.state.close)
    world.courier.start()
    stack.callback(world.courier.stop)
    _serve(stack, platforms.create_app(world), port, _Quiet)
    return access_token(world)


@contextmanager
def empty_database(database_url: str) -> Iterator[str]:
    """Make a migrated database of one's own; its address, for the role that serves."""
    name = f"year_{secrets.token_hex(4)}"
    admin = database_url.replace("+psycopg", "")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE campus_card_template STRATEGY file_copy").format(
                sql.Identifier(name)
            )
        )
        yield make_url(database_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def at_nine(day: date) -> datetime:
    """Return nine o'clock of a day, by the school's clock."""
    return clock.start_of_day(day) + timedelta(hours=9)
