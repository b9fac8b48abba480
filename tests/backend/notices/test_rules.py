"""A template's fields: whatever a notice says, WeChat takes what is written."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.notices.rules import (
    FITS,
    SAYINGS,
    WORDINGS,
    FieldUnfit,
    faults_of,
    field_type,
    fill_template,
)
from payments.sandbox.messages import _FIELDS as TAKEN
from payments.sandbox.templates import TEMPLATES, configured

AT = datetime(2026, 11, 25, 4, 5, 6, tzinfo=UTC)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "amount_fen": st.integers(-10, 10**13) | st.none(),
        "total_fen": st.integers(0, 10**12),
        "balance_fen": st.integers(0, 10**11) | st.booleans() | st.text(),
        "arrears_fen": st.integers(0, 10**11),
        "place": st.text(max_size=60) | st.none() | st.integers(),
        "reference": st.text(max_size=60),
    },
)
MOMENTS = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class TestFillTemplate:
    @given(
        field=st.builds("{}{}".format, st.sampled_from(sorted(FITS)), st.integers(1, 30)),
        word=st.sampled_from(sorted(SAYINGS)),
        kind=st.sampled_from(sorted(WORDINGS)),
        told=st.tuples(FACTS, MOMENTS),
    )
    def test_writes_what_wechat_takes_or_nothing(
        self, field: str, word: str, kind: str, told: tuple[dict[str, Any], datetime]
    ) -> None:
        facts, at = told
        try:
            filled = fill_template({field: word}, kind=kind, facts=facts, at=at)
        except FieldUnfit:
            return
        assert filled.keys() == {field}
        pattern = TAKEN.get(field_type(field))
        assert pattern is None or pattern.fullmatch(filled[field]), filled
        assert 0 < utf16_length(filled[field]) <= (20 if field.startswith("thing") else 32)

    @given(
        word=st.sampled_from(["text", "state", "place", "at"]),
        kind=st.sampled_from(sorted(WORDINGS)),
        facts=FACTS,
    )
    def test_always_has_these_to_say(self, word: str, kind: str, facts: dict[str, Any]) -> None:
        field = "time1" if word == "at" else "thing1"
        assert fill_template({field: word}, kind=kind, facts=facts, at=AT)[field]

    @given(fen=st.integers(0, 99_999_999_99))
    def test_says_every_amount_to_the_fen(self, fen: int) -> None:
        said = fill_template(
            {"amount1": "amount"}, kind="top-up-paid", facts={"amount_fen": fen}, at=AT
        )["amount1"]
        yuan, rest = said.removesuffix("元").split(".")
        assert int(yuan) * 100 + int(rest) == fen

    @pytest.mark.parametrize("fen", [-1, 100_000_000_00, None, True, 1.5, "12"])
    def test_refuses_an_amount_that_is_none(self, fen: object) -> None:
        with pytest.raises(FieldUnfit):
            fill_template(
                {"amount1": "amount"}, kind="top-up-paid", facts={"amount_fen": fen}, at=AT
            )

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ("第一食堂 3 号窗", "第一食堂 3 号窗"),
            ("一" * 20, "一" * 20),
            ("一" * 21, "一" * 19 + "…"),
            ("𱍐" * 10, "𱍐" * 10),
            ("𱍐" * 11, "𱍐" * 9 + "…"),
            ("  第一\n食堂\u202e ", "第一 食堂"),
            ("\n", "校园卡消费"),
            (None, "校园卡消费"),
        ],
    )
    def test_cuts_a_text_as_wechat_counts(self, place: str | None, said: str) -> None:
        facts = {} if place is None else {"place": place}
        filled = fill_template({"thing1": "place"}, kind="charge-approved", facts=facts, at=AT)
        assert filled == {"thing1": said}

    def test_tells_the_time_of_the_school(self) -> None:
        filled = fill_template({"time1": "at"}, kind="card-lost", facts={}, at=AT)
        assert filled == {"time1": "2026年11月25日 12:05"}

    def test_says_no_more_of_a_surcharged_meal_than_what_was_paid(self) -> None:
        facts = {"amount_fen": 1000, "surcharge_fen": 100, "total_fen": 1100}
        filled = fill_template({"amount1": "amount"}, kind="charge-late", facts=facts, at=AT)
        assert filled == {"amount1": "11.00元"}

    @pytest.mark.parametrize("fields", [{"picture1": "text"}, {"thing1": "name"}, {"thing": "x"}])
    def test_refuses_what_is_not_known(self, fields: dict[str, str]) -> None:
        with pytest.raises(FieldUnfit):
            fill_template(fields, kind="card-lost", facts={}, at=AT)
        assert len(faults_of(fields)) == 1


class TestWordings:
    @pytest.mark.parametrize("kind", sorted(WORDINGS))
    def test_fit_uncut(self, kind: str) -> None:
        wording = WORDINGS[kind]
        filled = fill_template({"phrase1": "state", "thing2": "text"}, kind=kind, facts={}, at=AT)
        assert filled == {"phrase1": wording.state, "thing2": wording.text}
        assert re.fullmatch(r"pages/[a-z]+/index", wording.page)


class TestDemo:
    def test_fills_every_template_that_it_configures(self) -> None:
        facts = {"amount_fen": 1, "balance_fen": 2, "arrears_fen": 3}
        for kind, template in configured().items():
            assert faults_of(template.fields) == []
            filled = fill_template(
                template.fields, kind=kind, facts=facts, at=AT + timedelta(hours=1)
            )
            assert filled.keys() == set(TEMPLATES[template.id].fields)
