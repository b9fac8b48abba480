"""A college of its own for one walk: everybody in it, and a line on which every answer is watched.

Two web servers, the payment platforms and a fresh database run as in life; the jobs of the day run
here, at a moment that the walk chooses.
"""

import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyotp
import requests
from college import College
from factories import make_gate, make_terminal, make_till, owners_transaction
from psycopg import sql
from sqlalchemy import make_url

from backend import app as wiring
from backend import clock, db, jobs
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import Account, AccountKind
from backend.operators import service as operators
from backend.operators.models import Role
from backend.policies.service import adopt_preset
from backend.settings import Settings
from backend.terminals.models import TerminalKind

TEMPLATE = "campus_card_template"
PEOPLE_OF = {
    Role.CARD_CENTRE: 2, Role.FINANCE: 3, Role.LOGISTICS: 1, Role.ACADEMIC: 1, Role.PERSONNEL: 1,
    Role.STUDENT_AFFAIRS: 1, Role.AUDITOR: 1, Role.SYSTEM_ADMINISTRATOR: 2,
}  # fmt: skip
TRACE = 25
"""How many of the last requests are told when something is wrong."""


class Broken(AssertionError):
    """The walk came to something that must not be."""


@dataclass
class Caller:
    """Somebody who asks: a person of the staff, a phone, or a terminal."""

    name: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What their requests carry."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass
class Staff(Caller):
    """A person of the staff."""

    role: Role
    username: str
    password: str
    secret: str
    step: int = 0
    """The last time step whose one-time code was shown: each is good once."""


@dataclass
class Till(Caller):
    """A till."""

    is_canteen: bool
    sequence: int = 0
    """The last number that it gave to a decision of its own."""


@dataclass
class Gate(Caller):
    """A gate, and who may pass it."""

    id: str
    default: bool = True
    """Whether they may whom no allowing rule names."""
    rules: list[tuple[bool, str]] = field(default_factory=list)
    """Whether a rule allows, and of which category it speaks."""

    def lets(self, category: str) -> bool:
        """Say whether people of a category may pass: refusing rules come before allowing ones."""
        said = {allow for allow, named in self.rules if named == category}
        return False not in said and (True in said or self.default)


@dataclass
class Answer:
    """What was said to a request."""

    status: int
    body: dict[str, Any]
    text: str

    @property
    def code(self) -> str | None:
        """The refusal's code, None where there is none."""
        return self.body.get("code") if self.status >= 400 else None

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status < 400

    @property
    def verdict(self) -> str:
        """The refusal's code, or that it was done."""
        return self.code or ("done" if self.ok else str(self.status))


@dataclass
class Sent:
    """A request under an id of its caller's own, and its first answer."""

    caller: Caller
    path: str
    body: Any
    answer: Answer


@dataclass
class Campus:
    """The college, and what was said in it so far."""

    college: College
    parts: Parts
    owner: psycopg.Connection[tuple[Any, ...]]
    chance: random.Random
    staff: dict[Role, list[Staff]] = field(default_factory=dict)
    tills: list[Till] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    kiosk: Caller = field(default_factory=lambda: Caller("kiosk", ""))
    documents: list[str] = field(default_factory=list)
    """Every ID number of the walk: none may ever be said, logged or kept."""
    trace: list[str] = field(default_factory=list)
    history: list[Sent] = field(default_factory=list)
    requests: int = 0
    seconds: list[float] = field(default_factory=list)
    """How long each acknowledged loss report took."""
    day: date = field(default_factory=lambda: clock.business_date(clock.now()))
    """The day up to which the jobs have run: ahead of the calendar."""

    def __post_init__(self) -> None:
        self._lines = [requests.Session() for _ in self.college.urls]
        for line in self._lines:
            line.trust_env = False
        self._pool = ThreadPoolExecutor(2)

    def one(self, role: Role) -> Staff:
        """Return somebody of a role."""
        return self.chance.choice(self.staff[role])

    def two(self, role: Role) -> tuple[Staff, Staff]:
        """Return two people of a role."""
        first, second = self.chance.sample(self.staff[role], 2)
        return first, second

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the database as its owner, beside all that the services say of it."""
        named = values[0] if values and isinstance(values[0], dict) else values
        return self.owner.execute(query, named).fetchall()

    def ask(self, caller: Caller, method: str, path: str, body: Any = None) -> Answer:
        """Send a request to one of the servers; whoever has to, shows a one-time code anew."""
        answer = self._send(caller, method, path, body)
        if answer.code == "confirmation-needed" and isinstance(caller, Staff):
            self._show_code(caller)
            answer = self._send(caller, method, path, body)
        if method == "PUT" and answer.ok:
            self._remember(Sent(caller, path, body, answer))
        return answer

    def ask_twice(self, caller: Caller, path: str, body: Any) -> Answer:
        """Send one request to both servers at once; return the answer that did it.

        Raises:
            Broken: the two answers do not go together.
        """
        sent = [
            self._pool.submit(self._send, caller, "PUT", path, body, server=server)
            for server in (0, 1)
        ]
        first, second = sorted(
            (one.result() for one in sent), key=lambda answer: -answer.status if answer.ok else 0
        )
        too_many = second.code in ("too-many-tries", "too-many-requests")  # both were counted
        if (first.ok, first.code) != (second.ok, second.code) and not too_many:
            raise Broken(self.told(f"twice at once: {first.verdict} and {second.verdict}"))
        if (first.status, second.status) == (201, 201):
            raise Broken(self.told("twice at once, and both were the first"))
        if first.ok:
            self._remember(Sent(caller, path, body, first))
        return first

    def _remember(self, sent: Sent) -> None:
        if len(self.history) < 400:
            self.history.append(sent)
        else:
            self.history[self.chance.randrange(400)] = sent

    def _send(
        self, caller: Caller, method: str, path: str, body: Any, *, server: int | None = None
    ) -> Answer:
        if server is None:
            server = self.chance.randrange(2)
        url = f"{self.college.urls[server]}/api/v1{path}"
        said: dict[str, Any] = {"headers": dict(caller.headers), "timeout": 30}
        if isinstance(body, bytes):
            said |= {"data": body}
            said["headers"]["Content-Type"] = "text/csv"
        elif body is not None:
            said |= {"json": body}
        for attempt in range(5):
            got = self._lines[server].request(method, url, **said)
            if got.status_code != 503 or attempt == 4:
                break
            time.sleep(0.3)
        self.requests += 1
        answer = Answer(got.status_code, _json(got), got.text)
        self.trace = [
            *self.trace[1 - TRACE :],
            f"{caller.name} {method} {path} {_short(body)} -> {got.status_code} {got.text[:300]}",
        ]
        self._watch(answer)
        return answer

    def _watch(self, answer: Answer) -> None:
        """Look at an answer that may be any: no fault of the server, no ID number, a reason."""
        if answer.status >= 500:
            logs = "\n".join(part.log.read_text()[-3000:] for part in self.college.webs)
            raise Broken(self.told(f"the server failed: {answer.text[:500]}\n{logs}"))
        if answer.status >= 400 and not answer.body.get("code"):
            raise Broken(self.told("a refusal without a code"))
        for document in self.documents:
            if document in answer.text:
                raise Broken(self.told("an ID number was said"))

    def told(self, what: str) -> str:
        """Return what is wrong, and what was asked last."""
        return "\n".join([what, *self.trace])

    def log_in(self, staff: Staff) -> None:
        """Log somebody of the staff in."""
        said = {"username": staff.username, "password": staff.password, "totp": self._totp(staff)}
        answer = self._send(staff, "POST", "/staff/sessions", said)
        if answer.status != 201:
            raise Broken(self.told("a log-in was refused"))
        staff.token = answer.body["token"]

    def _show_code(self, staff: Staff) -> None:
        answer = self._send(
            staff, "POST", "/staff/sessions/current/confirmations", {"totp": self._totp(staff)}
        )
        if not answer.ok:
            raise Broken(self.told("a one-time code was refused"))

    def _totp(self, staff: Staff) -> str:
        while (step := int(time.time()) // 30) <= staff.step:
            time.sleep(0.5)
        staff.step = step
        return pyotp.TOTP(staff.secret).at(step * 30)

    def pass_day(self, days: int = 1) -> Counter[str]:
        """Let days go by: what the jobs do on each; the same day again does nothing."""
        done = Counter[str]()
        for _ in range(days):
            self.day += timedelta(days=1)
            done.update(jobs.pass_day(self.parts, self.day))
            self.await_notices()
            again = jobs.pass_day(self.parts, self.day)
            # The platform has answered since, and holders were told of it by the real clock.
            for name in ("send-refunds", "advance-closings", "forget-notices"):
                again.pop(name, None)
            if any(again.values()):
                raise Broken(self.told(f"{self.day} again: {again}"))
        return done

    @property
    def later(self) -> Any:
        """The moment at which jobs run that have caught up with the days."""
        return max(clock.now(), clock.start_of_day(self.day) + timedelta(seconds=2))

    def settle_channels(self) -> None:
        """Run the jobs that talk to the channels, and wait until the platform has said it all."""
        for _ in range(3):
            jobs.send_refunds(self.parts, self.later)
            self.await_notices()

    def await_notices(self) -> None:
        """Wait until no notice of the platform is under way."""
        for _ in range(400):
            counts = self.college.control("GET", "notices").json()["counts"]
            if not counts.get("pending"):
                return
            time.sleep(0.02)
        raise Broken(self.told("notices do not arrive"))

    def close(self) -> None:
        """Let go."""
        for line in self._lines:
            line.close()
        self._pool.shutdown()


def _json(got: requests.Response) -> dict[str, Any]:
    try:
        found = got.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _short(body: Any) -> str:
    return (
        repr(body)[:200] if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False)[:300]
    )


@contextmanager
def campus_of(settings: Settings, database_url: str, place: Path, *, seed: str) -> Iterator[Campus]:
    """Run a college on a database of its own, which is left for nobody."""
    name = f"walk_{secrets.token_hex(4)}"
    owner_url = make_url(database_url).set(database=name)
    plain = database_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    own = make_url(settings.database_url).set(database=name).render_as_string(False)
    college = College(
        replace(settings, database_url=own), place, webs=2, workers=0, time_scale=3000, logins=True
    )
    before = db.Session.kw["bind"]
    engine = db.connect(own)
    try:
        _found(college)
        college.start()
        with psycopg.connect(
            owner_url.set(drivername="postgresql").render_as_string(False), autocommit=True
        ) as owner:
            campus = Campus(college, wiring.wire(college.settings), owner, random.Random(seed))
            _people(campus)
            yield campus
            campus.close()
    finally:
        college.stop()
        db.Session.configure(bind=before)
        engine.dispose()


def _found(college: College) -> None:
    """Give a college its accounts and its policies."""
    with owners_transaction() as session:
        long_ago = clock.now().replace(year=2020)
        adopt_preset(session, "standard", document_number="建校", now=long_ago)
    with transaction() as session:
        for kind, name in (
            (AccountKind.SURCHARGE, None),
            (AccountKind.SUBSIDY_FUND, None),
            (AccountKind.CHANNEL, "wechat"),
            (AccountKind.CHANNEL, "alipay"),
        ):
            session.add(Account(id=new_id(), kind=kind, name=name))


def _people(campus: Campus) -> None:
    """Appoint the staff and set up the terminals."""
    for role, count in PEOPLE_OF.items():
        for number in range(count):
            staff = Staff(
                f"{role}-{number}", "", role, f"{role}-{number}".replace("_", "-"),
                secrets.token_urlsafe(16), pyotp.random_base32(),
            )  # fmt: skip
            with transaction() as session:
                operators.add_operator(
                    session,
                    username=staff.username,
                    role=role,
                    password=staff.password,
                    totp_secret=staff.secret,
                    sealer=campus.parts.sealer,
                )
            campus.log_in(staff)
            campus.staff.setdefault(role, []).append(staff)
    for number in range(3):
        is_canteen = number < 2
        till = make_till(is_canteen=is_canteen)
        campus.tills.append(Till(f"till-{number}", till.token, is_canteen))
    for number in range(2):
        gate = make_gate()
        campus.gates.append(Gate(f"gate-{number}", gate.token, str(gate.id)))
    campus.kiosk = Caller("kiosk", make_terminal(TerminalKind.KIOSK).token)
