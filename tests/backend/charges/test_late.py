"""What tills took without network: judged when it is told, posted once, never dropped."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import (
    Device,
    balances,
    keys_of,
    make_gate,
    make_holder,
    make_till,
    owners_transaction,
    top_up,
    virtual_card,
)
from flask import Flask
from flask.testing import FlaskClient
from phones import API, DevicePhone, Phone
from scanners import Told, Uploads, pay_code, policies, sign
from sqlalchemy import select

from backend import clock
from backend.arrears import service as arrears
from backend.cards.loss import restore
from backend.charges.late import POLICIES
from backend.charges.models import Charge, ChargeState
from backend.db import transaction
from backend.holders import permissions
from backend.holders.models import Permission
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.policies import service
from backend.policies.models import Policy
from backend.uploads.models import LateUpload
from qr import Scope

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def money_offline(app: Flask) -> Iterator[None]:
    """Tills take money without network, and have for years."""
    with policies(money=True):
        yield


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def uploads(client: FlaskClient) -> Uploads:
    return Uploads(client)


@pytest.fixture
def rate_of_now(app: Flask) -> Iterator[Callable[[int], None]]:
    """Change the rate of the surcharge from this moment on, for one test."""
    made: list[UUID] = []

    def change(permille: int) -> None:
        with owners_transaction() as session:
            service.lock(session)
            row = service.put_in_force(
                session,
                key="charge.surcharge_permille",
                value=permille,
                document_number="test",
                at=clock.now(),
            )
            made.append(row.id)

    yield change
    with owners_transaction() as session:
        for id_ in made:
            service.take_back(session, session.get_one(Policy, id_))


@pytest.fixture
def phone(client: FlaskClient, parts: Parts) -> Callable[..., DevicePhone]:
    """Make a phone that may show codes without network."""

    def make(**holder: Any) -> DevicePhone:
        known = make_holder(parts, **({"balance_fen": 10_000} | holder))
        made = DevicePhone(Phone(client, token=known.token), known)
        assert made.enrol().status_code == 201
        return made

    return make


def row(item: dict[str, Any]) -> LateUpload:
    """Return what is kept of an item."""
    with transaction() as session:
        return session.get_one(LateUpload, UUID(item["id"]))


def charge_of(item: dict[str, Any]) -> Charge | None:
    """Return the charge that an item became."""
    with transaction() as session:
        return session.get(Charge, UUID(item["id"]))


def account_fen(kind: AccountKind) -> int:
    """Return what an account of the school stands at."""
    with transaction() as session:
        return ledger.prove(session).by_kind[kind.value]


def report_lost(phone: DevicePhone) -> None:
    """Report the phone lost."""
    answer = phone.phone.call(
        "PUT", f"/me/loss-reports/{new_id()}", {"credential": "phone", "stop_virtual_card": False}
    )
    assert answer.status_code == 201, answer.get_json()


def notices(holder_id: UUID) -> dict[str, dict[str, Any]]:
    """Return the facts of what a holder was told, by kind."""
    with transaction() as session:
        return {
            notice.kind: notice.facts
            for notice in session.scalars(
                select(HolderNotice).where(HolderNotice.holder_id == holder_id)
            )
        }


class TestPosting:
    def test_takes_price_and_surcharge_as_online_subsidy_first(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = (
            phone(balance_fen=2000, subsidy_fen=400, pays_surcharge=True),
            make_till(is_canteen=True),
        )
        at = clock.now() - SECOND
        item = Told(till).charge(pay_code(known, now=at), 1000, at=at, note="套餐\x00一")
        assert uploads.outcomes(till, item) == [("charged", None)]
        assert balances(known.holder.id) == (2000 - 700, 0)
        charged = charge_of(item)
        assert charged is not None
        assert (charged.amount_fen, charged.surcharge_fen, charged.from_subsidy_fen) == (
            1000, 100, 400,
        )  # fmt: skip
        assert (charged.state, charged.balance_fen) == (ChargeState.APPROVED, 1300)
        assert charged.note == "套餐一"
        assert charged.charged_at > row(item).decided_at
        told = notices(known.holder.id)["charge-late"]
        assert (told["total_fen"], told["balance_fen"]) == (1100, 1300)
        assert told["decided_at"] == item["decided_at"]

    @pytest.mark.parametrize(("since", "fen"), [(200, 100), (50, 50)])
    def test_a_rate_that_changed_since_is_the_holders_best(
        self,
        phone: Callable[..., DevicePhone],
        uploads: Uploads,
        rate_of_now: Callable[[int], None],
        since: int,
        fen: int,
    ) -> None:
        known, till = phone(balance_fen=5_000, pays_surcharge=True), make_till(is_canteen=True)
        at = clock.now() - SECOND
        item = Told(till).charge(pay_code(known, now=at), 1_000, at=at)
        rate_of_now(since)
        uploads.send(till, item)
        charged = charge_of(item)
        assert charged is not None
        assert charged.surcharge_fen == fen
        assert balances(known.holder.id)[0] == 5_000 - 1_000 - fen
        with transaction() as session:
            values = session.scalars(
                select(Policy.value).where(
                    Policy.id.in_([UUID(id_) for id_ in charged.policy_ids]),
                    Policy.key == "charge.surcharge_permille",
                )
            ).all()
        assert fen in {value for value in values if isinstance(value, int)}

    def test_of_whom_the_card_is_not_for_paying_is_the_schools_and_a_case(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(balance_fen=5_000), make_till()
        item = Told(till).charge(pay_code(known), 1_000)
        with transaction() as session:
            permissions.make_override(
                session,
                override_id=new_id(),
                holder_id=known.holder.id,
                permission=Permission.PAY,
                allowed=False,
                reason="test",
                document_number="test",
                until=None,
                actor=SYSTEM,
                now=clock.now(),
            )
        assert uploads.outcomes(till, item) == [("charged-to-risk", "not-permitted")]
        assert balances(known.holder.id) == (5_000, 0)
        assert (row(item).conflicts, row(item).needs_review) == (["not-permitted"], True)
        charged = charge_of(item)
        assert charged is not None
        assert (charged.amount_fen, charged.holder_id) == (1_000, None)

    def test_names_the_rules_it_was_judged_by(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        till = make_till()
        item = Told(till).charge(pay_code(phone()))
        uploads.send(till, item)
        charged = charge_of(item)
        assert charged is not None
        with transaction() as session:
            judged = keys_of(session, row(item).policy_ids)
            assert judged == {*POLICIES, "offline.bundle_hours"}
            assert keys_of(session, charged.policy_ids) == {*POLICIES}

    def test_is_found_in_the_statement_by_its_reference_and_reversed(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known), 800)
        reference = uploads.send(till, item).get_json()["items"][0]["reference"]
        line = known.phone.call("GET", "/me/statement").get_json()["items"][0]
        assert (line["kind"], line["amount_fen"]) == ("charge", -800)
        assert (line["reference"], line["decided_at"]) == (reference, item["decided_at"])
        path = f"{API}/charges/{item['id']}"
        assert client.get(path, headers=till.headers).get_json()["state"] == "approved"
        answer = client.put(
            f"{path}/reversals/{new_id()}", json={"amount_fen": 800}, headers=till.headers
        )
        assert answer.status_code == 201, answer.get_json()
        assert balances(known.holder.id) == (10_000, 0)

    def test_of_a_code_that_the_school_signed(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, parts: Parts
    ) -> None:
        known, till = phone(), make_till()
        alias = virtual_card(known.holder.id).alias or b""
        text = sign(parts, alias, scope=Scope.PAY, issued_at=clock.now())
        assert uploads.outcome(till, Told(till).charge(text)) == "charged"
        assert balances(known.holder.id) == (9500, 0)

    def test_leaves_the_code_dead_online(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till = phone(), make_till()
        code = pay_code(known)
        uploads.send(till, Told(till).charge(code))
        answer = client.put(
            f"{API}/charges/{new_id()}", json={"code": code, "amount_fen": 1}, headers=till.headers
        )
        assert answer.get_json()["code"] == "code-spent"

    def test_a_phone_that_is_ahead_goes_on_working_online(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, ahead = phone(), make_till(), clock.now() + HOUR
        item = Told(till).charge(pay_code(known, now=ahead), at=ahead)
        assert uploads.outcome(till, item) == "charged"
        assert row(item).conflicts == ["clock"]
        codes = known.phone.call("POST", "/me/codes", {"scope": "pay"}).get_json()["codes"]
        assert datetime.fromisoformat(codes[0]["not_before"]) < clock.now() + 10 * SECOND


class TestRepeats:
    def test_get_the_first_answer_for_ever(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known))
        first = uploads.send(till, item, item).get_json()["items"]
        report_lost(known)
        assert first == uploads.send(till, item, item).get_json()["items"]
        assert first[0] == first[1]
        assert balances(known.holder.id) == (9500, 0)

    def test_of_the_id_with_other_content_change_nothing(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, other = phone(), make_till(), make_till()
        item = Told(till).charge(pay_code(known))
        uploads.send(till, item)
        assert uploads.outcome(till, item | {"amount_fen": 1}) == "id-reused"
        assert uploads.outcome(till, item | {"sequence": 9}) == "id-reused"
        assert uploads.outcome(other, item) == "id-reused"
        assert balances(known.holder.id) == (9500, 0)

    def test_of_a_sequence_are_kept_for_a_person_and_are_an_alarm(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        told = Told(till)
        uploads.send(till, told.charge(pay_code(known)))
        again = told.charge(pay_code(known, sequence=1)) | {"sequence": 1}
        for _ in range(2):
            assert uploads.outcomes(till, again) == [("sequence-reused", "sequence-reused")]
        assert balances(known.holder.id) == (9500, 0)
        assert row(again).needs_review
        with transaction() as session:
            [entry] = session.scalars(
                select(LogEntry).where(
                    LogEntry.subject_id == till.id, LogEntry.action == "terminal.reuse_sequence"
                )
            )
        assert entry.facts == {"sequence": 1}


class TestOnlineBefore:
    @pytest.fixture
    def online(self, client: FlaskClient) -> Callable[..., Any]:
        """Send a charge whose answer the till never heard."""

        def send(till: Device, item: dict[str, Any]) -> Any:
            return client.put(
                f"{API}/charges/{item['id']}",
                json={"code": item["code"], "amount_fen": item["amount_fen"]},
                headers=till.headers,
            )

        return send

    def test_what_went_through_is_not_charged_again(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known))
        assert online(till, item).status_code == 201
        assert uploads.outcomes(till, item, item) == [("already-charged", None)] * 2
        assert balances(known.holder.id) == (9500, 0)
        assert not row(item).needs_review

    def test_what_went_through_while_the_till_declined_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known), state="declined", reason="offline-not-allowed")
        online(till, item)
        assert uploads.outcome(till, item) == "already-charged"
        assert row(item).conflicts == ["charged-online"]

    def test_what_was_declined_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        known, till = phone(balance_fen=100), make_till()
        item = Told(till).charge(pay_code(known))
        assert online(till, item).get_json()["code"] == "insufficient-balance"
        assert uploads.outcomes(till, item) == [("under-review", "declined-online")]
        assert balances(known.holder.id) == (100, 0)

    def test_what_was_voided_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known))
        client.put(f"{API}/charges/{item['id']}/void", headers=till.headers)
        assert uploads.outcomes(till, item) == [("under-review", "declined-online")]
        assert balances(known.holder.id) == (10_000, 0)

    def test_another_content_under_the_id_is_refused(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, online: Callable[..., Any]
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known))
        online(till, item)
        assert uploads.outcome(till, item | {"amount_fen": 1}) == "id-reused"
        assert uploads.outcome(make_till(), item) == "id-reused"

    @pytest.mark.parametrize(
        "ended", [("approved", 200, None), ("declined", 409, "declined-offline")]
    )
    def test_an_original_that_comes_after_its_late_upload_is_a_retry(
        self,
        phone: Callable[..., DevicePhone],
        uploads: Uploads,
        online: Callable[..., Any],
        ended: tuple[str, int, str | None],
    ) -> None:
        known, till = phone(), make_till()
        state, status, code = ended
        reason = "offline-cap-exceeded" if state == "declined" else None
        item = Told(till).charge(pay_code(known), state=state, reason=reason)
        uploads.send(till, item)
        left = balances(known.holder.id)
        answer = online(till, item)
        assert (answer.status_code, answer.get_json().get("code")) == (status, code)
        assert balances(known.holder.id) == left

    @pytest.mark.parametrize("wrong", ["forged", "double"])
    def test_an_original_that_comes_after_a_review_was_opened_charges_nothing(
        self,
        phone: Callable[..., DevicePhone],
        uploads: Uploads,
        online: Callable[..., Any],
        wrong: str,
    ) -> None:
        known, till = phone(), make_till()
        told, code = Told(till), pay_code(known)
        if wrong == "double":
            uploads.send(till, told.charge(code))
        else:
            code = code[:-5] + "00000"
        left = balances(known.holder.id)
        item = told.charge(code)
        assert uploads.outcome(till, item) == "under-review"
        assert online(till, item).status_code == 409
        assert balances(known.holder.id) == left


class TestConflicts:
    def test_a_code_that_is_not_genuine_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        told, code = Told(till), pay_code(known)
        other = "7" if code[200] != "7" else "8"
        for text in ("", "x" * 400, code[:200] + other + code[201:], "96000000000000000000"):
            item = told.charge(text)
            assert uploads.outcomes(till, item) == [("under-review", "forged")]
            assert (row(item).holder_id, row(item).code_key) == (None, None)
        assert charge_of(item) is None

    @pytest.mark.parametrize(
        ("seconds", "fault"), [(-20, "code-not-yet-valid"), (90, "code-expired")]
    )
    def test_a_code_that_was_not_good_at_the_time_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, seconds: int, fault: str
    ) -> None:
        known, till, now = phone(), make_till(), clock.now() - HOUR
        item = Told(till).charge(pay_code(known, now=now), at=now + seconds * SECOND)
        assert uploads.outcomes(till, item) == [("under-review", "forged")]
        assert row(item).code_fault == fault
        assert row(item).holder_id == known.holder.id

    def test_a_gate_code_pays_nothing(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(known.code(Scope.GATE))
        assert uploads.outcomes(till, item) == [("under-review", "forged")]
        assert row(item).code_fault == "code-wrong-scope"

    def test_a_card_that_we_do_not_know_is_for_a_person(
        self, uploads: Uploads, parts: Parts
    ) -> None:
        till = make_till()
        item = Told(till).charge(sign(parts, b"nobody", scope=Scope.PAY, issued_at=clock.now()))
        assert uploads.outcomes(till, item) == [("under-review", "card-unknown")]

    def test_the_second_use_of_a_code_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, other = phone(), make_till(), make_till()
        code = pay_code(known)
        assert uploads.outcome(till, Told(till).charge(code)) == "charged"
        assert uploads.outcomes(other, Told(other).charge(code)) == [("under-review", "double-use")]
        assert balances(known.holder.id) == (9500, 0)

    def test_an_older_code_than_the_newest_used_is_none_the_worse(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, now = phone(), make_till(), clock.now()
        told = Told(till)
        old = told.charge(pay_code(known, now=now - 60 * SECOND), at=now - 60 * SECOND)
        new = told.charge(pay_code(known, now=now), at=now)
        assert uploads.outcomes(till, new, old) == [("charged", None)] * 2
        assert balances(known.holder.id) == (9000, 0)

    def test_money_offline_that_was_not_allowed_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        with policies(money=False):
            item = Told(till).charge(pay_code(known))
            assert uploads.outcomes(till, item) == [("under-review", "offline-not-allowed")]
        assert balances(known.holder.id) == (10_000, 0)

    def test_an_amount_that_no_charge_can_have_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known), 2**53 - 1)
        assert uploads.outcomes(till, item) == [("under-review", "amount-out-of-bounds")]
        declined = Told(make_till())
        again = declined.charge("", 10_000_001, state="declined", reason="offline-cap-exceeded")
        assert uploads.outcome(declined.device, again) == "recorded"

    @pytest.mark.parametrize("hours", [-80, 80])
    def test_a_time_beyond_the_window_is_for_a_person(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, hours: int
    ) -> None:
        known, till, at = phone(), make_till(), clock.now() + hours * HOUR
        item = Told(till).charge(pay_code(known, now=at), at=at)
        assert uploads.outcome(till, item) == "under-review"
        assert {"out-of-window", "clock"} <= {*row(item).conflicts}
        assert balances(known.holder.id) == (10_000, 0)

    def test_a_clock_that_is_ahead_is_flagged_and_posted(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, now = phone(), make_till(), clock.now()
        told = Told(till)
        near = told.charge(pay_code(known, now=now), at=now + 3 * SECOND)
        far = told.charge(pay_code(known, sequence=1, now=now), at=now + 30 * SECOND)
        assert uploads.outcomes(till, near, far) == [("charged", None)] * 2
        assert (row(near).conflicts, row(far).conflicts) == ([], ["clock"])
        assert (row(near).needs_review, row(far).needs_review) == (False, True)


class TestLoss:
    def test_after_a_loss_the_school_bears_it_not_the_holder(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, risk_fen = phone(), make_till(), account_fen(AccountKind.RISK)
        report_lost(known)
        item = Told(till).charge(pay_code(known))
        assert uploads.outcomes(till, item) == [("charged-to-risk", "after-loss")]
        assert balances(known.holder.id) == (10_000, 0)
        assert account_fen(AccountKind.RISK) == risk_fen - 500
        charged = charge_of(item)
        assert charged is not None
        assert (charged.state, charged.holder_id) == (ChargeState.APPROVED, None)
        assert row(item).holder_id == known.holder.id
        assert "charge-late" not in notices(known.holder.id)

    def test_before_a_loss_that_was_reported_since_the_holder_bears_it(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        item = Told(till).charge(pay_code(known))
        report_lost(known)
        assert uploads.outcomes(till, item) == [("charged", None)]
        assert balances(known.holder.id) == (9500, 0)

    def test_a_charge_that_the_school_bears_is_given_back_to_it(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till, risk_fen = phone(), make_till(), account_fen(AccountKind.RISK)
        report_lost(known)
        items = [
            Told(till).charge(pay_code(known)),
            Told(make_till()).charge(pay_code(known, sequence=1)),
        ]
        uploads.send(till, items[0])
        path = f"{API}/charges/{items[0]['id']}"
        answer = client.put(
            f"{path}/reversals/{new_id()}", json={"amount_fen": 200}, headers=till.headers
        )
        assert answer.status_code == 201, answer.get_json()
        assert account_fen(AccountKind.RISK) == risk_fen - 300
        assert client.put(f"{path}/void", headers=till.headers).status_code == 201
        assert account_fen(AccountKind.RISK) == risk_fen
        assert balances(known.holder.id) == (10_000, 0)

    def test_a_revoked_delegation_is_the_schools_risk(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(), make_till()
        known.phone.call("DELETE", known.path)
        item = Told(till).charge(pay_code(known))
        assert uploads.outcomes(till, item) == [("charged-to-risk", "revoked-at-the-time")]
        assert balances(known.holder.id) == (10_000, 0)

    def test_burnt_codes_are_the_schools_risk_once_they_are_burnt(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, parts: Parts
    ) -> None:
        known, till = phone(), make_till()
        told, alias = Told(till), virtual_card(known.holder.id).alias or b""
        earlier = clock.now() - 5 * SECOND
        before = told.charge(pay_code(known, now=earlier), at=earlier)
        signed = sign(parts, alias, scope=Scope.PAY, issued_at=earlier)
        filmed = pay_code(known, sequence=1, now=earlier)
        assert known.phone.call("DELETE", "/me/codes").status_code == 204
        after = clock.now() + SECOND
        assert uploads.outcome(till, before) == "charged"
        assert uploads.outcome(till, told.charge(filmed, at=after)) == "charged-to-risk"
        assert uploads.outcome(till, told.charge(signed, at=after)) == "charged-to-risk"
        fresh = told.charge(pay_code(known, now=after + SECOND), at=after + SECOND)
        assert uploads.outcome(till, fresh) == "charged"

    def test_after_a_restoration_new_codes_are_the_holders_again(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, parts: Parts
    ) -> None:
        known, till = phone(), make_till()
        old = virtual_card(known.holder.id).alias or b""
        report_lost(known)
        with transaction() as session:
            restore(
                session, restoration_id=new_id(), holder_id=known.holder.id, policy_ids=[],
                actor=SYSTEM, now=clock.now(),
            )  # fmt: skip
        new = virtual_card(known.holder.id).alias or b""
        told, now = Told(till), clock.now()
        outcomes = uploads.outcomes(
            till,
            told.charge(sign(parts, new, scope=Scope.PAY, issued_at=now), at=now),
            told.charge(sign(parts, old, scope=Scope.PAY, issued_at=now), at=now),
        )
        assert outcomes == [("charged", None), ("charged-to-risk", "revoked-at-the-time")]
        assert balances(known.holder.id) == (9500, 0)


class TestArrears:
    def test_open_where_the_purses_hold_too_little_and_close_with_money(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(balance_fen=300, subsidy_fen=100), make_till()
        item = Told(till).charge(pay_code(known), 1000)
        assert uploads.outcomes(till, item) == [("charged-with-arrears", None)]
        assert row(item).conflicts == ["shortfall"]
        assert not row(item).needs_review
        assert balances(known.holder.id) == (0, 0)
        me = known.phone.call("GET", "/me").get_json()
        assert me["arrears_fen"] == 600
        told = notices(known.holder.id)["arrears-opened"]
        assert (told["amount_fen"], told["charge_id"]) == (600, item["id"])
        top_up(known.holder.id, 500)
        assert balances(known.holder.id) == (0, 0)
        assert notices(known.holder.id)["arrears-settled"] == {
            "amount_fen": 500, "arrears_fen": 100,
        }  # fmt: skip
        top_up(known.holder.id, 500)
        assert balances(known.holder.id) == (400, 0)
        assert known.phone.call("GET", "/me").get_json()["arrears_fen"] == 0
        lines = known.phone.call("GET", "/me/statement").get_json()["items"]
        assert [line["amount_fen"] for line in lines if line["kind"] == "arrears"] == [-100, -500]
        assert lines[0]["place"] == till.caller.place

    def test_keep_a_phone_from_a_new_delegation(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(balance_fen=0), make_till()
        uploads.send(till, Told(till).charge(pay_code(known), 250))
        assert known.send_again().status_code == 200, "what was granted stays granted"
        answer = known.enrol()
        assert (answer.status_code, answer.get_json()["code"]) == (409, "arrears-open")
        assert answer.get_json()["arrears_fen"] == 250
        top_up(known.holder.id, 250)
        assert known.enrol().status_code == 201

    def test_are_paid_by_what_is_given_back(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till = phone(balance_fen=300), make_till(is_canteen=True)
        item = Told(till).charge(pay_code(known), 1000)
        uploads.send(till, item)
        answer = client.put(f"{API}/charges/{item['id']}/void", headers=till.headers)
        assert answer.status_code == 201
        assert balances(known.holder.id) == (300, 0)
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=known.holder.id) == 0

    def test_also_hold_the_surcharge(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till = phone(balance_fen=1050, pays_surcharge=True), make_till(is_canteen=True)
        item = Told(till).charge(pay_code(known), 1000)
        assert uploads.outcome(till, item) == "charged-with-arrears"
        with transaction() as session:
            assert arrears.open_fen(session, holder_id=known.holder.id) == 50
            moved = session.scalars(
                select(Transfer).where(Transfer.subject_id == UUID(item["id"]))
            ).all()
        assert sorted((move.kind.value, move.amount_fen) for move in moved) == [
            ("charge", 1000), ("surcharge", 50), ("surcharge", 50),
        ]  # fmt: skip


class TestCaps:
    def test_are_counted_in_the_tills_own_order_whatever_comes_first(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]):
            known, till, now = phone(), make_till(), clock.now()
            told = Told(till)
            items = [
                told.charge(pay_code(known, sequence=n, now=now), 100, at=now) for n in range(5)
            ]
            assert uploads.outcomes(till, *(items[n] for n in order)) == [("charged", None)] * 5
            assert [row(item).conflicts for item in items] == [[]] * 3 + [["over-cap"]] * 2
            assert [row(item).needs_review for item in items] == [False] * 3 + [True] * 2
            assert balances(known.holder.id) == (9500, 0)

    def test_of_one_sale_are_the_lower_of_school_and_delegation(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, parts: Parts
    ) -> None:
        known, till = phone(), make_till()
        alias = virtual_card(known.holder.id).alias or b""
        told = Told(till)
        with policies(per_sale_fen=2000):
            device = told.charge(pay_code(known), 1600)
            signed = told.charge(sign(parts, alias, scope=Scope.PAY, issued_at=clock.now()), 1600)
            uploads.send(till, device, signed)
        assert (row(device).conflicts, row(signed).conflicts) == (["over-cap"], [])

    def test_of_the_till_hold_over_all_cards(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        till = make_till()
        told = Told(till)
        with policies(per_terminal_fen=900):
            items = [told.charge(pay_code(phone()), 400) for _ in range(3)]
            uploads.send(till, *items)
        assert [row(item).conflicts for item in items] == [[], [], ["over-cap"]]


class TestDeclined:
    def test_is_recorded_and_charges_nothing(
        self, phone: Callable[..., DevicePhone], uploads: Uploads, client: FlaskClient
    ) -> None:
        known, till = phone(), make_till()
        code = pay_code(known)
        item = Told(till).charge(code, state="declined", reason="offline-cap-exceeded")
        assert uploads.outcomes(till, item, item) == [("recorded", None)] * 2
        assert balances(known.holder.id) == (10_000, 0)
        said = client.get(f"{API}/charges/{item['id']}", headers=till.headers).get_json()
        assert (said["state"], said["reason"]) == ("declined", "declined-offline")

    def test_does_not_stand_in_the_way_of_what_happened(
        self, phone: Callable[..., DevicePhone], uploads: Uploads
    ) -> None:
        known, till, other = phone(), make_till(), make_till()
        code = pay_code(known)
        refused = Told(till).charge(code, state="declined", reason="offline-cap-exceeded")
        uploads.send(till, refused)
        assert uploads.outcome(other, Told(other).charge(code)) == "charged"


class TestCallers:
    def test_are_tills_in_service(self, uploads: Uploads, client: FlaskClient) -> None:
        gate, till = make_gate(), make_till()
        answer = client.post(f"{API}/charges/late", json={"items": []}, headers=gate.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "terminal-not-allowed")
        answer = client.post(f"{API}/passages/late", json={"items": []}, headers=till.headers)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "terminal-not-allowed")
        from backend.terminals import service as terminals

        with transaction() as session:
            terminals.revoke(session, terminal_id=till.id, actor=SYSTEM, now=clock.now())
        assert uploads.send(till).status_code == 401
