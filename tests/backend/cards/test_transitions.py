"""The table of a card's life, over HTTP: every state against every event, by everybody who may ask.

Cards come into their states by requests and by the jobs of the day, never by an update.  An event
that only a job brings is brought by the job: where the table has no such change, it does nothing.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from factories import Bound, Device, make_holder, make_terminal, sign_in
from flask import Flask
from phones import Phone
from sqlalchemy import select
from werkzeug.test import TestResponse

from backend import clock, jobs
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import ALREADY, TRANSITIONS, CardEvent
from backend.clock import business_date
from backend.closings import emptying
from backend.closings import service as closings
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.terminals.models import TerminalKind

pytestmark = pytest.mark.usefixtures("app")
S, E = CardState, CardEvent
PHYSICAL, VIRTUAL = CardKind.PHYSICAL, CardKind.VIRTUAL
SAID: dict[CardEvent, dict[str, Any]] = {
    E.ACTIVATE: {"documents": ["id_document"]},
    E.REPORT_LOST: {"documents": ["id_document"]},
    E.RESTORE: {"documents": ["id_document"]},
    E.FREEZE: {"reason": "刷卡异常"},
    E.UNFREEZE: {"reason": "已核实"},
    E.EXTEND: {"approval_number": "教务〔2026〕7号"},
    E.VOID: {"reason": "卡片损坏，暂不补办"},
}


class School:
    """Everybody who may let something happen to a card."""

    def __init__(self, app: Flask, parts: Parts) -> None:
        self.parts, self.client = parts, app.test_client()
        self.centre, self.academic = sign_in(parts, Role.CARD_CENTRE), sign_in(parts, Role.ACADEMIC)
        self.maker, self.checker = (sign_in(parts, Role.FINANCE) for _ in range(2))
        self.kiosk: Device = make_terminal(TerminalKind.KIOSK)

    def put(self, path: str, body: Any, who: dict[str, str]) -> TestResponse:
        """Send something."""
        return self.client.put(f"/api/v1{path}", json=body, headers=who)


@pytest.fixture(scope="module")
def school(app: Flask, parts: Parts) -> School:
    """The school."""
    return School(app, parts)


class Life:
    """One holder, and the card that things happen to."""

    def __init__(self, school: School, kind: CardKind, *, issued: bool) -> None:
        self.school, self.kind = school, kind
        self.unit = f"班 {secrets.token_hex(4)}"
        self.holder: Bound = make_holder(
            school.parts, balance_fen=5000, unit=self.unit, issued=issued
        )
        self.phone = Phone(school.client, token=self.holder.token)
        with transaction() as session:
            card = session.scalars(
                select(Card).where(Card.holder_id == self.holder.id, Card.kind == kind)
            ).one()
        self.card_id, self.number = card.id, card.number
        self.closing_id, self.batch_id, self.found_id = new_id(), new_id(), new_id()

    @property
    def state(self) -> CardState:
        """How the card stands."""
        with transaction() as session:
            return session.scalars(select(Card.state).where(Card.id == self.card_id)).one()

    def entries(self, event: CardEvent) -> list[tuple[str, Any, Any]]:
        """Return what the operation log says of an event of this card."""
        with transaction() as session:
            return [
                (entry.outcome, entry.before, entry.after)
                for entry in session.scalars(
                    select(LogEntry).where(
                        LogEntry.card_id == self.card_id, LogEntry.action == f"card.{event}"
                    )
                )
            ]

    def operate(self, event: CardEvent, **said: Any) -> TestResponse:
        """Let the counter do something to the card."""
        body = {"event": event.value, **SAID[event], **said}
        if event is E.RESTORE and self.number:
            body["card_number"] = self.number
        if event is E.EXTEND:
            body["valid_until"] = (business_date(clock.now()) + timedelta(days=365)).isoformat()
        path = f"/staff/cards/{self.card_id}/operations/{new_id()}"
        return self.school.put(path, body, self.school.centre)

    def start_closing(self) -> TestResponse:
        """Start to close the account at the counter."""
        body = {"holder_number": self.holder.number, "kind": "leaving", "document": "人事1号"}
        return self.school.put(f"/staff/closings/{new_id()}", body, self.school.centre)

    def cancel_closing(self) -> TestResponse:
        """Say that a closing was a mistake."""
        return self.school.client.post(
            f"/api/v1/staff/closings/{self.closing_id}/cancellation", headers=self.school.centre
        )

    def graduate(self) -> None:
        """Let yesterday have been the card's last day."""
        body = {
            "holder_numbers": [self.holder.number], "kind": "graduation",
            "effective_on": business_date(clock.now()).isoformat(), "document": "教务2号",
        }  # fmt: skip
        filed = self.school.put(f"/staff/departures/{new_id()}", body, self.school.academic)
        assert filed.status_code == 201, filed.text
        jobs.apply_departures(self.school.parts, clock.now())

    def expire(self) -> None:
        """Run the job that expires cards, the last day being over."""
        self.graduate()
        jobs.expire(self.school.parts, clock.now())

    def close(self) -> None:
        """Run the job that takes closings on, after the waiting; pay what is left by bank."""
        later = clock.now() + timedelta(days=4)
        while self._advance(later):
            pass
        self._pay_out()
        while self._advance(later):
            pass

    def _advance(self, now: Any) -> bool:
        with transaction() as session:
            found = closings.live_closing(session, holder_id=self.holder.id)
        channels = self.school.parts.channels
        return found is not None and emptying.advance(
            closing_id=found.id, channels=channels, now=now
        )

    def _pay_out(self) -> None:
        """Let two people of finance pay what is on the list for this holder."""
        client, path = self.school.client, f"/staff/payout-batches/{new_id()}"
        listed = client.get("/api/v1/staff/payout-lines", headers=self.school.maker).get_json()
        lines = [line for line in listed["items"] if line["holder_number"] == self.holder.number]
        if not lines:
            return
        assert self.school.put(path, None, self.school.maker).status_code == 201
        decided = client.post(
            f"/api/v1{path}/decision", json={"approve": True}, headers=self.school.checker
        )
        assert decided.status_code == 200, decided.text
        for line in lines:
            paid = {"bank_reference": "B-1"}
            path = f"/staff/payout-lines/{line['id']}/payment"
            answer = self.school.put(path, paid, self.school.maker)
            assert answer.status_code == 200, answer.text

    def come_into(self, state: CardState) -> None:
        """Come into a state by what leads there."""
        for step in PATHS[state]:
            step(self)
        assert self.state is state

    def start_this_closing(self) -> TestResponse:
        """Start the closing that is cancelled or taken on later."""
        body = {"holder_number": self.holder.number, "kind": "leaving", "document": "人事1号"}
        return self.school.put(f"/staff/closings/{self.closing_id}", body, self.school.centre)


PATHS: dict[CardState, tuple[Callable[[Life], Any], ...]] = {
    S.PENDING: (),
    S.ACTIVE: (lambda life: life.state is S.ACTIVE or life.operate(E.ACTIVATE),),
    S.LOST: (
        lambda life: life.state is S.ACTIVE or life.operate(E.ACTIVATE),
        lambda life: life.operate(E.REPORT_LOST, channel="counter"),
    ),
    S.FROZEN: (
        lambda life: life.state is S.ACTIVE or life.operate(E.ACTIVATE),
        lambda life: life.operate(E.FREEZE),
    ),
    S.EXPIRED: (
        lambda life: life.state is S.ACTIVE or life.operate(E.ACTIVATE),
        Life.expire,
    ),
    S.CLOSING: (Life.start_this_closing,),
    S.CLOSED: (Life.start_this_closing, Life.close),
    S.VOID: (lambda life: life.operate(E.VOID),),
}


Answer = TestResponse | None
"""What was answered; None where a job did it, which answers nobody."""


def receipt(life: Life) -> Answer:
    """Hand the card out against a signature, from a list made while it waited."""
    body = {"signed_by": "王小明", "signature": "self", "documents": ["id_document"]}
    path = f"/staff/issue-batches/{life.batch_id}/items/{life.holder.id}/receipts/{new_id()}"
    return life.school.put(path, body, life.school.centre)


def kiosk_loss(life: Life) -> Answer:
    path = f"/kiosk/loss-reports/{new_id()}"
    return life.school.put(path, {"card_number": life.number}, life.school.kiosk.headers)


def phone_loss(life: Life) -> Answer:
    credential = "physical_card" if life.kind is PHYSICAL else "phone"
    return life.phone.call("PUT", f"/me/loss-reports/{new_id()}", {"credential": credential})


def found(life: Life) -> Answer:
    body = {"number": life.number, "place": "第一食堂"}
    return life.school.put(f"/staff/found-cards/{life.found_id}", body, life.school.centre)


def kiosk_restore(life: Life) -> Answer:
    body = {"card_number": life.number, "document_number": life.holder.document}
    path = f"/kiosk/restorations/{new_id()}"
    return life.school.put(path, body, life.school.kiosk.headers)


def phone_restore(life: Life) -> Answer:
    said = {"document_last_six": life.holder.document[-6:]}
    return life.phone.call("PUT", f"/me/restorations/{new_id()}", said)


def hand_back(life: Life) -> Answer:
    """Hand a card back that was found, and is what the state says by now."""
    before = life.state
    assert found(life).status_code == 201
    if before is S.ACTIVE:  # finding it has stopped it
        assert life.operate(E.RESTORE).status_code == 201
    path = f"/staff/found-cards/{life.found_id}/hand-backs/{new_id()}"
    return life.school.put(path, {"documents": ["id_document"]}, life.school.centre)


def replace(life: Life) -> Answer:
    body = {"cause": "lost", "documents": ["id_document"], "quoted_fee_fen": 2000}
    path = f"/staff/cards/{life.card_id}/replacements/{new_id()}"
    return life.school.put(path, body, life.school.centre)


def unbind(life: Life) -> Answer:
    return life.phone.call("DELETE", "/me/binding")


Way = Callable[[Life], Answer]
WAYS: dict[str, tuple[CardEvent, Way]] = {
    "counter activates": (E.ACTIVATE, lambda life: life.operate(E.ACTIVATE)),
    "counter takes the loss": (E.REPORT_LOST, lambda life: life.operate(E.REPORT_LOST)),
    "hotline takes the loss": (
        E.REPORT_LOST,
        lambda life: life.operate(
            E.REPORT_LOST, channel="hotline", documents=["hotline_questions"]
        ),
    ),
    "phone reports the loss": (E.REPORT_LOST, phone_loss),
    "counter restores": (E.RESTORE, lambda life: life.operate(E.RESTORE)),
    "phone restores": (E.RESTORE, phone_restore),
    "counter freezes": (E.FREEZE, lambda life: life.operate(E.FREEZE)),
    "counter unfreezes": (E.UNFREEZE, lambda life: life.operate(E.UNFREEZE)),
    "the last day is over": (E.EXPIRE, Life.expire),
    "counter extends": (E.EXTEND, lambda life: life.operate(E.EXTEND)),
    "counter voids": (E.VOID, lambda life: life.operate(E.VOID)),
    "counter starts to close": (E.START_CLOSING, Life.start_closing),
    "counter cancels the closing": (E.CANCEL_CLOSING, Life.cancel_closing),
    "the closing is done": (E.CLOSE, Life.close),
}
"""Who lets an event happen to either kind of card."""
PHYSICAL_WAYS: dict[str, tuple[CardEvent, Way]] = {
    "receipt hands it out": (E.ACTIVATE, receipt),
    "kiosk takes the loss": (E.REPORT_LOST, kiosk_loss),
    "somebody finds it": (E.REPORT_LOST, found),
    "kiosk restores": (E.RESTORE, kiosk_restore),
    "counter hands it back": (E.RESTORE, hand_back),
    "counter replaces it": (E.VOID, replace),
}
VIRTUAL_WAYS: dict[str, tuple[CardEvent, Way]] = {"phone unbinds": (E.VOID, unbind)}

Said = tuple[int, str | None]
NOT_POSSIBLE = "transition-not-possible"
NOT_LOST = (S.PENDING, S.ACTIVE, S.FROZEN, S.EXPIRED, S.CLOSING, S.CLOSED)
OTHERWISE: dict[tuple[CardKind | None, str], dict[CardState, Said]] = {
    # A loss reported again has the first report's answer, also from elsewhere.
    (PHYSICAL, "phone reports the loss"): {
        S.LOST: (200, None),
        S.VOID: (409, "nothing-to-report"),
        S.CLOSED: (409, "nothing-to-report"),
    },
    (PHYSICAL, "kiosk takes the loss"): {
        S.LOST: (200, None),
        S.VOID: (404, "not-found"),
        S.CLOSED: (409, "nothing-to-report"),
    },
    # A phone that is lost is logged out, also where its card is stopped otherwise.
    (VIRTUAL, "phone reports the loss"): {
        **dict.fromkeys((S.LOST, S.VOID), (401, "unauthenticated")),
        **dict.fromkeys((S.FROZEN, S.EXPIRED, S.CLOSING), (201, None)),
        S.CLOSED: (409, "nothing-to-report"),
    },
    (VIRTUAL, "counter takes the loss"): dict.fromkeys(
        (S.FROZEN, S.EXPIRED, S.CLOSING), (201, None)
    ),
    (VIRTUAL, "hotline takes the loss"): dict.fromkeys(
        (S.FROZEN, S.EXPIRED, S.CLOSING), (201, None)
    ),
    # Whoever finds a card has it recorded, and learns nothing of how it stands.
    (PHYSICAL, "somebody finds it"): dict.fromkeys(CardState, (201, None)),
    (PHYSICAL, "counter hands it back"): dict.fromkeys(CardState, (201, None)),
    # Phone and kiosk restore whatever of the holder's is lost, so none of it is.
    (PHYSICAL, "phone restores"): dict.fromkeys((*NOT_LOST, S.VOID), (409, "nothing-to-restore")),
    (PHYSICAL, "kiosk restores"): {
        **dict.fromkeys(NOT_LOST, (409, "nothing-to-restore")),
        S.VOID: (404, "not-found"),
    },
    (VIRTUAL, "phone restores"): {
        **dict.fromkeys(NOT_LOST, (409, "nothing-to-restore")),
        **dict.fromkeys((S.LOST, S.VOID), (401, "unauthenticated")),
    },
    # A new card is for a lost one; what else stands against it is named.
    (PHYSICAL, "counter replaces it"): {
        S.PENDING: (409, NOT_POSSIBLE),
        S.ACTIVE: (409, "report-lost-first"),
        S.FROZEN: (409, "card-frozen"),
        S.EXPIRED: (409, "card-expired"),
        S.CLOSING: (409, "account-closed"),
        S.CLOSED: (409, "account-closed"),
        S.VOID: (409, NOT_POSSIBLE),
    },
    (PHYSICAL, "receipt hands it out"): {S.ACTIVE: (409, NOT_POSSIBLE)},
    (VIRTUAL, "phone unbinds"): {
        **dict.fromkeys((S.ACTIVE, S.EXPIRED), (204, None)),
        **dict.fromkeys((S.LOST, S.VOID), (401, "unauthenticated")),
        S.CLOSED: (204, None),
    },
    # An account is closed, with every card that is not gone: one that is void stays void.
    (None, "counter starts to close"): {
        S.CLOSING: (409, "already-closing"),
        S.CLOSED: (409, "already-closing"),
        S.VOID: (201, None),
    },
    (None, "counter cancels the closing"): {
        **dict.fromkeys(CardState, (404, "not-found")),
        S.CLOSING: (200, None),
        S.CLOSED: (409, "closing-not-possible"),
    },
}
"""What is answered where it is not the table's own refusal, by way and state."""
ASKED: dict[str, str] = {"counter replaces it": "replace"}
"""What a refusal calls the event, where that is another name."""


@dataclass(frozen=True)
class Cell:
    """One way against one state of one kind of card."""

    kind: CardKind
    way: str
    event: CardEvent
    do: Way
    stands: CardState

    def __str__(self) -> str:
        """Say which, as pytest shows it."""
        return f"{self.kind}: {self.way}, when {self.stands}"


CELLS = [
    Cell(kind, way, event, do, state)
    for kind, ways in ((PHYSICAL, WAYS | PHYSICAL_WAYS), (VIRTUAL, WAYS | VIRTUAL_WAYS))
    for way, (event, do) in ways.items()
    for state in CardState
    if kind is PHYSICAL or state is not S.PENDING  # no virtual card waits for anybody
]


def told(cell: Cell) -> Said:
    """Return the status and the code that a way is answered with."""
    for kind in (cell.kind, None):
        said = OTHERWISE.get((kind, cell.way), {})
        if cell.stands in said:
            return said[cell.stands]
    fulfilled = ALREADY.get(cell.event) is cell.stands
    possible = (cell.stands, cell.event) in TRANSITIONS
    return (201, None) if fulfilled or possible else (409, NOT_POSSIBLE)


def test_every_pair_of_the_table_is_played() -> None:
    played = {(cell.stands, cell.event) for cell in CELLS}
    assert played == {(state, event) for state in CardState for event in CardEvent}
    assert {*TRANSITIONS} <= played


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_way_against_a_state(school: School, cell: Cell) -> None:
    way, event, stands = cell.way, cell.event, cell.stands
    life = Life(school, cell.kind, issued=stands is not S.PENDING and way != "receipt hands it out")
    if way == "receipt hands it out":
        path = f"/staff/issue-batches/{life.batch_id}"
        assert school.put(path, {"unit": life.unit}, school.centre).status_code == 201
    life.come_into(stands)
    before = life.entries(event)
    answer = cell.do(life)
    status, code = told(cell)
    after = TRANSITIONS.get((stands, event), stands) if status < 300 else stands
    if answer is None:  # a job did it, or had nothing to do
        assert life.state is TRANSITIONS.get((stands, event), stands)
        assert (len(life.entries(event)) > len(before)) is (life.state is not stands)
        return
    body = answer.get_json(silent=True) or {}
    assert (answer.status_code, body.get("code")) == (status, code), body
    assert life.state is after
    if code == NOT_POSSIBLE:
        assert (body["state"], body["event"]) == (stands.value, ASKED.get(way, event.value))
    if after is not stands:
        assert life.entries(event)[-1] == ("done", stands.value, after.value)
