"""A new card for a lost or damaged one: the fee to the fen, the old card dead, found cards."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    balances,
    give,
    make_document,
    make_person,
    make_terminal,
    other_policies,
    sign_in,
    top_up,
)
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from backend import clock
from backend.arrears.models import Arrears
from backend.arrears.service import open_arrears
from backend.cards.models import (
    Card,
    CardKind,
    CardState,
    FoundCard,
    Replacement,
    ReplacementRequest,
)
from backend.cards.rules import CardEvent
from backend.cards.service import find_card
from backend.clock import business_date
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger.models import AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement, merchant_account, post, school_account
from backend.merchants.service import open_merchant
from backend.money import Fen
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.terminals.models import TerminalKind

pytestmark = pytest.mark.usefixtures("app")
FEE_FEN = 2_000
Phones = Callable[..., Any]


class Counter:
    """Somebody of the card centre."""

    def __init__(self, client: FlaskClient, parts: Parts, role: Role = Role.CARD_CENTRE) -> None:
        self.client, self.headers = client, sign_in(parts, role)

    def put(self, path: str, body: dict[str, Any]) -> TestResponse:
        """Send something."""
        return self.client.put(f"/api/v1/staff/{path}", json=body, headers=self.headers)

    def get(self, path: str) -> TestResponse:
        """Ask for something."""
        return self.client.get(f"/api/v1/staff/{path}", headers=self.headers)

    def operate(self, card: Card, event: CardEvent, **said: Any) -> TestResponse:
        """Let an event happen to a card."""
        body = {"event": event.value, "documents": ["id_document"], **said}
        return self.put(f"cards/{card.id}/operations/{new_id()}", body)

    def replace(self, card: Card, replacement_id: UUID | None = None, **said: Any) -> TestResponse:
        """Replace a card that is lost, unless told otherwise."""
        body = {"cause": "lost", "documents": ["id_document"], "quoted_fee_fen": FEE_FEN, **said}
        return self.put(f"cards/{card.id}/replacements/{replacement_id or new_id()}", body)


@pytest.fixture
def counter(client: FlaskClient, parts: Parts) -> Counter:
    """The counter."""
    return Counter(client, parts)


@pytest.fixture
def dearer() -> Iterator[int]:
    """Raise the fee by five yuan, and take it back afterwards."""
    with other_policies(card__replacement_fee_fen=FEE_FEN + 500):
        yield FEE_FEN + 500


def card_of(holder_id: UUID) -> Card:
    """Return a holder's physical card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=CardKind.PHYSICAL)
    assert card is not None
    return card


def stand(card: Card, state: CardState) -> Card:
    """Put a card into a state."""
    with transaction() as session:
        session.execute(update(Card).where(Card.id == card.id).values(state=state))
        return session.get_one(Card, card.id, populate_existing=True)


def lost_card(parts: Parts, balance_fen: int = 0, **person: Any) -> Card:
    """Return the lost card of somebody who has so much money."""
    holder_id = make_person(parts, **person).id
    with transaction() as session:
        give(session, holder_id, main_fen=balance_fen, subsidy_fen=5_000, now=clock.now())
    return stand(card_of(holder_id), CardState.LOST)


def states_of(holder_id: UUID) -> list[str]:
    """Return how a holder's physical cards stand, oldest first."""
    with transaction() as session:
        return [
            state.value
            for state in session.scalars(
                select(Card.state)
                .where(Card.holder_id == holder_id, Card.kind == CardKind.PHYSICAL)
                .order_by(Card.created_at, Card.id)
            )
        ]


def told(holder_id: UUID, kind: str) -> list[dict[str, Any]]:
    """Return the facts of what a holder was told of one kind."""
    with transaction() as session:
        return list(
            session.scalars(
                select(HolderNotice.facts).where(
                    HolderNotice.holder_id == holder_id, HolderNotice.kind == kind
                )
            )
        )


def entries(holder_id: UUID, action: str) -> list[LogEntry]:
    """Return what the operation log says of a holder, oldest first."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry)
                .where(LogEntry.holder_id == holder_id, LogEntry.action == action)
                .order_by(LogEntry.at, LogEntry.id)
            )
        )


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


class TestFee:
    def test_one_fen_short_changes_nothing_and_names_the_fen(
        self, counter: Counter, parts: Parts
    ) -> None:
        card = lost_card(parts, FEE_FEN - 1)
        answer = counter.replace(card)
        body = answer.get_json()
        assert refusal(answer) == (409, "replacement-fee-short")
        assert (body["fee_fen"], body["balance_fen"], body["short_fen"]) == (
            FEE_FEN,
            FEE_FEN - 1,
            1,
        )
        assert states_of(card.holder_id) == ["lost"]
        assert balances(card.holder_id) == (FEE_FEN - 1, 5_000)
        with transaction() as session:
            made = select(func.count()).select_from(Replacement)
            assert session.scalar(made.where(Replacement.holder_id == card.holder_id)) == 0
        (entry,) = entries(card.holder_id, "card.replace")
        assert (entry.outcome, entry.card_id) == ("replacement-fee-short", card.id)
        assert entry.policy_ids
        assert entries(card.holder_id, "card.void") == []

    def test_is_taken_with_the_new_card(self, counter: Counter, parts: Parts) -> None:
        card, id_ = lost_card(parts, FEE_FEN), new_id()
        answer = counter.replace(card, id_)
        body = answer.get_json()
        assert answer.status_code == 201
        assert (body["fee_fen"], body["balance_fen"]) == (FEE_FEN, 0)
        assert states_of(card.holder_id) == ["void", "active"]
        assert balances(card.holder_id) == (0, 5_000)
        with transaction() as session:
            transfer = session.scalars(select(Transfer).where(Transfer.subject_id == id_)).one()
            fees = school_account(session, AccountKind.CARD_FEES)
            new = session.get_one(Card, UUID(body["new_card_id"]))
        assert (transfer.kind, transfer.amount_fen, transfer.credit_account_id) == (
            TransferKind.CARD_FEE, FEE_FEN, fees,
        )  # fmt: skip
        assert new.number != card.number
        (entry,) = entries(card.holder_id, "card.replace")
        assert (entry.before, entry.after, entry.documents) == ("lost", "active", ["id_document"])
        assert entry.policy_ids == body["policy_ids"]
        assert told(card.holder_id, "card-replaced") == [{"fee_fen": FEE_FEN, "balance_fen": 0}]

    def test_is_never_taken_twice(
        self, counter: Counter, client: FlaskClient, parts: Parts
    ) -> None:
        card, id_ = lost_card(parts, 3 * FEE_FEN), new_id()
        first, again = counter.replace(card, id_), counter.replace(card, id_)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert refusal(counter.replace(card, id_, cause="damaged")) == (409, "id-reused")
        assert refusal(counter.replace(card)) == (409, "replaced")
        assert refusal(Counter(client, parts).replace(card, id_)) == (404, "not-found")
        assert balances(card.holder_id) == (2 * FEE_FEN, 5_000)
        path = f"cards/{card.id}/replacements/{id_}"
        assert counter.get(path).get_json() == first.get_json()

    def test_comes_after_arrears(self, counter: Counter, parts: Parts) -> None:
        card, now = lost_card(parts, FEE_FEN + 300), clock.now()
        with transaction() as session:
            merchant = open_merchant(session, name=f"商户 {new_id()}", is_canteen=False)
            session.flush()
            account = school_account(session, AccountKind.ARREARS)
            to = merchant_account(session, merchant_id=merchant.id)
            post(session, [Movement(TransferKind.CHARGE, new_id(), account, to, Fen(301))], now=now)
            open_arrears(
                session, holder_id=card.holder_id, charge_id=new_id(), amount_fen=Fen(301),
                facts={}, now=now,
            )  # fmt: skip
        answer = counter.replace(card)
        assert refusal(answer) == (409, "replacement-fee-short")
        assert (answer.get_json()["arrears_fen"], answer.get_json()["short_fen"]) == (301, 1)
        assert balances(card.holder_id)[0] == FEE_FEN + 300
        with transaction() as session:
            give(session, card.holder_id, main_fen=1, subsidy_fen=0, now=now)
        assert counter.replace(card).status_code == 201
        assert balances(card.holder_id)[0] == 0
        with transaction() as session:
            owed = select(Arrears.settled_at).where(Arrears.holder_id == card.holder_id)
            assert session.scalars(owed).one() is not None

    def test_is_never_more_than_was_told(self, counter: Counter, parts: Parts, dearer: int) -> None:
        card = lost_card(parts, 10_000)
        answer = counter.replace(card)
        assert refusal(answer) == (409, "quote-outdated")
        assert (answer.get_json()["quoted_fen"], answer.get_json()["fee_fen"]) == (FEE_FEN, dearer)
        quote = counter.get(f"cards/{card.id}/replacement-quote").get_json()
        assert (quote["fee_fen"], quote["balance_fen"], quote["short_fen"]) == (dearer, 10_000, 0)
        answer = counter.replace(card, quoted_fee_fen=quote["fee_fen"])
        assert (answer.status_code, answer.get_json()["fee_fen"]) == (201, dearer)

    def test_that_fell_is_the_lower_one(self, counter: Counter, parts: Parts) -> None:
        card = lost_card(parts, 10_000)
        answer = counter.replace(card, quoted_fee_fen=FEE_FEN + 500)
        assert (answer.status_code, answer.get_json()["fee_fen"]) == (201, FEE_FEN)

    @pytest.mark.parametrize("category", [Category.NEW_STUDENT, Category.TEMPORARY_RETIRED])
    def test_is_for_new_students_and_temporary_holders_too(
        self, counter: Counter, parts: Parts, category: Category
    ) -> None:
        card = lost_card(parts, FEE_FEN, category=category)
        assert counter.replace(card).get_json()["fee_fen"] == FEE_FEN


class TestQuality:
    def test_is_free_with_reason_and_evidence(self, counter: Counter, parts: Parts) -> None:
        card = card_of(make_person(parts).id)
        shown = {"reason": "芯片无法读取", "evidence": "旧卡已收回，照片存 2026-11 号袋"}
        answer = counter.replace(card, cause="quality", quoted_fee_fen=0, **shown)
        assert (answer.status_code, answer.get_json()["fee_fen"]) == (201, 0)
        assert states_of(card.holder_id) == ["void", "active"]
        (entry,) = entries(card.holder_id, "card.replace")
        assert (entry.facts["reason"], entry.facts["evidence"]) == (*shown.values(),)
        assert entry.actor.startswith("operator:")

    @pytest.mark.parametrize("left_out", ["reason", "evidence"])
    def test_needs_both(self, counter: Counter, parts: Parts, left_out: str) -> None:
        card = card_of(make_person(parts).id)
        said = {"reason": "坏", "evidence": "照片", left_out: None}
        answer = counter.replace(card, cause="quality", **said)
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [left_out])
        assert states_of(card.holder_id) == ["active"]


class TestCard:
    @pytest.mark.parametrize(
        ("stands", "cause", "code"),
        [
            (CardState.ACTIVE, "lost", "report-lost-first"),
            (CardState.PENDING, "damaged", "transition-not-possible"),
            (CardState.FROZEN, "lost", "card-frozen"),
            (CardState.EXPIRED, "lost", "card-expired"),
            (CardState.CLOSING, "damaged", "account-closed"),
            (CardState.CLOSED, "damaged", "account-closed"),
            (CardState.VOID, "lost", "transition-not-possible"),
        ],
    )
    def test_that_stands_otherwise_is_not_replaced(
        self, counter: Counter, parts: Parts, stands: CardState, cause: str, code: str
    ) -> None:
        card = stand(lost_card(parts, 10_000), stands)
        assert refusal(counter.replace(card, cause=cause)) == (409, code)
        assert balances(card.holder_id)[0] == 10_000
        assert states_of(card.holder_id) == [stands.value]

    @pytest.mark.parametrize("stands", [CardState.ACTIVE, CardState.LOST, CardState.VOID])
    def test_that_is_damaged_is(self, counter: Counter, parts: Parts, stands: CardState) -> None:
        card = stand(lost_card(parts, FEE_FEN), stands)
        assert counter.replace(card, cause="damaged").status_code == 201
        assert states_of(card.holder_id) == ["void", "active"]
        assert refusal(counter.replace(card, cause="damaged")) == (409, "replaced")

    def test_whose_last_day_is_over_is_extended_not_replaced(
        self, counter: Counter, parts: Parts
    ) -> None:
        card = lost_card(parts, FEE_FEN)
        with transaction() as session:
            holder = session.get_one(Holder, card.holder_id)
            holder.valid_until = business_date(clock.now()) - timedelta(days=1)
        assert refusal(counter.replace(card)) == (409, "card-expired")

    def test_is_handed_out_against_the_document(self, counter: Counter, parts: Parts) -> None:
        card = lost_card(parts, FEE_FEN)
        answer = counter.replace(card, documents=["old_card"])
        assert (refusal(answer), answer.get_json()["needs"]) == (
            (409, "documents-missing"), "id_document",
        )  # fmt: skip

    def test_gets_the_printed_number_that_nobody_has(self, counter: Counter, parts: Parts) -> None:
        card, other = lost_card(parts, FEE_FEN), card_of(make_person(parts).id)
        for taken in (card.number, other.number):
            assert refusal(counter.replace(card, new_number=taken)) == (409, "card-number-taken")
        printed = str(new_id().int)[-10:]
        assert counter.replace(card, new_number=printed).status_code == 201
        assert card_of(card.holder_id).number == printed

    def test_is_dead_for_ever(
        self, counter: Counter, parts: Parts, client: FlaskClient, bound_phone: Phones
    ) -> None:
        holder, phone = bound_phone(balance_fen=FEE_FEN)
        old = stand(card_of(holder.id), CardState.LOST)
        assert counter.replace(old).status_code == 201
        answer = counter.operate(old, CardEvent.RESTORE, card_number=old.number)
        assert refusal(answer) == (409, "replaced")
        kiosk = make_terminal(TerminalKind.KIOSK)
        for path, said in (
            ("restorations", {"card_number": old.number, "document_number": holder.document}),
            ("loss-reports", {"card_number": old.number}),
        ):
            answer = client.put(
                f"/api/v1/kiosk/{path}/{new_id()}", json=said, headers=kiosk.headers
            )
            assert refusal(answer) == (409, "replaced")
        answer = phone.call(
            "PUT", f"/me/restorations/{new_id()}", {"document_last_six": holder.document[-6:]}
        )
        assert refusal(answer) == (409, "nothing-to-restore")
        me = phone.call("GET", "/me").get_json()
        assert (me["physical_card"]["state"], me["virtual_card"]["state"]) == ("active", "active")
        assert phone.call("POST", "/me/codes", {"scope": "pay"}).status_code == 200

    def test_is_for_the_card_centre(self, client: FlaskClient, parts: Parts) -> None:
        card = lost_card(parts, FEE_FEN)
        for role in set(Role) - {Role.CARD_CENTRE}:
            answer = Counter(client, parts, role).replace(card)
            assert refusal(answer) == (403, "role-not-allowed")


class TestRequest:
    def ask(self, phone: Any, request_id: UUID | None = None, cause: str = "lost") -> TestResponse:
        """Ask for a new card."""
        answer: TestResponse = phone.call(
            "PUT", f"/me/replacements/{request_id or new_id()}", {"cause": cause}
        )
        return answer

    def lose(self, bound_phone: Phones, balance_fen: int) -> tuple[Any, Any]:
        """Let somebody lose a card."""
        holder, phone = bound_phone(balance_fen=balance_fen)
        phone.call("PUT", f"/me/loss-reports/{new_id()}", {"credential": "physical_card"})
        return holder, phone

    def test_says_what_is_missing_until_it_is_there(self, bound_phone: Phones) -> None:
        holder, phone = self.lose(bound_phone, FEE_FEN - 100)
        answer = self.ask(phone)
        assert refusal(answer) == (409, "replacement-fee-short")
        assert answer.get_json()["short_fen"] == 100
        assert phone.call("GET", "/me/replacements").get_json()["quote"]["short_fen"] == 100
        top_up(holder.id, 100)
        id_ = new_id()
        first, again = self.ask(phone, id_), self.ask(phone, id_)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert first.get_json()["fee_fen"] == FEE_FEN
        assert balances(holder.id)[0] == FEE_FEN, "nothing is taken before the card is there"
        assert phone.call("GET", "/me/replacements").get_json()["request"]["id"] == str(id_)
        assert told(holder.id, "replacement-requested") == [{"fee_fen": FEE_FEN}]

    def test_is_one_at_a_time_and_its_callers_own(self, bound_phone: Phones) -> None:
        (_, phone), (_, other), id_ = (
            self.lose(bound_phone, FEE_FEN), self.lose(bound_phone, FEE_FEN), new_id(),
        )  # fmt: skip
        assert self.ask(phone, id_).status_code == 201
        assert refusal(self.ask(phone)) == (409, "replacement-asked")
        assert refusal(self.ask(phone, id_, "damaged")) == (409, "id-reused")
        assert refusal(self.ask(other, id_)) == (404, "not-found")
        for method in ("GET", "DELETE"):
            assert refusal(other.call(method, f"/me/replacements/{id_}")) == (404, "not-found")

    def test_can_be_cancelled(self, bound_phone: Phones) -> None:
        holder, phone = self.lose(bound_phone, FEE_FEN)
        id_ = UUID(self.ask(phone).get_json()["id"])
        for _ in range(2):
            answer = phone.call("DELETE", f"/me/replacements/{id_}")
            assert (answer.status_code, answer.get_json()["state"]) == (200, "cancelled")
        assert len(entries(holder.id, "replacement.cancel")) == 1
        assert self.ask(phone).status_code == 201

    def test_ends_with_the_new_card(self, counter: Counter, bound_phone: Phones) -> None:
        holder, phone = self.lose(bound_phone, FEE_FEN)
        id_ = self.ask(phone).get_json()["id"]
        made = counter.replace(card_of(holder.id)).get_json()
        assert made["request_id"] == id_
        assert phone.call("GET", f"/me/replacements/{id_}").get_json()["state"] == "replaced"
        answer = phone.call("DELETE", f"/me/replacements/{id_}")
        assert refusal(answer) == (409, "replacement-ended")
        told_of = phone.call("GET", "/me/replacements").get_json()
        assert (told_of["request"], told_of["reason"]) == (None, "report-lost-first")

    def test_ends_where_the_card_is_back(self, counter: Counter, bound_phone: Phones) -> None:
        for at_counter in (True, False):
            holder, phone = self.lose(bound_phone, FEE_FEN)
            card = card_of(holder.id)
            self.ask(phone)
            if at_counter:
                counter.operate(card, CardEvent.RESTORE, card_number=card.number)
            else:
                last_six = {"document_last_six": holder.document[-6:]}
                phone.call("PUT", f"/me/restorations/{new_id()}", last_six)
            with transaction() as session:
                states = select(ReplacementRequest.state).where(
                    ReplacementRequest.holder_id == holder.id
                )
                assert session.scalars(states).all() == ["cancelled"]

    def test_needs_a_lost_or_damaged_card(self, bound_phone: Phones) -> None:
        _, phone = bound_phone(balance_fen=FEE_FEN)
        assert refusal(self.ask(phone)) == (409, "report-lost-first")
        assert self.ask(phone, cause="damaged").status_code == 201


class TestFoundCard:
    def find(
        self,
        counter: Counter,
        number: str | None,
        found_id: UUID | None = None,
        place: str = "食堂",
    ) -> TestResponse:
        """Record a found card."""
        body = {"number": number, "place": place}
        return counter.put(f"found-cards/{found_id or new_id()}", body)

    def hand_back(self, counter: Counter, found_id: Any, id_: UUID | None = None) -> TestResponse:
        """Hand it back."""
        path = f"found-cards/{found_id}/hand-backs/{id_ or new_id()}"
        return counter.put(path, {"documents": ["id_document"]})

    def test_in_use_is_stopped_and_its_holder_told(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts)
        card = card_of(person.id)
        answer = self.find(counter, card.number)
        assert answer.status_code == 201
        assert set(answer.get_json()) == {"id", "place", "found_at"}, "nothing of whose it is"
        assert states_of(person.id) == ["lost"]
        assert told(person.id, "card-found") == [{"place": "食堂", "stopped": True}]
        (entry,) = entries(person.id, "card.report_lost")
        assert entry.facts["reason"] == "found"

    def test_goes_back_against_the_document_and_works(self, counter: Counter, parts: Parts) -> None:
        person = make_person(parts)
        card = card_of(person.id)
        found_id = self.find(counter, card.number).get_json()["id"]
        bare = counter.put(f"found-cards/{found_id}/hand-backs/{new_id()}", {"documents": []})
        assert refusal(bare) == (409, "documents-missing")
        assert states_of(person.id) == ["lost"]
        id_ = new_id()
        first, again = (self.hand_back(counter, found_id, id_) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert states_of(person.id) == ["active"]
        assert refusal(self.hand_back(counter, found_id)) == (409, "handed-back")
        other = self.find(counter, card.number).get_json()["id"]
        assert refusal(self.hand_back(counter, other, id_)) == (409, "id-reused")

    @pytest.mark.parametrize(
        ("stands", "kinds"),
        [
            (CardState.LOST, 1), (CardState.FROZEN, 1), (CardState.EXPIRED, 1),
            (CardState.VOID, 0), (CardState.CLOSED, 0),
        ],
    )  # fmt: skip
    def test_that_is_stopped_already_stays_as_it_is(
        self, counter: Counter, parts: Parts, stands: CardState, kinds: int
    ) -> None:
        card = stand(lost_card(parts), stands)
        assert self.find(counter, card.number).status_code == 201
        assert states_of(card.holder_id) == [stands.value]
        facts = told(card.holder_id, "card-found")
        assert facts == [{"place": "食堂", "stopped": False}] * kinds

    def test_of_nobody_is_answered_alike(self, counter: Counter, parts: Parts) -> None:
        known = self.find(counter, card_of(make_person(parts).id).number)
        unknown = self.find(counter, f"x{new_id().hex[:20]}")
        assert (known.status_code, set(known.get_json())) == (
            unknown.status_code, set(unknown.get_json()),
        )  # fmt: skip
        back = self.hand_back(counter, unknown.get_json()["id"])
        assert refusal(back) == (409, "found-card-unknown")

    def test_has_one_record_for_an_id(
        self, counter: Counter, client: FlaskClient, parts: Parts
    ) -> None:
        number, id_ = card_of(make_person(parts).id).number, new_id()
        first, again = (self.find(counter, number, id_) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert refusal(self.find(counter, number, id_, "图书馆")) == (409, "id-reused")
        other = Counter(client, parts, Role.LOGISTICS)
        assert refusal(self.find(other, number, id_)) == (404, "not-found")

    def test_is_listed_for_the_card_centre(
        self, counter: Counter, client: FlaskClient, parts: Parts
    ) -> None:
        card = card_of(make_person(parts).id)
        id_ = self.find(counter, card.number).get_json()["id"]
        items = counter.get("found-cards?limit=100").get_json()["items"]
        (item,) = [item for item in items if item["id"] == id_]
        assert (item["holder_id"], item["card_state"]) == (str(card.holder_id), "lost")
        assert card.number not in str(items)
        logistics = Counter(client, parts, Role.LOGISTICS)
        assert refusal(logistics.get("found-cards")) == (403, "role-not-allowed")
        assert self.find(logistics, card.number).status_code == 201

    def test_can_be_given_to_a_kiosk(self, client: FlaskClient, parts: Parts) -> None:
        kiosk, person, id_ = make_terminal(TerminalKind.KIOSK), make_person(parts), new_id()
        said = {"number": card_of(person.id).number}
        first, again = (
            client.put(f"/api/v1/kiosk/found-cards/{id_}", json=said, headers=kiosk.headers)
            for _ in range(2)
        )
        assert (first.status_code, again.status_code) == (201, 200)
        assert states_of(person.id) == ["lost"]
        with transaction() as session:
            assert session.get_one(FoundCard, id_).place == kiosk.caller.place
        gate = make_terminal(TerminalKind.GATE)
        answer = client.put(
            f"/api/v1/kiosk/found-cards/{new_id()}", json=said, headers=gate.headers
        )
        assert refusal(answer) == (403, "terminal-not-allowed")


class TestKiosk:
    def test_restores_under_an_id_one_holders_cards(
        self, client: FlaskClient, parts: Parts
    ) -> None:
        kiosk, other, id_ = (
            make_terminal(TerminalKind.KIOSK), make_terminal(TerminalKind.KIOSK), new_id(),
        )  # fmt: skip
        people = [make_person(parts) for _ in range(2)]

        def restore(person: Any, device: Any) -> TestResponse:
            card = card_of(person.id)
            return client.put(
                f"/api/v1/kiosk/restorations/{id_}",
                json={"card_number": card.number, "document_number": person.document},
                headers=device.headers,
            )

        for person in people:
            stand(card_of(person.id), CardState.LOST)
        assert restore(people[0], kiosk).status_code == 201
        assert refusal(restore(people[1], kiosk)) == (409, "id-reused")
        assert refusal(restore(people[1], other)) == (404, "not-found")
        assert states_of(people[1].id) == ["lost"]

    def test_obeys_the_channels_in_force(
        self, client: FlaskClient, counter: Counter, parts: Parts
    ) -> None:
        person, kiosk = make_person(parts), make_terminal(TerminalKind.KIOSK)
        card = stand(card_of(person.id), CardState.LOST)
        with other_policies(card__restore_channels=["mini_program"]):
            said = {"card_number": card.number, "document_number": person.document}
            answer = client.put(
                f"/api/v1/kiosk/restorations/{new_id()}", json=said, headers=kiosk.headers
            )
            assert refusal(answer) == (403, "channel-not-allowed")
            answer = counter.operate(card, CardEvent.RESTORE, card_number=card.number)
            assert refusal(answer) == (403, "channel-not-allowed")
        assert states_of(person.id) == ["lost"]
        wrong = client.put(
            f"/api/v1/kiosk/restorations/{new_id()}",
            json={"card_number": card.number, "document_number": make_document()},
            headers=kiosk.headers,
        )
        assert refusal(wrong) == (409, "identity-not-matched")
