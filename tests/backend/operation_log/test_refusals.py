"""What is refused is on record: once, with who, what, and the reference that was shown."""

import ast
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from factories import make_holder, make_person, make_terminal, make_till, sign_in
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from backend import clock, console
from backend.cards.models import CardKind
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, find_card
from backend.db import transaction
from backend.errors import DomainError
from backend.holders.models import HolderSession
from backend.http import operations
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operation_log import refusals, service
from backend.operation_log.models import LogEntry
from backend.operation_log.refusals import operation_of
from backend.operators.models import Role
from backend.policies.service import policies_at
from backend.sealing import token_hash
from backend.terminals.models import TerminalKind

RECORDED_OTHERWISE = {
    "charges.create_charge": "a scan: a row of `charges`, also when it is declined",
    "passages.decide_passage": "a scan: a row of `passages`, also when it is denied",
    "charges.upload_charges": "each item is a row of `late_uploads`",
    "passages.upload_passages": "each item is a row of `late_uploads`",
    "callbacks.receive_wechat_notice": "each notice is a row of its inbox",
    "callbacks.receive_alipay_notice": "each notice is a row of its inbox",
}
NOTHING_TO_RECORD = {
    "sessions.create_session": "a platform's login proves an account, and does nothing",
    "own-session.delete_session": "cannot be refused to whoever has the session",
    "operator-sessions.delete_operator_session": "cannot be refused to whoever has the session",
    "codes.issue_codes": "four times a minute from every phone; the use of a code is recorded",
    "delegations.make_challenge": "a question; what is granted is recorded",
    "top-ups.sync_top_up": "asks the channel; what comes of it is recorded",
    "terminals.heartbeat": "every 30 seconds from every terminal",
    "staff-gates.try_gate_access": "writes nothing",
    "cash-desk.look_up_holder": "writes nothing but who looked",
    "inbox.read_notices": "how far somebody has read",
    "inbox.put_message_consent": "a row of its own, and nothing of a card or of money",
    "staff-log.search_log": "writes nothing",
    "staff-log.verify_log": "writes nothing",
    "console.language": "a cookie",
    "console.nowhere": "no operation",
    "console.search.search": "writes nothing",
    "console.cash-desk.find_holder": "writes nothing but who looked",
    "console.cash-desk.confirm": "writes nothing",
    "console.gates.try_out": "writes nothing",
    "console.log.show": "writes nothing",
    "console.log.verify": "writes nothing",
    "console.roster.check": "writes nothing",
    "console.applications.check": "writes nothing",
    "console.applications.change": "writes nothing",
    "console.departures.change": "writes nothing",
    "console.closings.preview": "writes nothing",
    "console.departures.preview": "writes nothing",
    "console.departures.preview_switch": "writes nothing",
    "console.graduates.preview": "writes nothing",
    "console.subsidies.check": "writes nothing",
    "console.subsidies.search": "writes nothing",
    "console.sign-out.sign_out": "cannot be refused to whoever is signed in",
}


def entries(**wanted: object) -> list[LogEntry]:
    """Return the entries with these values, the oldest first."""
    query = select(LogEntry).order_by(LogEntry.at, LogEntry.id)
    for name, value in wanted.items():
        query = query.where(getattr(LogEntry, name) == value)
    with transaction() as session:
        return list(session.scalars(query))


class TestDeclarations:
    def test_every_route_that_changes_something_says_what_it_is(self, app: Flask) -> None:
        silent = {
            rule.endpoint
            for rule in app.url_map.iter_rules()
            if (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
            and not rule.rule.startswith("/sandbox/")
            and operation_of(app, rule.endpoint) is None
        }
        explained = RECORDED_OTHERWISE | NOTHING_TO_RECORD
        assert silent - set(explained) == set(), "declare it with @logged, or explain it above"
        assert set(explained) - silent == set()

    def test_name_arguments_that_the_routes_have(self, app: Flask) -> None:
        for rule in app.url_map.iter_rules():
            operation = operation_of(app, rule.endpoint)
            if operation is not None:
                named = {operation.subject, operation.holder} - {None}
                assert named <= rule.arguments, rule.endpoint

    def test_pages_that_answer_a_refusal_themselves_tell_it(self) -> None:
        """What a page catches does not come by `refuse`, which keeps it for the log."""
        refusals_ = {error.__name__ for error in DomainError.by_code.values()} | {"DomainError"}
        for path in Path(console.__file__).parent.glob("*.py"):
            handlers = [
                node for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ExceptHandler) and node.type is not None
            ]  # fmt: skip
            caught = {
                name.id for handler in handlers if handler.type is not None
                for name in ast.walk(handler.type) if isinstance(name, ast.Name)
            }  # fmt: skip
            told = {"tell(error)", "again(error"}  # the latter is `forms.again`, which tells it
            assert not caught & refusals_ or any(word in path.read_text() for word in told), path


class TestRecord:
    def test_tells_who_what_and_the_reference_that_was_shown(
        self, app: Flask, parts: Parts
    ) -> None:
        holder, id_ = make_holder(parts), new_id()
        answer = app.test_client().put(
            f"/api/v1/me/restorations/{id_}",
            json={"document_last_six": holder.document[-6:]},
            headers=holder.headers,
        )
        assert answer.status_code == 409
        [entry] = entries(subject_id=id_)
        said = answer.get_json(force=True)
        assert (entry.outcome, entry.reference) == (said["code"], said["reference"])
        assert (entry.action, entry.channel) == ("card.restore", "mini_program")
        assert (entry.actor, entry.holder_id) == (f"holder:{holder.id}", holder.id)
        assert holder.document[-6:] not in repr(vars(entry))

    def test_tells_the_policy_that_decided(self, app: Flask, parts: Parts) -> None:
        """The login is older than the step-up allows: the policy says how old it may be."""
        holder, id_ = make_holder(parts), new_id()
        with transaction() as session:
            session.execute(
                update(HolderSession)
                .where(HolderSession.token_hash == token_hash(holder.token))
                .values(created_at=clock.now() - timedelta(minutes=10))
            )
            policy = policies_at(session, clock.now()).ids["restore.step_up_minutes"]
        app.test_client().put(
            f"/api/v1/me/restorations/{id_}",
            json={"document_last_six": "123456"},
            headers=holder.headers,
        )
        [entry] = entries(subject_id=id_)
        assert (entry.outcome, entry.policy_ids) == ("step-up-required", [str(policy)])

    def test_names_the_holder_whom_a_kiosk_found(self, app: Flask, parts: Parts) -> None:
        person, kiosk, id_ = make_person(parts), make_terminal(TerminalKind.KIOSK), new_id()
        path = f"/api/v1/kiosk/loss-reports/{id_}"
        with transaction() as session:
            card = find_card(session, holder_id=person.id, kind=CardKind.PHYSICAL)
            assert card is not None
            change_state(
                session, card=card, event=CardEvent.FREEZE, actor=service.SYSTEM, now=clock.now()
            )
            number = card.number
        answer = app.test_client().put(path, json={"card_number": number}, headers=kiosk.headers)
        assert answer.status_code == 409
        [entry] = entries(subject_id=id_)
        assert (entry.holder_id, entry.channel) == (person.id, "kiosk")
        assert entry.actor == f"terminal:{kiosk.id}"

    def test_holds_what_a_role_does_not_cover(self, app: Flask, parts: Parts) -> None:
        till = make_till()
        headers = sign_in(parts, Role.AUDITOR)
        answer = app.test_client().delete(f"/api/v1/staff/terminals/{till.id}", headers=headers)
        assert answer.status_code == 403
        [entry] = entries(subject_id=till.id, outcome="role-not-allowed")
        assert entry.action == "terminal.revoke"
        assert entry.actor.startswith("operator:")

    def test_is_beside_what_was_rolled_back(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        before = len(entries(holder_id=holder.id))
        answer = app.test_client().put(
            f"/api/v1/me/top-ups/{new_id()}",
            json={"channel": "wechat", "amount_fen": 1},
            headers=holder.headers,
        )
        assert answer.status_code >= 400
        [*_, last] = entries(holder_id=holder.id)
        assert len(entries(holder_id=holder.id)) == before + 1
        assert (last.action, last.outcome) == (
            "top_up.order", answer.get_json(force=True)["code"],
        )  # fmt: skip

    def test_a_failed_login_is_nobodys(self, app: Flask) -> None:
        said = {"username": secrets.token_hex(4), "password": "x", "totp": "000000"}
        answer = app.test_client().post("/api/v1/staff/sessions", json=said)
        [entry] = entries(reference=answer.get_json(force=True)["reference"])
        assert (entry.actor, entry.action, entry.outcome) == (
            "nobody", "operator.log_in", "operator-not-known",
        )  # fmt: skip
        assert said["username"] not in repr(vars(entry))


class TestNotRecorded:
    def test_scans_have_records_of_their_own(self, app: Flask) -> None:
        till, id_ = make_till(), new_id()
        answer = app.test_client().put(
            f"/api/v1/charges/{id_}", json={"code": "1", "amount_fen": 5}, headers=till.headers
        )
        assert answer.get_json(force=True)["code"] == "code-malformed"
        assert entries(subject_id=id_) == []
        assert entries(actor=f"terminal:{till.id}", outcome="code-malformed") == []

    def test_strangers_did_nothing(self, app: Flask) -> None:
        id_ = new_id()
        answer = app.test_client().put(
            f"/api/v1/me/loss-reports/{id_}",
            json={"credential": "phone"},
            headers={"Authorization": "Bearer nobody"},
        )
        assert answer.status_code == 401
        assert entries(subject_id=id_) == []

    def test_a_body_that_does_not_fit_is_no_operation(self, app: Flask, parts: Parts) -> None:
        holder, id_ = make_holder(parts), new_id()
        path = f"/api/v1/me/loss-reports/{id_}"
        assert app.test_client().put(path, json={}, headers=holder.headers).status_code == 422
        assert entries(subject_id=id_) == []

    def test_a_flood_is_written_up_to_a_bound(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        client = app.test_client()
        for _ in range(refusals.MOST_AN_HOUR + 5):
            answer = client.delete(f"/api/v1/me/delegations/{new_id()}", headers=holder.headers)
            assert answer.status_code == 404
        found = entries(holder_id=holder.id, action="card.give_up_delegation")
        assert len(found) in (refusals.MOST_AN_HOUR, 2 * refusals.MOST_AN_HOUR)  # at the full hour
        marked = [entry for entry in found if entry.facts]
        assert [entry.facts for entry in marked[:1]] == [{"more_this_hour_are_not_written": True}]

    def test_a_morning_of_bindings_is_no_flood(self, app: Flask) -> None:
        """Phones that are nobody's yet bear one name, all of them."""
        client = app.test_client()
        said = {
            "holder_number": "0", "name": "某人", "document_number": "000000", "terms_version": "1",
        }  # fmt: skip
        before = len(entries(actor="unbound", outcome="identity-not-matched"))
        for number in range(refusals.MOST_AN_HOUR + 5):
            login = {"platform": "wechat", "code": f"morning {number} {new_id()}"}
            token = client.post("/api/v1/sessions", json=login).get_json()["token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.put(
                "/api/v1/me/binding", json=said | {"holder_number": f"x{number}"}, headers=headers
            )
            assert answer.get_json()["code"] == "identity-not-matched"
        after = len(entries(actor="unbound", outcome="identity-not-matched"))
        assert after - before == refusals.MOST_AN_HOUR + 5


class TestDatabaseAway:
    def test_the_refusal_is_told_all_the_same(
        self, app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: object, **__: object) -> None:
            raise OperationalError("insert", {}, Exception("away"))

        holder, id_ = make_holder(parts), new_id()
        monkeypatch.setattr(service, "record", away)
        counter = operations.NOT_LOGGED.labels("failed")
        before = counter._value.get()
        answer = app.test_client().delete(f"/api/v1/me/delegations/{id_}", headers=holder.headers)
        assert answer.status_code == 404
        assert counter._value.get() == before + 1
