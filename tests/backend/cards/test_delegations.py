"""What a phone may do without network: enrolled with its own key, used, renewed, taken back."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from factories import Bound, Device, make_gate, make_holder, make_till, virtual_card
from flask.testing import FlaskClient
from phones import DevicePhone, Phone
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from backend import clock
from backend.cards.models import CardAlias, CardKind, Delegation, DelegationChallenge
from backend.cards.rules import CardEvent
from backend.clock import business_date, start_of_day
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log.models import LogEntry
from qr import Scope, read_delegation

pytestmark = pytest.mark.usefixtures("app")
BoundPhone = Callable[..., tuple[Bound, Phone]]


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


def charge(client: FlaskClient, till: Device, text: str, amount_fen: int = 100) -> TestResponse:
    """Charge a code at a till."""
    return client.put(
        f"/api/v1/charges/{new_id()}",
        json={"code": text, "amount_fen": amount_fen},
        headers=till.headers,
    )


def pass_gate(client: FlaskClient, gate: Device, text: str) -> dict[str, Any]:
    """Show a code at a gate."""
    answer = client.put(
        f"/api/v1/passages/{new_id()}", json={"code": text, "direction": "in"}, headers=gate.headers
    )
    said: dict[str, Any] = answer.get_json()
    return said


@pytest.fixture
def device(client: FlaskClient, parts: Parts) -> Callable[..., DevicePhone]:
    """Make a bound phone with a key of its own, not enrolled yet."""

    def make(**holder: Any) -> DevicePhone:
        known = make_holder(parts, **holder)
        return DevicePhone(Phone(client, token=known.token), known)

    return make


class TestGrant:
    def test_gives_what_the_school_signed_for_this_key(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device()
        answer = phone.enrol()
        assert answer.status_code == 201, answer.get_json()
        said = answer.get_json()
        delegation, _ = read_delegation(phone.delegation)
        assert delegation.public_key == phone.public_key
        assert delegation.serial == said["serial"] >= 1
        assert delegation.scope == Scope.PAY | Scope.GATE | Scope.DOOR
        assert (delegation.cap_yuan, delegation.cap_count) == (15, 3)
        assert (said["cap_fen"], said["cap_count"]) == (1500, 3)
        hours = (delegation.expires_at - clock.now()) / timedelta(hours=1)
        assert 71.9 < hours <= 72

    def test_ends_with_the_card(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(valid_days=1)
        assert phone.enrol().status_code == 201
        delegation, _ = read_delegation(phone.delegation)
        assert delegation.expires_at == start_of_day(business_date(clock.now()) + timedelta(days=2))

    def test_says_the_same_to_a_retry_for_ever(
        self, device: Callable[..., DevicePhone], let_happen: Callable[..., None]
    ) -> None:
        phone = device()
        first = phone.enrol()
        again = phone.send_again()
        assert (again.status_code, again.get_json()) == (200, first.get_json())
        let_happen(phone.holder.id, CardKind.VIRTUAL, CardEvent.FREEZE)
        assert phone.send_again().get_json() == first.get_json()

    def test_refuses_the_id_with_other_content(self, device: Callable[..., DevicePhone]) -> None:
        phone, other = device(), device()
        phone.enrol()
        assert refusal(phone.send_again(proof=bytes(64))) == (409, "id-reused")
        answer = other.phone.call("PUT", phone.path, phone.sent)
        assert refusal(answer) == (404, "not-found")

    def test_refuses_a_key_that_is_not_the_phones(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        assert refusal(phone.enrol(public_key=stranger)) == (409, "proof-wrong")
        assert phone.enrol().status_code == 201, "the challenge was not used up"

    def test_refuses_a_proof_for_another_account(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        assert refusal(phone.enrol(account=bytes(32))) == (409, "proof-wrong")

    def test_refuses_a_proof_without_its_purpose(self, device: Callable[..., DevicePhone]) -> None:
        assert refusal(device().enrol(purpose=b"")) == (409, "proof-wrong")

    @pytest.mark.parametrize("sign", [0, 0x80])
    def test_refuses_keys_that_anybody_can_sign_for(
        self, device: Callable[..., DevicePhone], sign: int
    ) -> None:
        phone = device()
        weak = bytearray(32)
        weak[0], weak[31] = 1, sign
        trivial = b"\x01" + bytes(63)  # R the identity, S zero: good for every message
        assert refusal(phone.enrol(public_key=bytes(weak), proof=trivial)) == (409, "weak-key")

    def test_needs_a_challenge_of_this_login_that_is_fresh(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device()
        phone.ask_challenge()
        with transaction() as session:
            session.execute(
                update(DelegationChallenge).values(expires_at=clock.now() - timedelta(seconds=1))
            )
        assert refusal(phone.put()) == (409, "challenge-expired")

    def test_takes_a_challenge_once(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        phone.enrol()
        phone.path = f"/me/delegations/{new_id()}"
        assert refusal(phone.put()) == (409, "challenge-expired")

    def test_ends_the_right_of_another_phone_at_once(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        old = device(balance_fen=1000)
        old.enrol()
        new = DevicePhone(old.phone, old.holder)
        assert new.enrol().status_code == 201
        client, till = old.phone.client, make_till()
        assert refusal(charge(client, till, old.code())) == (409, "code-revoked")
        assert charge(client, till, new.code()).status_code == 201
        told = new.phone.call("GET", "/me").get_json()["delegation_id"]
        assert new.path.endswith(told), "so that the old one learns it"

    def test_renews_the_same_key_and_lets_the_older_run_out(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        old = phone.delegation
        assert phone.enrol().status_code == 201
        assert phone.delegation != old
        client, till = phone.phone.client, make_till()
        assert charge(client, till, phone.code(delegation=old)).status_code == 201
        assert charge(client, till, phone.code(later=1)).status_code == 201

    def test_counts_new_keys_but_not_renewals(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        for _ in range(5):
            assert phone.enrol().status_code == 201
        for _ in range(2):
            assert DevicePhone(phone.phone, phone.holder).enrol().status_code == 201
        answer = DevicePhone(phone.phone, phone.holder).enrol()
        assert refusal(answer) == (429, "too-many-requests")
        assert 86_000 < int(answer.headers["Retry-After"]) <= 86_400

    @pytest.mark.parametrize(
        ("event", "code"),
        [(CardEvent.REPORT_LOST, "card-lost"), (CardEvent.FREEZE, "card-frozen")],
    )
    def test_is_for_usable_cards_only(
        self,
        device: Callable[..., DevicePhone],
        let_happen: Callable[..., None],
        event: CardEvent,
        code: str,
    ) -> None:
        phone = device()
        let_happen(phone.holder.id, CardKind.VIRTUAL, event)
        assert refusal(phone.phone.call("POST", "/me/delegations/challenges")) == (409, code)

    @pytest.mark.parametrize("text", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "+" * 43, "é" * 43])
    def test_names_what_does_not_fit(self, device: Callable[..., DevicePhone], text: str) -> None:
        phone = device()
        phone.ask_challenge()
        answer = phone.phone.call("PUT", phone.path, {"public_key": text, "proof": "A" * 86})
        assert refusal(answer) == (422, "validation-failed")
        assert "public_key" in str(answer.get_json()["errors"])

    def test_is_in_the_operation_log(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        phone.enrol()
        with transaction() as session:
            actions = session.scalars(
                select(LogEntry.action).where(LogEntry.holder_id == phone.holder.id)
            ).all()
        assert "card.delegate" in actions


class TestDeviceCode:
    def test_pays_once(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        client, text = phone.phone.client, phone.code()
        answer = charge(client, make_till(), text)
        assert answer.status_code == 201, answer.get_json()
        assert answer.get_json()["balance_fen"] == 900
        assert refusal(charge(client, make_till(), text)) == (409, "code-spent")

    def test_opens_a_gate_once(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        phone.enrol()
        client, text = phone.phone.client, phone.code(Scope.GATE)
        assert pass_gate(client, make_gate(), text)["decision"] == "allow"
        assert pass_gate(client, make_gate(), text)["reason"] == "code-spent"

    def test_is_for_its_own_use_only(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        client = phone.phone.client
        assert refusal(charge(client, make_till(), phone.code(Scope.GATE))) == (
            409,
            "code-wrong-scope",
        )
        assert pass_gate(client, make_gate(), phone.code())["reason"] == "code-wrong-scope"

    def test_two_of_one_second_pay_in_their_order(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        client, till, now = phone.phone.client, make_till(), clock.now()
        first, second, third = (phone.code(sequence=n, now=now) for n in range(3))
        assert charge(client, till, first).status_code == 201
        assert charge(client, till, third).status_code == 201
        assert refusal(charge(client, till, second)) == (409, "code-spent")

    def test_kills_the_older_codes_of_the_server_too(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        filmed = phone.phone.call("POST", "/me/codes", {"scope": "pay"}).get_json()["codes"][0]
        client, till = phone.phone.client, make_till()
        assert charge(client, till, phone.code(later=2)).status_code == 201
        assert refusal(charge(client, till, filmed["text"])) == (409, "code-spent")

    @pytest.mark.parametrize("event", [CardEvent.REPORT_LOST, CardEvent.FREEZE, CardEvent.EXPIRE])
    def test_dies_with_what_stops_the_card(
        self,
        device: Callable[..., DevicePhone],
        let_happen: Callable[..., None],
        event: CardEvent,
    ) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        let_happen(phone.holder.id, CardKind.VIRTUAL, event)
        client = phone.phone.client
        assert refusal(charge(client, make_till(), phone.code())) == (409, "code-revoked")
        assert pass_gate(client, make_gate(), phone.code(Scope.GATE))["reason"] == "code-revoked"

    def test_does_not_come_back_with_a_restoration(
        self, device: Callable[..., DevicePhone], let_happen: Callable[..., None]
    ) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        let_happen(phone.holder.id, CardKind.VIRTUAL, CardEvent.REPORT_LOST, CardEvent.RESTORE)
        assert refusal(charge(phone.phone.client, make_till(), phone.code())) == (
            409,
            "code-revoked",
        )

    def test_dies_with_the_binding(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        assert phone.phone.call("DELETE", "/me/binding").status_code == 204
        assert refusal(charge(phone.phone.client, make_till(), phone.code())) == (
            409,
            "code-revoked",
        )

    def test_of_before_a_burn_is_dead_and_of_after_it_good(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        shot = phone.code()
        assert phone.phone.call("DELETE", "/me/codes").status_code == 204
        client, till = phone.phone.client, make_till()
        assert refusal(charge(client, till, shot)) == (409, "code-stale")
        assert charge(client, till, phone.code(later=2)).status_code == 201

    def test_is_not_drawn_by_the_server(self, device: Callable[..., DevicePhone]) -> None:
        phone = device()
        phone.enrol()
        answer = phone.phone.call("GET", f"/me/codes/image?text={phone.code()}")
        assert refusal(answer) == (404, "not-found")


class TestGiveUp:
    def test_ends_every_delegation_of_the_key(self, device: Callable[..., DevicePhone]) -> None:
        phone = device(balance_fen=1000)
        phone.enrol()
        old = phone.delegation
        phone.enrol()
        for _ in range(2):
            assert phone.phone.call("DELETE", phone.path).status_code == 204
        assert phone.phone.call("GET", "/me").get_json()["delegation_id"] is None
        client, till = phone.phone.client, make_till()
        for text in (phone.code(), phone.code(delegation=old)):
            assert refusal(charge(client, till, text)) == (409, "code-revoked")

    def test_is_for_ones_own(self, device: Callable[..., DevicePhone]) -> None:
        phone, other = device(balance_fen=1000), device()
        phone.enrol()
        assert refusal(other.phone.call("DELETE", phone.path)) == (404, "not-found")
        assert charge(phone.phone.client, make_till(), phone.code()).status_code == 201


class TestAliases:
    def test_are_remembered_with_the_time_they_were_good(
        self, device: Callable[..., DevicePhone], let_happen: Callable[..., None]
    ) -> None:
        phone = device()
        first = virtual_card(phone.holder.id).alias
        let_happen(phone.holder.id, CardKind.VIRTUAL, CardEvent.REPORT_LOST, CardEvent.RESTORE)
        with transaction() as session:
            kept = session.scalars(
                select(CardAlias)
                .where(CardAlias.card_id == virtual_card(phone.holder.id).id)
                .order_by(CardAlias.given_at)
            ).all()
        assert kept[0].alias == first
        assert [one.retired_at is None for one in kept] == [False, False, True]
        assert kept[0].retired_at == kept[1].given_at

    def test_and_challenges_hold_no_secret_of_the_phone(
        self, device: Callable[..., DevicePhone]
    ) -> None:
        phone = device()
        phone.enrol()
        with transaction() as session:
            (stored,) = session.scalars(
                select(Delegation).where(Delegation.public_key == phone.public_key)
            )
        private = phone.key.private_bytes_raw()
        assert private not in stored.certificate
        assert base64.b64encode(private) not in stored.certificate
