"""Policies as dated rows: what held when, and which row said so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.policies.models import Policy
from backend.policies.rules import PRESETS
from backend.policies.service import adopt_preset, policies_at

pytestmark = pytest.mark.usefixtures("app")
KEY = "card.restore_channels"
LATER = datetime(2031, 9, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def session(app: object, owner: Engine) -> Iterator[Session]:
    """The owner's session, whose changes nobody else sees, as policies hold for everybody."""
    with Session(owner) as session:
        yield session
        session.rollback()


class TestPresets:
    def test_standard_names_every_key(self) -> None:
        for preset in PRESETS.values():
            assert preset.keys() <= PRESETS["standard"].keys()

    def test_the_regulation_leaves_restoring_to_counter_and_kiosk(self) -> None:
        assert PRESETS["regulation"] == {KEY: ["counter", "kiosk"]}
        assert "mini_program" in PRESETS["standard"][KEY]

    def test_money_is_whole_fen(self) -> None:
        for preset in PRESETS.values():
            for key, value in preset.items():
                assert not isinstance(value, float), key


class TestAdoptPreset:
    def test_holds_from_its_moment_on(self, session: Session) -> None:
        before = policies_at(session, LATER - SECOND)
        adopt_preset(session, "regulation", document_number="校办〔2031〕1号", now=LATER)
        session.flush()
        assert policies_at(session, LATER - SECOND) == before
        assert policies_at(session, LATER)[KEY] == ["counter", "kiosk"]

    def test_leaves_alone_what_it_does_not_change(self, session: Session) -> None:
        before = policies_at(session, LATER)
        adopt_preset(session, "regulation", document_number="test", now=LATER)
        session.flush()
        after = policies_at(session, LATER)
        changed = {key for key in before.ids if before.ids[key] != after.ids[key]}
        assert changed == {KEY}
        assert after.values.keys() == PRESETS["standard"].keys()

    def test_a_second_time_changes_nothing(self, session: Session) -> None:
        adopt_preset(session, "regulation", document_number="test", now=LATER)
        session.flush()
        first = policies_at(session, LATER + SECOND)
        adopt_preset(session, "regulation", document_number="test", now=LATER + SECOND)
        session.flush()
        assert policies_at(session, LATER + SECOND) == first

    def test_every_row_names_its_paper(self, session: Session) -> None:
        adopt_preset(session, "regulation", document_number="校办〔2031〕1号", now=LATER)
        session.flush()
        row_id = policies_at(session, LATER).used(KEY)[0]
        assert session.get_one(Policy, row_id).document_number == "校办〔2031〕1号"

    def test_never_leaves_two_rows_in_force(self, session: Session) -> None:
        for number, name in enumerate(["regulation", "standard", "regulation"]):
            adopt_preset(session, name, document_number="test", now=LATER + number * SECOND)
            session.flush()
        for offset in range(5):
            moment = LATER + offset * SECOND
            keys = session.scalars(
                select(Policy.key).where(
                    Policy.valid_from <= moment,
                    Policy.valid_until.is_(None) | (Policy.valid_until > moment),
                )
            ).all()
            assert sorted(keys) == sorted(PRESETS["standard"])


class TestPoliciesAt:
    def test_before_the_first_paper_nothing_holds(self, session: Session) -> None:
        assert policies_at(session, datetime(2000, 1, 1, tzinfo=UTC)).values == {}

    def test_used_names_rows_in_the_order_asked(self, session: Session) -> None:
        policies = policies_at(session, LATER)
        keys = sorted(PRESETS["standard"], reverse=True)
        assert policies.used(*keys) == [policies.ids[key] for key in keys]
        with pytest.raises(KeyError):
            policies.used("no.such.key")

    @pytest.mark.parametrize("period", [timedelta(0), -SECOND])
    def test_a_period_has_a_length(self, session: Session, period: timedelta) -> None:
        session.add(
            Policy(
                id=new_id(),
                key="test.period",
                value=1,
                document_number="test",
                valid_from=LATER,
                valid_until=LATER + period,
            )
        )
        with pytest.raises(IntegrityError, match="ck_policies_period"):
            session.flush()
