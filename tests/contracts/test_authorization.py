"""Who may call what: every address of the server against every caller, cell by cell.

The requests are well-formed and name things that do not exist, so that who is refused is refused
for who they are, and who is let in changes nothing that another test looks at.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
from applicants import Case
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import sign
from factories import (
    make_gate,
    make_holder,
    make_terminal,
    make_till,
    sign_in,
    top_up,
    virtual_card,
)
from flask import Flask
from phones import DevicePhone, Phone
from scanners import sign as sign_code
from werkzeug.test import TestResponse

from backend import authorization, clock
from backend.authorization import CALLERS, CONSOLE, IN, KINDS, NOBODY, SIGN_IN, SUSPENDED, Row
from backend.cards.models import CardKind, ReplacementRequest, ReplacementState, Restoration
from backend.cards.service import find_card
from backend.closings import service as closings
from backend.closings.models import ClosingKind
from backend.console.access import COOKIE
from backend.db import transaction
from backend.holders import login
from backend.holders.models import Category
from backend.http.document import shown
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators import service as operators
from backend.operators.models import Operator, OperatorState, Role
from backend.refunds.models import ClaimWay, PayoutLine, PayoutLineState
from backend.terminals.models import TerminalKind
from backend.topups import refunding
from backend.topups import service as topups
from payments import PlatformAccount
from qr import Scope

ROWS = authorization.read()
STRANGERS_CODES = {"unauthenticated", "signature-invalid", "signature-stale"}
"""A 401 with another code is the answer to a log-in that failed: its caller was let in."""
NOT_FOR_THE_CALLER = {"role-not-allowed", "not-bound", "terminal-not-allowed"}
"""A 403 with another code was decided by what the request says."""
FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
BODIES: dict[str, Any] = {
    # what more roles than one may propose
    "PUT /api/v1/staff/operators/{}/changes/{}": {"kind": "recover", "role": None},
    # at one gate that there is not: the example is an alarm for the whole school
    "POST /api/v1/staff/emergencies": {
        "terminal_id": str(new_id()), "reason": "test", "minutes": 1,
    },
    "PUT /api/v1/staff/applications/{}": {
        "oa_number": "OA-1", "sponsor_unit": "后勤保卫处", "sponsor_number": "00000000",
        "purpose": "施工", "category": "temporary_outsider", "permissions": ["identify"],
        "valid_from": "2026-09-01", "valid_until": "2026-12-31",
        "people": [{"name": "马建军", "unit": "后勤保卫处"}],
    },
    "PUT /api/v1/staff/applications/{}/extensions/{}": {
        "oa_number": "OA-2", "valid_until": "2027-01-31",
        "approvals": [
            {"kind": kind, "approver": "赵敏", "document": "OA", "decided_on": "2026-09-01"}
            for kind in ("unit", "leader")
        ],
    },
    "PUT /api/v1/staff/closing-batches/{}/graduates/{}": {
        "exemption": None, "reason": None, "until": None,
    },
}  # fmt: skip
"""What is sent instead of the document's example."""


def addresses(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield method and rule of every address, each variable part as `{}`."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, re.sub(r"<[^<>]+>", "{}", rule.rule)


@dataclass(frozen=True)
class Sent:
    """What a request carries beside who sends it."""

    body: Any = None
    media_type: str = "application/json"
    query: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.media_type == "application/json":
            return b"" if self.body is None else json.dumps(self.body).encode()
        return b"x"


class Callers:
    """One of each kind who calls, made anew when a request has ended them."""

    def __init__(self, app: Flask, parts: Parts) -> None:
        self._app, self._parts = app, parts
        self._headers: dict[str, dict[str, str]] = {}
        self.key = Ed25519PrivateKey.generate()

    def headers(self, caller: str) -> dict[str, str]:
        """Return what a caller's requests carry."""
        if caller not in self._headers:
            self._headers[caller] = self._make(caller)
        return self._headers[caller]

    def forget(self, caller: str) -> None:
        """Let somebody new stand for a caller: this one may be bound or logged in no longer."""
        self._headers.pop(caller, None)

    def _make(self, caller: str) -> dict[str, str]:
        if caller in (NOBODY, "signing_till"):
            if caller != NOBODY:
                self.key = Ed25519PrivateKey.generate()
                make_till(is_canteen=True, key=self.key)
            return {}
        if caller == "bound":
            return make_holder(self._parts, balance_fen=10_000).headers
        if caller == "unbound":
            with transaction() as session:
                token, _ = login.log_in(
                    session,
                    platform="wechat",
                    account=PlatformAccount(secrets.token_hex(8)),
                    sealer=self._parts.sealer,
                    now=clock.now(),
                )
            return {"Authorization": f"Bearer {token}"}
        if KINDS.get(caller) == "terminal":
            made = make_till() if caller == "till" else make_terminal(TerminalKind(caller))
            return {"Authorization": f"Bearer {made.token}"}
        if caller == SUSPENDED:
            headers = sign_in(self._parts, Role.CARD_CENTRE)
            with transaction() as session:
                token = headers["Authorization"].removeprefix("Bearer ")
                who = operators.authenticate(session, token, clock.now())
                operator = session.get_one(Operator, who.operator_id)
                operator.state = OperatorState.SUSPENDED  # and the session goes on
            return headers
        return sign_in(self._parts, Role(caller))

    def ask(self, caller: str, row: Row, path: str, sent: Sent) -> TestResponse:
        """Send a request as a caller."""
        headers, client = dict(self.headers(caller)), self._app.test_client()
        if row.rule.startswith(CONSOLE):
            client.set_cookie(
                COOKIE, headers.get("Authorization", "")[len("Bearer ") :], path=CONSOLE
            )
            form = {}
            if row.method != "GET":
                found = FORM_TOKEN.search(client.get(f"{CONSOLE}/sign-in").text)
                assert found
                form = {"form_token": found[1]}
            return client.open(path, method=row.method, data=form or None)
        address = f"{path}?{urlencode(sent.query)}" if sent.query else path
        if caller == "signing_till":
            headers = sign(
                self.key,
                method=row.method,
                address=quote(address, safe="/?=&"),
                body=sent.content,
                created=int(clock.now().timestamp()),
            )
        return client.open(
            address,
            method=row.method,
            headers=headers,
            data=sent.content or None,
            content_type=sent.media_type if sent.content else None,
        )


def outcome(answer: TestResponse) -> str:
    """Return what an answer means for whoever asked."""
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    told = answer.get_json(silent=True) if answer.is_json or "problem" in answer.mimetype else None
    code = told.get("code") if isinstance(told, dict) else None
    if answer.status_code == 401 and code in STRANGERS_CODES:
        return "401"
    if answer.status_code == 403 and (code is None or code in NOT_FOR_THE_CALLER):
        return "403"
    signed_out = f"{COOKIE}=;" in answer.headers.get("Set-Cookie", "")
    if answer.status_code == 303 and answer.location == f"{CONSOLE}/sign-in" and not signed_out:
        return SIGN_IN
    return IN


@pytest.fixture(scope="module")
def callers(app: Flask, parts: Parts) -> Iterator[Callers]:
    demo = parts.settings.demo
    assert demo is not None
    before = demo.read_text() if demo.exists() else None
    demo.write_text("{}")  # the stage shows it
    yield Callers(app, parts)
    if before is None:
        demo.unlink()
    else:
        demo.write_text(before)


@pytest.fixture(scope="module")
def examples(app: Flask) -> dict[str, Sent]:
    """The document's example of each request, by address."""
    document = app.extensions["openapi"]
    schemas = document["components"]["schemas"]
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            content = operation.get("requestBody", {}).get("content", {})
            media_type = next(iter(content), "application/json")
            address = f"{method.upper()} {re.sub(r'{[^{}]+}', '{}', path)}"
            found[address] = Sent(
                BODIES.get(address)
                or (shown(content[media_type]["schema"], schemas) if content else None),
                media_type,
                {
                    one["name"]: shown(one["schema"], schemas)
                    for one in operation.get("parameters", ())
                    if one["in"] == "query" and one.get("required")
                },
            )
    return found


def filled(row: Row) -> str:
    """Return a path of a row that names what there is not."""
    return re.sub(r"\{\}", lambda _: str(new_id()), row.rule)


def test_every_address_has_its_row(app: Flask) -> None:
    found = set(addresses(app))
    written = {(row.method, row.rule) for row in ROWS}
    assert len(written) == len(ROWS), "an address stands there twice"
    missing = "\n".join(f"{method},{rule},," for method, rule in sorted(found - written))
    assert not missing, f"judge who may, and add to openapi/authorization.csv:\n{missing}"
    assert not written - found, "rows without an address"


@pytest.mark.parametrize("caller", CALLERS)
def test_every_cell_is_as_written(
    caller: str, callers: Callers, examples: Mapping[str, Sent]
) -> None:
    wrong = []
    for row in ROWS:
        answer = callers.ask(caller, row, filled(row), examples.get(row.address, Sent()))
        if row.method != "GET" and answer.status_code < 400:
            callers.forget(caller)
        if outcome(answer) != row.expected(caller):
            wrong.append(
                f"{row.address}: {row.expected(caller)} is written, {answer.status_code}"
                f" {answer.text[:200] if not row.rule.startswith(CONSOLE) else ''}"
            )
    assert not wrong, "\n".join(wrong)


class Owners:
    """A holder and a till and a gate with objects of their own, and others of their kind."""

    def __init__(self, app: Flask, parts: Parts, examples: Mapping[str, Sent]) -> None:
        self._app, self._parts, self._examples = app, parts, examples
        self.holder = make_holder(parts, balance_fen=10_000)
        self.other_holder = make_holder(parts)
        self.till, self.other_till = make_till(), make_till()
        self.gate, self.other_gate = make_gate(), make_gate()

    def object_of(self, rule: str) -> tuple[UUID, Any, str]:
        """Make what an address names; return its id, the body to ask with, and another's token."""
        thing = rule.split("/")[3 if "/me/" not in rule else 4].replace("-", "_")
        id_, body = getattr(self, f"_{thing}")()
        token = {"charges": self.other_till.token, "passages": self.other_gate.token}.get(
            thing, self.other_holder.token
        )
        return id_, body, token

    def _put(self, path: str, body: Any, token: str) -> tuple[UUID, Any]:
        id_ = new_id()
        answer = self._app.test_client().put(
            f"/api/v1/{path}/{id_}", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 201, answer.text
        return id_, body

    def _example(self, path: str) -> Any:
        return self._examples[f"PUT /api/v1/{path}/{{}}"].body

    def _top_ups(self) -> tuple[UUID, Any]:
        body = {"channel": "wechat", "amount_fen": 100}
        with transaction() as session:
            order, _ = topups.order(
                session,
                top_up_id=new_id(),
                holder_id=self.holder.id,
                channel="wechat",
                amount_fen=Fen(100),
                payer_sealed=None,
                actor=SYSTEM,
                now=clock.now(),
            )
            return order.id, body

    def _message_consents(self) -> tuple[UUID, Any]:
        body = {"accepted": [], "rejected": []}
        return self._put("me/message-consents", body, self.holder.token)

    def _early_leavings(self) -> tuple[UUID, Any]:
        phone, case = make_holder(self._parts, category=Category.STAFF), Case(self._parts)
        case.opened(replace(case.wanted, sponsor_number=phone.number))
        body = {
            "application_id": str(case.id),
            "holder_id": str(case.holder_id),
            "last_on": case.wanted.valid_from.isoformat(),
            "reason": "合同提前结束",
        }
        return self._put("me/early-leavings", body, phone.token)

    def _loss_reports(self) -> tuple[UUID, Any]:
        holder = make_holder(self._parts)
        return self._put("me/loss-reports", self._example("me/loss-reports"), holder.token)

    def _restorations(self) -> tuple[UUID, Any]:
        made = Restoration(
            id=new_id(),
            holder_id=self.holder.id,
            restored=[],
            policy_ids=[],
            restored_at=clock.now(),
        )
        with transaction() as session:
            session.add(made)
        return made.id, {"document_last_six": self.other_holder.document[-6:]}

    def _replacements(self) -> tuple[UUID, Any]:
        holder, now = make_holder(self._parts), clock.now()
        with transaction() as session:
            card = find_card(session, holder_id=holder.id, kind=CardKind.PHYSICAL)
            assert card is not None
            asked = ReplacementRequest(
                id=new_id(),
                holder_id=holder.id,
                card_id=card.id,
                cause="lost",
                fee_fen=0,
                policy_ids=[],
                state=ReplacementState.REQUESTED,
                requested_at=now,
            )
            session.add(asked)
        return asked.id, self._examples["PUT /api/v1/me/replacements/{}"].body

    def _delegations(self) -> tuple[UUID, Any]:
        phones = [
            DevicePhone(Phone(self._app.test_client(), token=holder.token), holder)
            for holder in (self.holder, self.other_holder)
        ]
        mine, theirs = phones
        assert mine.enrol().status_code == 201
        theirs.ask_challenge()
        theirs.path = mine.path
        theirs.put()
        return UUID(mine.path.rpartition("/")[2]), theirs.sent

    def _refunds(self) -> tuple[UUID, Any]:
        top_up(self.holder.id, 1_000)
        refund_id = new_id()
        with transaction() as session:
            refunding.ask(
                session,
                refund_id=refund_id,
                holder_id=self.holder.id,
                amount_fen=Fen(100),
                channels=self._parts.channels.keys(),
                actor=SYSTEM,
                now=clock.now(),
            )
        return refund_id, {"amount_fen": 100}

    def _closings(self) -> tuple[UUID, Any]:
        leaver = make_holder(self._parts)
        with transaction() as session:
            closing, _ = closings.start(
                session,
                closing_id=new_id(),
                holder_id=leaver.id,
                kind=ClosingKind.OWN_REQUEST,
                document=None,
                actor=SYSTEM,
                now=clock.now(),
            )
            return closing.id, None

    def _payout_claims(self) -> tuple[UUID, Any]:
        claim_id, now = new_id(), clock.now()
        same = {"subject_id": new_id(), "holder_id": self.holder.id, "amount_fen": Fen(100)}
        times = {"owed_since": now, "listed_at": now}
        ended = {"state": PayoutLineState.WITHDRAWN, "settled_at": now}
        with transaction() as session:
            before = PayoutLine(id=new_id(), **same, **times, **ended)
            session.add(before)
            session.flush()
            line = PayoutLine(
                id=new_id(),
                follows_id=before.id,
                claim_id=claim_id,
                claim_way=ClaimWay.IN_PERSON,
                claimed_at=now,
                **same,
                **times,
                **ended,
            )
            session.add(line)
        return claim_id, {"line_id": str(line.id), "way": "in_person"}

    def _charges(self) -> tuple[UUID, Any]:
        return self._put("charges", self._code(Scope.PAY) | {"amount_fen": 100}, self.till.token)

    def _passages(self) -> tuple[UUID, Any]:
        body = self._code(Scope.GATE) | {"direction": "in"}
        return self._put("passages", body, self.gate.token)

    def _code(self, scope: Scope) -> dict[str, Any]:
        alias = virtual_card(make_holder(self._parts, balance_fen=1_000).id).alias
        assert alias is not None
        return {"code": sign_code(self._parts, alias, scope=scope, issued_at=clock.now())}


@pytest.fixture(scope="module")
def owners(app: Flask, parts: Parts, examples: Mapping[str, Sent]) -> Owners:
    return Owners(app, parts, examples)


def test_every_object_of_a_caller_says_so() -> None:
    """Staff work on the school's objects; what holders and terminals name is their own."""
    kinds = {row.address: {KINDS.get(name) for name in row.lets_in} for row in ROWS}
    own = {
        row.address
        for row in ROWS
        if "{}" in row.rule
        and kinds[row.address] & {"holder", "terminal"}
        and None not in kinds[row.address]  # what is open to all belongs to nobody
        and not row.note
    }
    assert own - {row.address for row in ROWS if row.owned} == set()


@pytest.mark.parametrize("row", [row for row in ROWS if row.owned], ids=lambda row: row.address)
def test_what_belongs_to_another_is_not_there(
    row: Row, app: Flask, owners: Owners, examples: Mapping[str, Sent]
) -> None:
    id_, body, token = owners.object_of(row.rule)
    path = re.sub(r"\{\}", lambda _: str(new_id()), row.rule.replace("{}", str(id_), 1))
    if row.rule.count("{}") > 1 or row.method != "PUT":
        body = examples[row.address].body
    answer = app.test_client().open(
        path, method=row.method, json=body, headers={"Authorization": f"Bearer {token}"}
    )
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found"), answer.text
