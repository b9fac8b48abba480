"""The counter, over HTTP: every state of a card against every event, and the proof each needs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import make_person, sign_in
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from backend import clock
from backend.cards.models import Card, CardKind, CardState, LossReport
from backend.cards.rules import COUNTER_EVENTS, TRANSITIONS, CardEvent
from backend.cards.service import expire_cards, find_card
from backend.clock import business_date
from backend.db import transaction
from backend.holders.models import Binding, BindingState, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operators.models import Role

pytestmark = pytest.mark.usefixtures("app")
ALREADY = {
    CardEvent.ACTIVATE: CardState.ACTIVE,
    CardEvent.REPORT_LOST: CardState.LOST,
    CardEvent.FREEZE: CardState.FROZEN,
    CardEvent.VOID: CardState.VOID,
}


def in_a_year() -> str:
    """Return a day far enough away."""
    return (business_date(clock.now()) + timedelta(days=365)).isoformat()


SAID: dict[CardEvent, dict[str, Any]] = {
    CardEvent.ACTIVATE: {"documents": ["id_document"]},
    CardEvent.REPORT_LOST: {"documents": ["id_document"]},
    CardEvent.RESTORE: {"documents": ["id_document"]},
    CardEvent.FREEZE: {"reason": "刷卡异常"},
    CardEvent.UNFREEZE: {"reason": "已核实"},
    CardEvent.EXTEND: {"approval_number": "教务〔2026〕7号"},
    CardEvent.VOID: {"reason": "卡片损坏，暂不补办"},
}


class Counter:
    """Somebody of the card centre, and what they send."""

    def __init__(self, client: FlaskClient, parts: Parts, role: Role = Role.CARD_CENTRE) -> None:
        self.client, self.headers = client, sign_in(parts, role)

    def operate(
        self, card: Card, event: CardEvent, operation_id: UUID | None = None, **said: Any
    ) -> TestResponse:
        """Let an event happen, with all that it needs unless told otherwise."""
        body = {"event": event.value, **SAID[event], **said}
        if event is CardEvent.RESTORE and card.number:
            body = {"card_number": card.number, **body}
        if event is CardEvent.EXTEND:
            body = {"valid_until": in_a_year(), **body}
        return self.put(f"cards/{card.id}/operations/{operation_id or new_id()}", body)

    def put(self, path: str, body: dict[str, Any]) -> TestResponse:
        """Send something."""
        return self.client.put(f"/api/v1/staff/{path}", json=body, headers=self.headers)


@pytest.fixture
def counter(client: FlaskClient, parts: Parts) -> Counter:
    """The counter."""
    return Counter(client, parts)


def card_of(holder_id: UUID, kind: CardKind = CardKind.PHYSICAL) -> Card:
    """Return a holder's card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=kind)
    assert card is not None
    return card


def stand(card: Card, state: CardState) -> None:
    """Put a physical card into a state, whatever way leads there."""
    with transaction() as session:
        session.execute(update(Card).where(Card.id == card.id).values(state=state))


def state_of(card: Card) -> CardState:
    """Return how a card stands."""
    with transaction() as session:
        return session.scalars(select(Card.state).where(Card.id == card.id)).one()


def told(holder_id: UUID) -> list[str]:
    """Return the kinds of what a holder was told."""
    with transaction() as session:
        return list(
            session.scalars(
                select(HolderNotice.kind)
                .where(HolderNotice.holder_id == holder_id)
                .order_by(HolderNotice.written_by, HolderNotice.id)
            )
        )


def logged(card: Card, action: str) -> LogEntry:
    """Return the newest entry about a card."""
    with transaction() as session:
        return session.scalars(
            select(LogEntry)
            .where(LogEntry.card_id == card.id, LogEntry.action == action)
            .order_by(LogEntry.at.desc(), LogEntry.id.desc())
            .limit(1)
        ).one()


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


class TestEveryState:
    @pytest.mark.parametrize("stands", list(CardState))
    @pytest.mark.parametrize("event", COUNTER_EVENTS)
    def test_against_every_event(
        self, counter: Counter, parts: Parts, stands: CardState, event: CardEvent
    ) -> None:
        card = card_of(make_person(parts).id)
        stand(card, stands)
        answer = counter.operate(card, event)
        after = TRANSITIONS.get((stands, event))
        if after is None and ALREADY.get(event) is stands:
            after = stands
        if after is None:
            assert refusal(answer) == (409, "transition-not-possible")
            body = answer.get_json()
            assert (body["state"], body["event"]) == (stands.value, event.value)
            entry = logged(card, f"card.{event}")
            assert (entry.outcome, entry.holder_id) == ("transition-not-possible", card.holder_id)
            assert state_of(card) is stands
            return
        assert answer.status_code == 201, answer.text
        body = answer.get_json()
        assert (body["before"], body["after"]) == (stands.value, after.value)
        assert state_of(card) is after
        if after is not stands:
            entry = logged(card, f"card.{event}")
            assert (entry.outcome, entry.before, entry.after) == ("done", stands, after)
            assert entry.actor.startswith("operator:")

    def test_says_what_the_counter_can_do(self, counter: Counter, parts: Parts) -> None:
        card = card_of(make_person(parts).id)
        path = f"/api/v1/staff/cards/{card.id}"
        for state in CardState:
            stand(card, state)
            body = counter.client.get(path, headers=counter.headers).get_json()
            assert body["state"] == state.value
            assert body["possible"] == [
                event.value for event in COUNTER_EVENTS if (state, event) in TRANSITIONS
            ]


class TestAnOperation:
    def test_is_for_the_card_centre(self, client: FlaskClient, parts: Parts) -> None:
        card = card_of(make_person(parts).id)
        for role in set(Role) - {Role.CARD_CENTRE}:
            answer = Counter(client, parts, role).operate(card, CardEvent.FREEZE)
            assert refusal(answer) == (403, "role-not-allowed")
            assert logged(card, "card.freeze").outcome == "role-not-allowed"
        assert state_of(card) is CardState.ACTIVE

    def test_has_one_answer_for_ever(
        self, counter: Counter, client: FlaskClient, parts: Parts
    ) -> None:
        card, other, id_ = card_of(make_person(parts).id), card_of(make_person(parts).id), new_id()
        first = counter.operate(card, CardEvent.FREEZE, id_)
        assert counter.operate(card, CardEvent.UNFREEZE).status_code == 201
        again = counter.operate(card, CardEvent.FREEZE, id_)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert state_of(card) is CardState.ACTIVE, "a late retry freezes nothing"
        changed = counter.operate(card, CardEvent.FREEZE, id_, reason="别的原因")
        assert refusal(changed) == (409, "id-reused")
        assert refusal(counter.operate(other, CardEvent.FREEZE, id_)) == (409, "id-reused")
        assert refusal(Counter(client, parts).operate(card, CardEvent.FREEZE, id_)) == (
            404, "not-found",
        )  # fmt: skip
        found = client.get(
            f"/api/v1/staff/cards/{card.id}/operations/{id_}", headers=counter.headers
        )
        assert found.get_json() == first.get_json()

    def test_knows_no_other_cards(self, counter: Counter) -> None:
        nobody = Card(id=new_id(), number="0")
        assert refusal(counter.operate(nobody, CardEvent.FREEZE)) == (404, "not-found")

    @pytest.mark.parametrize(
        ("event", "left_out"),
        [
            (CardEvent.FREEZE, "reason"), (CardEvent.UNFREEZE, "reason"),
            (CardEvent.VOID, "reason"), (CardEvent.EXTEND, "valid_until"),
            (CardEvent.EXTEND, "approval_number"),
        ],
    )  # fmt: skip
    def test_needs_its_reason(
        self, counter: Counter, parts: Parts, event: CardEvent, left_out: str
    ) -> None:
        card = card_of(make_person(parts).id)
        answer = counter.operate(card, event, **{left_out: None})
        assert answer.status_code == 422
        assert left_out in answer.get_json()["errors"]

    def test_takes_no_field_of_another(self, counter: Counter, parts: Parts) -> None:
        card = card_of(make_person(parts).id)
        answer = counter.operate(card, CardEvent.FREEZE, valid_until=in_a_year())
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["valid_until"])

    @pytest.mark.parametrize(
        ("stands", "event"),
        [
            (CardState.PENDING, CardEvent.ACTIVATE), (CardState.ACTIVE, CardEvent.REPORT_LOST),
            (CardState.LOST, CardEvent.RESTORE),
        ],
    )  # fmt: skip
    def test_needs_a_document(
        self, counter: Counter, parts: Parts, stands: CardState, event: CardEvent
    ) -> None:
        card = card_of(make_person(parts).id)
        stand(card, stands)
        answer = counter.operate(card, event, documents=["old_card"])
        assert refusal(answer) == (409, "documents-missing")
        assert answer.get_json()["needs"] == "id_document"
        assert state_of(card) is stands


class TestHotline:
    def test_stops_a_card_for_who_answers_the_questions(
        self, counter: Counter, bound_phone: Callable[..., Any]
    ) -> None:
        holder, phone = bound_phone()
        card, virtual = card_of(holder.id), card_of(holder.id, CardKind.VIRTUAL)
        unasked = counter.operate(card, CardEvent.REPORT_LOST, channel="hotline")
        assert refusal(unasked) == (409, "documents-missing")
        answer = counter.operate(
            card,
            CardEvent.REPORT_LOST,
            channel="hotline",
            documents=["hotline_questions"],
            stop_virtual_card=True,
        )
        assert (answer.status_code, answer.get_json()["after"]) == (201, "lost")
        assert (state_of(card), state_of(virtual)) == (CardState.LOST, CardState.LOST)
        entry = logged(card, "card.report_lost")
        assert (entry.channel, entry.documents) == ("hotline", ["hotline_questions"])
        assert "card-lost" in told(holder.id)
        assert phone.call("GET", "/me").status_code == 200

    def test_ends_a_lost_phone(self, counter: Counter, bound_phone: Callable[..., Any]) -> None:
        holder, phone = bound_phone()
        virtual = card_of(holder.id, CardKind.VIRTUAL)
        answer = counter.operate(
            virtual, CardEvent.REPORT_LOST, channel="hotline", documents=["hotline_questions"]
        )
        assert answer.status_code == 201
        assert phone.call("GET", "/me").status_code == 401
        assert state_of(card_of(holder.id)) is CardState.ACTIVE
        with transaction() as session:
            report = session.get(LossReport, UUID(answer.get_json()["id"]))
        assert report is not None
        assert report.credential == "phone"

    @pytest.mark.parametrize(
        "event", [event for event in COUNTER_EVENTS if event is not CardEvent.REPORT_LOST]
    )
    def test_does_nothing_else(self, counter: Counter, parts: Parts, event: CardEvent) -> None:
        card = card_of(make_person(parts).id)
        state = next(state for state, known in TRANSITIONS if known is event)
        stand(card, state)
        answer = counter.operate(
            card, event, channel="hotline", documents=["id_document", "hotline_questions"]
        )
        assert refusal(answer) == (403, "not-by-phone")
        assert state_of(card) is state


class TestRestoration:
    def test_needs_the_card_itself(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts)
        card = card_of(person.id)
        stand(card, CardState.LOST)
        for number in (None, "0", card_of(make_person(parts).id).number):
            answer = counter.operate(card, CardEvent.RESTORE, card_number=number)
            assert refusal(answer) == (409, "card-number-mismatch")
        assert counter.operate(card, CardEvent.RESTORE).status_code == 201
        assert told(person.id)[-1] == "card-restored"
        entry = logged(card, "card.restore")
        assert entry.documents == ["id_document"]
        assert entry.policy_ids

    def test_leaves_the_other_card_lost(
        self, counter: Counter, bound_phone: Callable[..., Any]
    ) -> None:
        holder, _ = bound_phone()
        card, virtual = card_of(holder.id), card_of(holder.id, CardKind.VIRTUAL)
        counter.operate(card, CardEvent.REPORT_LOST, stop_virtual_card=True)
        assert counter.operate(virtual, CardEvent.RESTORE).status_code == 201
        assert (state_of(card), state_of(virtual)) == (CardState.LOST, CardState.ACTIVE)


class TestExtension:
    def expire(self, holder_id: UUID) -> None:
        """Let a holder's last day be over."""
        with transaction() as session:
            session.get_one(Holder, holder_id).valid_until = business_date(clock.now()) - timedelta(
                days=1
            )
        with transaction() as session:
            expire_cards(session, now=clock.now())

    def test_gives_every_card_another_last_day(
        self, counter: Counter, bound_phone: Callable[..., Any]
    ) -> None:
        holder, _ = bound_phone()
        card, virtual = card_of(holder.id), card_of(holder.id, CardKind.VIRTUAL)
        self.expire(holder.id)
        assert state_of(virtual) is CardState.EXPIRED
        assert counter.operate(card, CardEvent.EXTEND).status_code == 201
        assert (state_of(card), state_of(virtual)) == (CardState.ACTIVE, CardState.ACTIVE)
        with transaction() as session:
            extended = session.get_one(Holder, holder.id)
        assert (extended.valid_until.isoformat(), extended.proven) == (in_a_year(), ["valid_until"])
        facts = logged(card, "card.extend").facts
        assert (facts["valid_until"], facts["approval_number"]) == (in_a_year(), "教务〔2026〕7号")
        assert told(holder.id)[-1] == "card-extended"

    @pytest.mark.parametrize(
        ("event", "stands"),
        [(CardEvent.REPORT_LOST, CardState.LOST), (CardEvent.FREEZE, CardState.FROZEN)],
    )
    def test_undoes_no_loss_and_no_freeze(
        self, counter: Counter, parts: Parts, event: CardEvent, stands: CardState
    ) -> None:
        person = make_person(parts)
        card = card_of(person.id)
        counter.operate(card, event)
        self.expire(person.id)
        answer = counter.operate(card, CardEvent.EXTEND)
        assert answer.get_json()["after"] == stands.value
        assert state_of(card) is stands

    def test_reaches_beyond_today(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts)
        self.expire(person.id)
        yesterday = (business_date(clock.now()) - timedelta(days=1)).isoformat()
        card = card_of(person.id)
        answer = counter.operate(card, CardEvent.EXTEND, valid_until=yesterday)
        assert refusal(answer) == (409, "extension-too-short")
        answer = counter.operate(card, CardEvent.EXTEND, valid_until="9999-12-31")
        assert refusal(answer) == (422, "validation-failed")
        assert state_of(card) is CardState.EXPIRED


class TestVoid:
    def test_of_a_virtual_card_ends_the_binding(
        self, counter: Counter, bound_phone: Callable[..., Any]
    ) -> None:
        holder, phone = bound_phone()
        assert counter.operate(
            card_of(holder.id, CardKind.VIRTUAL), CardEvent.VOID
        ).status_code == 201  # fmt: skip
        assert phone.call("GET", "/me").status_code == 401
        with transaction() as session:
            states = session.scalars(select(Binding.state).where(Binding.holder_id == holder.id))
            assert set(states) == {BindingState.ENDED}


class TestLookup:
    def test_by_holder_or_card_number(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts)
        card = card_of(person.id)
        for said in ({"holder_number": person.number}, {"card_number": card.number}):
            answer = counter.client.post(
                "/api/v1/staff/cards/lookups", json=said, headers=counter.headers
            )
            assert answer.status_code == 200
            assert [one["id"] for one in answer.get_json()["cards"]] == [str(card.id)]
            for secret in (person.name, person.document, card.number):
                assert str(secret) not in answer.text
        with transaction() as session:
            viewed = session.scalars(
                select(LogEntry).where(
                    LogEntry.holder_id == person.id, LogEntry.action == "holder.view"
                )
            ).all()
        assert len(viewed) == 2

    @pytest.mark.parametrize(
        ("said", "status"),
        [({}, 422), ({"holder_number": "1", "card_number": "1"}, 422), ({"card_number": "0"}, 404)],
    )
    def test_needs_one_of_them(self, counter: Counter, said: dict[str, str], status: int) -> None:
        answer = counter.client.post(
            "/api/v1/staff/cards/lookups", json=said, headers=counter.headers
        )
        assert answer.status_code == status
