"""Reporting a loss and restoring, over HTTP, from the phone and at the kiosk."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Bound,
    Device,
    make_document,
    make_gate,
    make_holder,
    make_terminal,
    make_till,
    virtual_card,
)
from flask import Flask
from phones import Phone
from sqlalchemy import select
from werkzeug.test import TestResponse

from backend import clock
from backend.cards import loss
from backend.cards.models import CardKind, CardState, LossReport, Restoration
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, find_card
from backend.clock import rfc3339
from backend.db import transaction
from backend.holders import login
from backend.http.auth import Unauthenticated
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.terminals import heartbeats
from backend.terminals.models import TerminalKind
from payments import PlatformAccount

pytestmark = pytest.mark.usefixtures("app")
BoundPhone = Callable[..., tuple[Bound, Phone]]
CardNumber = Callable[[UUID], str]


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


def report(phone: Phone, report_id: UUID | None = None, **said: Any) -> TestResponse:
    """Report the physical card lost, or what is said."""
    body = {"credential": "physical_card", **said}
    return phone.call("PUT", f"/me/loss-reports/{report_id or new_id()}", body)


def restore(phone: Phone, last_six: str, restoration_id: UUID | None = None) -> TestResponse:
    """Put lost cards back in use."""
    path = f"/me/restorations/{restoration_id or new_id()}"
    return phone.call("PUT", path, {"document_last_six": last_six})


def pay_code(phone: Phone) -> str:
    """Return a code to pay with."""
    answer = phone.call("POST", "/me/codes", {"scope": "pay"})
    text: str = answer.get_json()["codes"][0]["text"]
    return text


def charge(phone: Phone, text: str, till: Device | None = None) -> TestResponse:
    """Charge a code."""
    return phone.client.put(
        f"/api/v1/charges/{new_id()}",
        json={"code": text, "amount_fen": 100},
        headers=(till or make_till()).headers,
    )


def states(phone: Phone) -> tuple[str, str]:
    """Return how the two cards stand."""
    me = phone.call("GET", "/me").get_json()
    return me["physical_card"]["state"], me["virtual_card"]["state"]


def notices(holder_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    """Return what a holder was told."""
    with transaction() as session:
        return [
            (notice.kind, notice.facts)
            for notice in session.scalars(
                select(HolderNotice)
                .where(HolderNotice.holder_id == holder_id)
                .order_by(HolderNotice.id)
            )
        ]


class TestReport:
    def test_of_the_plastic_card_leaves_the_phone_alone(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone(balance_fen=500)
        code = pay_code(phone)
        answer = report(phone)
        body = answer.get_json()
        assert answer.status_code == 201
        assert (body["credential"], body["physical_card_state"], body["virtual_card_state"]) == (
            "physical_card", "lost", "active",
        )  # fmt: skip
        assert states(phone) == ("lost", "active")
        assert charge(phone, code).status_code == 201
        told = ("card-lost", {"credential": "physical_card", "virtual_card_stopped": False})
        assert told in notices(holder.id)

    def test_of_both_stops_both(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone(balance_fen=500)
        code = pay_code(phone)
        body = report(phone, stop_virtual_card=True).get_json()
        assert (body["physical_card_state"], body["virtual_card_state"]) == ("lost", "lost")
        assert refusal(charge(phone, code)) == (409, "code-stale")
        assert refusal(phone.call("POST", "/me/codes", {"scope": "pay"})) == (409, "card-lost")
        assert phone.call("GET", "/me").status_code == 200
        told = ("card-lost", {"credential": "physical_card", "virtual_card_stopped": True})
        assert told in notices(holder.id)

    def test_of_the_phone_stops_it_and_leaves_the_plastic_alone(
        self, bound_phone: BoundPhone
    ) -> None:
        _, phone = bound_phone(balance_fen=500)
        code = pay_code(phone)
        answer = report(phone, credential="phone")
        body = answer.get_json()
        assert (body["physical_card_state"], body["virtual_card_state"]) == ("active", "lost")
        assert phone.call("GET", "/me").status_code == 401
        assert refusal(charge(phone, code)) == (409, "code-stale")

    def test_names_every_terminal_that_has_it(self, bound_phone: BoundPhone) -> None:
        till, gate = make_till(), make_gate()
        body = report(bound_phone()[1]).get_json()
        informed = {item["terminal_id"]: item for item in body["terminals"]}
        for device, kind in ((till, "till"), (gate, "gate")):
            item = informed[str(device.id)]
            assert (item["kind"], item["place"]) == (kind, device.caller.place)
            assert item["has_it"] is True
            assert (item["since"], item["offline_since"]) == (body["reported_at"], None)

    def test_names_who_is_offline_and_looks_again(self, bound_phone: BoundPhone) -> None:
        gate, (_, phone), now = make_gate(), bound_phone(), clock.now()
        silent_since = now - timedelta(minutes=3)
        with transaction() as session:
            heartbeats.note_heartbeat(
                session, caller=gate.caller, now=silent_since, bundle_sequence=1
            )
        report_id = new_id()
        first = report(phone, report_id)

        def of_gate(answer: TestResponse) -> tuple[bool, str | None, str | None]:
            (item,) = [t for t in answer.get_json()["terminals"] if t["place"] == gate.caller.place]
            return item["has_it"], item["since"], item["offline_since"]

        assert of_gate(first) == (False, None, rfc3339(silent_since))
        with transaction() as session:
            back = clock.now()
            heartbeats.note_heartbeat(session, caller=gate.caller, now=back)
        looked = phone.call("GET", f"/me/loss-reports/{report_id}")
        assert of_gate(looked) == (True, rfc3339(back), None)
        assert of_gate(report(phone, report_id)) == of_gate(first), "a retry gets the first answer"
        rest = {"terminals": None}
        assert looked.get_json() | rest == first.get_json() | rest

    def test_is_read_by_who_made_it_only(self, bound_phone: BoundPhone, app: Flask) -> None:
        (_, phone), (_, stranger), report_id = bound_phone(), bound_phone(), new_id()
        path = f"/me/loss-reports/{report_id}"
        assert refusal(phone.call("GET", path)) == (404, "not-found")
        report(phone, report_id)
        assert refusal(stranger.call("GET", path)) == (404, "not-found")
        assert refusal(Phone(app.test_client(), token="x").call("GET", path))[0] == 401

    def test_a_second_one_returns_the_first(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        first, second = report(phone), report(phone)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.get_json() == second.get_json()
        assert len(notices(holder.id)) == 1

    def test_a_second_one_may_stop_the_phone_too(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        report(phone)
        assert report(phone, stop_virtual_card=True).status_code == 201
        assert states(phone) == ("lost", "lost")

    def test_a_retry_gets_the_first_answer_for_ever(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        report_id = new_id()
        first = report(phone, report_id)
        assert restore(phone, holder.document[-6:]).status_code == 201
        again = report(phone, report_id)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert states(phone) == ("active", "active"), "a late retry stops nothing"

    def test_an_id_is_for_one_report(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        report_id = new_id()
        report(phone, report_id)
        for other in ({"credential": "phone"}, {"stop_virtual_card": True}):
            assert refusal(report(phone, report_id, **other)) == (409, "id-reused")
        assert refusal(report(bound_phone()[1], report_id)) == (404, "not-found")

    def test_many_at_once_are_one(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        report_id = new_id()

        def send(_: int) -> TestResponse:
            client = phone.client.application.test_client()
            return report(Phone(client, token=phone.token), report_id)

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
        assert len({answer.get_json()["reported_at"] for answer in answers}) == 1
        assert len(notices(holder.id)) == 1

    @pytest.mark.parametrize(
        ("event", "kind", "credential"),
        [
            (CardEvent.FREEZE, CardKind.PHYSICAL, "physical_card"),
            (CardEvent.EXPIRE, CardKind.PHYSICAL, "physical_card"),
            (CardEvent.START_CLOSING, CardKind.PHYSICAL, "physical_card"),
        ],
    )
    def test_of_a_card_that_is_stopped_already_says_so(
        self,
        bound_phone: BoundPhone,
        let_happen: Callable[..., None],
        event: CardEvent,
        kind: CardKind,
        credential: str,
    ) -> None:
        holder, phone = bound_phone()
        let_happen(holder.id, kind, event)
        answer = report(phone, credential=credential)
        assert refusal(answer) == (409, "transition-not-possible")

    def test_of_a_card_that_is_not_there(
        self, bound_phone: BoundPhone, let_happen: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        let_happen(holder.id, CardKind.PHYSICAL, CardEvent.VOID)
        answer = report(phone)
        assert refusal(answer) == (409, "nothing-to-report")
        assert answer.get_json()["credential"] == "physical_card"

    @pytest.mark.parametrize(
        "said",
        [{"credential": "wallet"}, {"credential": None}, {"stop_virtual_card": "yes"}, {"why": 1}],
    )
    def test_that_does_not_fit(self, bound_phone: BoundPhone, said: dict[str, Any]) -> None:
        answer = report(bound_phone()[1], **said)
        assert refusal(answer) == (422, "validation-failed")
        assert list(answer.get_json()["errors"]) == list(said)

    def test_needs_a_binding(self, new_phone: Callable[..., Phone]) -> None:
        assert refusal(report(new_phone())) == (403, "not-bound")


class TestRestore:
    def test_brings_back_what_was_lost(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone(balance_fen=500)
        report(phone, stop_virtual_card=True)
        answer = restore(phone, holder.document[-6:].lower())
        assert answer.status_code == 201
        assert sorted(answer.get_json()["restored"]) == ["physical_card", "virtual_card"]
        assert states(phone) == ("active", "active")
        assert charge(phone, pay_code(phone)).status_code == 201
        assert notices(holder.id)[1] == ("card-restored", {})

    def test_brings_back_the_phone_after_a_new_login(
        self, bound_phone: BoundPhone, parts: Parts
    ) -> None:
        holder, phone = bound_phone()
        report(phone, credential="phone")
        with transaction() as session:  # the sandbox names accounts by their login codes
            phone.token, _ = login.log_in(
                session,
                platform="wechat",
                account=PlatformAccount(holder.account_id),
                sealer=parts.sealer,
                now=clock.now(),
            )
        assert states(phone) == ("active", "lost")
        assert restore(phone, holder.document[-6:]).get_json()["restored"] == ["virtual_card"]

    @pytest.mark.parametrize(
        "said",
        [{"credential": "phone"}, {}, {"stop_virtual_card": True}],
        ids=["phone", "physical card", "both"],
    )
    def test_is_the_only_way_out_of_a_loss(
        self, bound_phone: BoundPhone, parts: Parts, said: dict[str, Any]
    ) -> None:
        """Unbinding and binding anew would undo a report, or bar the way to restoring it."""
        holder, phone = bound_phone()
        assert report(phone, **said).status_code == 201
        with transaction() as session:  # whoever has the phone can do this too
            phone.token, _ = login.log_in(
                session,
                platform="wechat",
                account=PlatformAccount(holder.account_id),
                sealer=parts.sealer,
                now=clock.now(),
            )
        before = states(phone)
        assert refusal(phone.call("DELETE", "/me/binding")) == (409, "restore-first")
        assert states(phone) == before
        assert restore(phone, holder.document[-6:]).status_code == 201
        assert states(phone) == ("active", "active")
        assert phone.call("DELETE", "/me/binding").status_code == 204

    def test_codes_from_before_the_loss_stay_dead(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone(balance_fen=500)
        signed = pay_code(phone)
        short = phone.call("POST", "/me/codes", {"scope": "pay", "kind": "short"})
        report(phone, stop_virtual_card=True)
        restore(phone, holder.document[-6:])
        for text in (signed, short.get_json()["codes"][0]["text"]):
            assert refusal(charge(phone, text)) == (409, "code-stale")

    def test_needs_a_fresh_login(
        self, bound_phone: BoundPhone, age_session: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        age_session(phone.token, "created_at", timedelta(minutes=5))
        answer = restore(phone, holder.document[-6:])
        assert refusal(answer) == (403, "step-up-required")
        assert answer.get_json()["within_minutes"] == 5
        assert "5 分钟" in answer.get_json()["detail"]
        assert states(phone) == ("lost", "active")

    def test_a_login_of_almost_five_minutes_is_fresh(
        self, bound_phone: BoundPhone, age_session: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        age_session(phone.token, "created_at", timedelta(minutes=4))
        assert restore(phone, holder.document[-6:]).status_code == 201

    def test_counts_wrong_documents_as_tries(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        report(phone)
        wrong = "00000X" if holder.document[-6:] != "00000X" else "00001X"
        for _ in range(5):
            assert refusal(restore(phone, wrong)) == (409, "identity-not-matched")
        answer = restore(phone, holder.document[-6:])
        assert refusal(answer) == (429, "too-many-tries")
        assert int(answer.headers["Retry-After"]) > 86_000

    def test_the_right_document_clears_the_count(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        for _ in range(3):
            report(phone)
            assert refusal(restore(phone, "00000X")) == (409, "identity-not-matched")
            assert restore(phone, holder.document[-6:]).status_code == 201

    def test_the_regulation_leaves_it_to_counter_and_kiosk(
        self, bound_phone: BoundPhone, regulation: None
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        assert phone.call("GET", "/me").get_json()["restore_from_phone"] is False
        answer = restore(phone, holder.document[-6:])
        assert refusal(answer) == (403, "channel-not-allowed")
        assert answer.get_json()["channels"] == ["counter", "kiosk"]

    def test_a_retry_gets_the_first_answer_for_ever(
        self, bound_phone: BoundPhone, age_session: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        restoration_id = new_id()
        report(phone)
        first = restore(phone, holder.document[-6:], restoration_id)
        age_session(phone.token, "created_at", timedelta(hours=1))
        report(phone)
        again = restore(phone, holder.document[-6:], restoration_id)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert states(phone) == ("lost", "active"), "a late retry restores nothing"

    def test_an_id_is_for_one_document(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        restoration_id, tail = new_id(), holder.document[-6:]
        report(phone)
        first = restore(phone, tail, restoration_id)
        wrong = "00000X" if tail != "00000X" else "00001X"
        assert refusal(restore(phone, wrong, restoration_id)) == (409, "id-reused")
        again = restore(phone, tail, restoration_id)
        assert (again.status_code, again.get_json()) == (200, first.get_json())
        for _ in range(5):
            assert refusal(restore(phone, wrong, restoration_id)) == (409, "id-reused")
        assert refusal(restore(phone, wrong, restoration_id)) == (429, "too-many-tries")
        assert refusal(restore(phone, tail, restoration_id)) == (429, "too-many-tries")

    def test_many_at_once_are_one(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        restoration_id = new_id()
        report(phone)

        def send(_: int) -> int:
            client = phone.client.application.test_client()
            other = Phone(client, token=phone.token)
            return restore(other, holder.document[-6:], restoration_id).status_code

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(send, range(4))) == [200] * 3 + [201]

    def test_somebody_elses_id_is_not_found(self, bound_phone: BoundPhone) -> None:
        (holder, phone), (other, stranger) = bound_phone(), bound_phone()
        restoration_id = new_id()
        report(phone)
        restore(phone, holder.document[-6:], restoration_id)
        report(stranger)
        answer = restore(stranger, other.document[-6:], restoration_id)
        assert refusal(answer) == (404, "not-found")
        assert states(stranger) == ("lost", "active")

    def test_of_nothing(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        assert refusal(restore(phone, holder.document[-6:])) == (409, "nothing-to-restore")

    def test_does_not_unfreeze(
        self, bound_phone: BoundPhone, let_happen: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        let_happen(holder.id, CardKind.VIRTUAL, CardEvent.FREEZE)
        assert restore(phone, holder.document[-6:]).get_json()["restored"] == ["physical_card"]
        assert states(phone) == ("active", "frozen")

    def test_is_written_down_with_the_rules_that_allowed_it(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        report(phone)
        restoration_id = UUID(restore(phone, holder.document[-6:]).get_json()["id"])
        with transaction() as session:
            stored = session.get_one(Restoration, restoration_id)
            entries = session.scalars(
                select(LogEntry)
                .where(LogEntry.holder_id == holder.id, LogEntry.action.like("card.re%"))
                .order_by(LogEntry.id)
            ).all()
        assert len(stored.policy_ids) == 2
        assert [(entry.action, entry.channel, entry.before, entry.after)
                for entry in entries] == [
            ("card.report_lost", "mini_program", "active", "lost"),
            ("card.restore", "mini_program", "lost", "active"),
        ]  # fmt: skip
        assert (entries[1].policy_ids, entries[1].documents) == (stored.policy_ids, ["id_document"])
        assert all(entry.card_id == entry.subject_id for entry in entries)
        assert holder.document[-6:] not in repr([entry.facts for entry in entries])


class TestKiosk:
    @pytest.fixture
    def kiosk(self) -> Device:
        return make_terminal(TerminalKind.KIOSK)

    def call(self, phone: Phone, device: Device, path: str, **said: str) -> TestResponse:
        """Send something from a kiosk."""
        return phone.client.put(f"/api/v1/kiosk/{path}", json=said, headers=device.headers)

    def test_reports_by_card_number_or_by_person(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber
    ) -> None:
        for by_person in (False, True):
            holder, phone = bound_phone()
            said = (
                {"holder_number": holder.number, "document_number": holder.document}
                if by_person
                else {"card_number": card_number(holder.id)}
            )
            answer = self.call(phone, kiosk, f"loss-reports/{new_id()}", **said)
            assert answer.status_code == 201
            assert answer.get_json()["physical_card_state"] == "lost"
            assert states(phone) == ("lost", "active")

    def test_restores_with_the_card_and_the_document(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber, regulation: None
    ) -> None:
        holder, phone = bound_phone()
        report(phone, stop_virtual_card=True)
        said = {"card_number": card_number(holder.id), "document_number": holder.document}
        path = f"restorations/{new_id()}"
        first, again = (self.call(phone, kiosk, path, **said) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.get_json() == again.get_json()
        assert states(phone) == ("active", "active")

    def test_a_retry_gets_the_first_answer_when_the_card_is_gone(
        self,
        bound_phone: BoundPhone,
        kiosk: Device,
        card_number: CardNumber,
        let_happen: Callable[..., None],
    ) -> None:
        holder, phone = bound_phone()
        card = {"card_number": card_number(holder.id)}
        both = card | {"document_number": holder.document}
        lost, restored = f"loss-reports/{new_id()}", f"restorations/{new_id()}"
        first = [self.call(phone, kiosk, lost, **card), self.call(phone, kiosk, restored, **both)]
        let_happen(holder.id, CardKind.PHYSICAL, CardEvent.VOID)
        again = [self.call(phone, kiosk, lost, **card), self.call(phone, kiosk, restored, **both)]
        assert [answer.status_code for answer in first + again] == [201, 201, 200, 200]
        assert [answer.get_json() for answer in first] == [one.get_json() for one in again]
        other = self.call(phone, kiosk, f"restorations/{new_id()}", **both)
        assert refusal(other) == (404, "not-found")

    def test_an_id_is_for_one_document_at_the_kiosk_too(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        said = {"card_number": card_number(holder.id), "document_number": holder.document}
        path = f"restorations/{new_id()}"
        assert self.call(phone, kiosk, path, **said).status_code == 201
        other = self.call(phone, kiosk, path, **said | {"document_number": make_document()})
        assert refusal(other) == (409, "id-reused")
        assert self.call(phone, kiosk, path, **said).status_code == 200

    def test_an_id_is_for_one_holder(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber
    ) -> None:
        (one, phone), (other, their_phone) = bound_phone(), bound_phone()
        path = f"loss-reports/{new_id()}"
        first = self.call(phone, kiosk, path, card_number=card_number(one.id))
        assert (first.status_code, "by" in first.get_json()) == (201, False)
        theirs = self.call(phone, kiosk, path, card_number=card_number(other.id))
        assert refusal(theirs) == (409, "id-reused")
        strange = make_terminal(TerminalKind.KIOSK)
        theirs = self.call(phone, strange, path, card_number=card_number(other.id))
        assert refusal(theirs) == (404, "not-found")
        assert states(their_phone) == ("active", "active")
        again = self.call(phone, kiosk, path, card_number=card_number(one.id))
        assert (again.status_code, again.get_json()) == (200, first.get_json())

    def test_counts_wrong_documents_as_tries(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber
    ) -> None:
        holder, phone = bound_phone()
        report(phone)
        number, codes = card_number(holder.id), []
        for document in [make_document() for _ in range(5)] + [holder.document]:
            answer = self.call(
                phone,
                kiosk,
                f"restorations/{new_id()}",
                card_number=number,
                document_number=document,
            )
            codes.append(answer.get_json()["code"])
        assert codes == ["identity-not-matched"] * 5 + ["too-many-tries"]

    def test_says_nothing_of_who_somebody_is(
        self, bound_phone: BoundPhone, kiosk: Device, card_number: CardNumber
    ) -> None:
        holder, phone = bound_phone()
        number = card_number(holder.id)
        answer = self.call(phone, kiosk, f"loss-reports/{new_id()}", card_number=number)
        for secret in (holder.name, holder.number, holder.document, number):
            assert secret not in answer.text
        for number, document in (("nobody", holder.document), (holder.number, make_document())):
            answer = self.call(
                phone,
                kiosk,
                f"loss-reports/{new_id()}",
                holder_number=number,
                document_number=document,
            )
            assert refusal(answer) == (409, "identity-not-matched")

    def test_knows_no_other_cards(self, bound_phone: BoundPhone, kiosk: Device) -> None:
        _, phone = bound_phone()
        for path, said in (
            ("loss-reports", {"card_number": "0"}),
            ("restorations", {"card_number": "0", "document_number": make_document()}),
        ):
            answer = self.call(phone, kiosk, f"{path}/{new_id()}", **said)
            assert refusal(answer) == (404, "not-found")

    @pytest.mark.parametrize("kind", [TerminalKind.TILL, TerminalKind.GATE])
    def test_is_for_kiosks_only(
        self, bound_phone: BoundPhone, card_number: CardNumber, kind: TerminalKind
    ) -> None:
        holder, phone = bound_phone()
        number, device = card_number(holder.id), make_terminal(kind)
        for path, said in (
            ("loss-reports", {"card_number": number}),
            ("restorations", {"card_number": number, "document_number": holder.document}),
        ):
            answer = self.call(phone, device, f"{path}/{new_id()}", **said)
            assert refusal(answer) == (403, "terminal-not-allowed")
            assert answer.get_json()["kind"] == kind.value
        assert states(phone) == ("active", "active")

    @pytest.mark.parametrize(
        "said",
        [
            {},
            {"holder_number": "1"},
            {"document_number": "123456"},
            {"card_number": "1", "holder_number": "1", "document_number": "123456"},
            {"card_number": "1", "holder_number": "1"},
            {"card_number": "1", "document_number": "123456"},
        ],
    )
    def test_needs_one_way_or_the_other(
        self, bound_phone: BoundPhone, kiosk: Device, said: dict[str, str]
    ) -> None:
        _, phone = bound_phone()
        answer = self.call(phone, kiosk, f"loss-reports/{new_id()}", **said)
        assert refusal(answer) == (422, "validation-failed")

    def test_a_holders_token_is_no_terminals(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone()
        answer = phone.client.put(
            f"/api/v1/kiosk/loss-reports/{new_id()}",
            json={"card_number": secrets.token_hex(4)},
            headers=holder.headers,
        )
        assert refusal(answer) == (401, "unauthenticated")


class TestLateRetry:
    def test_of_a_second_report_stops_nothing_after_the_restoration(self, parts: Parts) -> None:
        holder, again = make_holder(parts), new_id()

        def report(report_id: UUID) -> LossReport:
            with transaction() as session:
                return loss.report_lost(
                    session,
                    report_id=report_id,
                    holder_id=holder.id,
                    credential="physical_card",
                    stop_virtual_card=True,
                    actor=SYSTEM,
                    now=clock.now(),
                )

        first, second = report(new_id()), report(again)
        with transaction() as session:
            loss.restore(
                session,
                restoration_id=new_id(),
                holder_id=holder.id,
                policy_ids=[],
                actor=SYSTEM,
                now=clock.now(),
            )
        late = report(again)
        assert first.answer == second.answer == late.answer
        assert virtual_card(holder.id).state is CardState.ACTIVE

    def test_of_a_frozen_holders_phone_ends_the_sessions(self, parts: Parts) -> None:
        holder = make_holder(parts)
        with transaction() as session:
            card = find_card(session, holder_id=holder.id, kind=CardKind.VIRTUAL)
            assert card is not None
            change_state(session, card=card, event=CardEvent.FREEZE, actor=SYSTEM, now=clock.now())
            loss.report_lost(
                session,
                report_id=new_id(),
                holder_id=holder.id,
                credential="phone",
                stop_virtual_card=False,
                actor=SYSTEM,
                now=clock.now(),
            )
        assert virtual_card(holder.id).state is CardState.FROZEN
        with pytest.raises(Unauthenticated), transaction() as session:
            login.authenticate(session, holder.token, clock.now())
