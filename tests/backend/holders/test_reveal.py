"""A full name is shown only after the operation log has it (O5)."""

from datetime import timedelta

import pytest
from factories import keys_of, make_operator, make_person, sign_in
from flask import Flask
from sqlalchemy import Engine, func, select, text

from backend import clock
from backend.console.access import COOKIE
from backend.db import transaction
from backend.holders import viewing
from backend.http.parts import Parts
from backend.operation_log.models import LogEntry
from backend.operators.limits import OperatorLimit
from backend.operators.models import Role
from backend.operators.service import ConfirmationNeeded, RoleNotAllowed

REFUSES = """
CREATE FUNCTION refuse_reveals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.action = 'holder.reveal' THEN RAISE EXCEPTION 'no row'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_reveals BEFORE INSERT ON operation_log
    FOR EACH ROW EXECUTE FUNCTION refuse_reveals();
"""


class TestReveal:
    def open(self, app: Flask, parts: Parts, holder_id: object) -> tuple[int, str]:
        client = app.test_client()
        token = sign_in(parts, Role.CARD_CENTRE)["Authorization"].removeprefix("Bearer ")
        client.set_cookie(COOKIE, token, path="/console")
        page = client.get(f"/console/holders/{holder_id}").text
        form_token = page.partition('name="form_token" value="')[2][:64]
        answer = client.post(
            f"/console/holders/{holder_id}/reveal",
            data={"form_token": form_token, "reason": "called"},
        )
        return answer.status_code, answer.text

    def test_shows_the_name(self, app: Flask, parts: Parts) -> None:
        person = make_person(parts, name="欧阳修文")
        status, page = self.open(app, parts, person.id)
        assert (status, person.name in page) == (200, True)

    def test_shows_nothing_without_a_row(self, app: Flask, parts: Parts, owner: Engine) -> None:
        person = make_person(parts, name="欧阳修武")
        with owner.begin() as connection:
            connection.execute(text(REFUSES))
        try:
            status, page = self.open(app, parts, person.id)
        finally:
            with owner.begin() as connection:
                connection.execute(text("DROP FUNCTION refuse_reveals CASCADE"))
        assert (status >= 500, person.name in page) == (True, False)

    def test_is_for_two_roles_with_a_fresh_code(self, parts: Parts) -> None:
        person, now = make_person(parts), clock.now()
        finance, centre = (make_operator(parts, r) for r in (Role.FINANCE, Role.CARD_CENTRE))
        for who, at, refusal in (
            (finance, now, RoleNotAllowed),
            (centre, now + timedelta(minutes=6), ConfirmationNeeded),
        ):
            with pytest.raises(refusal), transaction() as session:
                viewing.reveal(session, holder_id=person.id, reason="called", caller=who, now=at)
        with transaction() as session:
            seen = select(func.count()).where(
                LogEntry.action == viewing.REVEAL, LogEntry.holder_id == person.id
            )
            assert session.scalar(seen) == 0

    def test_has_a_days_limit(self, parts: Parts) -> None:
        person, who, now = make_person(parts), make_operator(parts, Role.AUDITOR), clock.now()
        for _ in range(30):
            with transaction() as session:
                viewing.reveal(session, holder_id=person.id, reason="case", caller=who, now=now)
        with transaction() as session:
            for used in session.scalars(
                select(LogEntry.policy_ids).where(
                    LogEntry.action == viewing.REVEAL, LogEntry.holder_id == person.id
                )
            ):
                assert keys_of(session, used or []) == {"operator.auditor.daily_reveals"}
        with pytest.raises(OperatorLimit) as refused, transaction() as session:
            viewing.reveal(session, holder_id=person.id, reason="case", caller=who, now=now)
        assert refused.value.facts == {"limit": "daily_reveals", "most": 30}
