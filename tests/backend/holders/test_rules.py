"""How people are named, numbered and limited."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.holders.documents import document_fault
from backend.holders.rules import (
    LIMIT_NAMES,
    limits_on,
    lower_now,
    masked_name,
    masked_number,
    normal_name,
)
from backend.sealing import normal_document

TODAY = date(2026, 9, 1)
limits = st.fixed_dictionaries(
    {name: st.none() | st.integers(0, 10_000_000) for name in LIMIT_NAMES}
)


def at_most(one: int | None, other: int | None) -> bool:
    """Say whether one limit is as tight as the other; None is the widest."""
    return other is None or (one is not None and one <= other)


class TestNormalName:
    @pytest.mark.parametrize("dot", "·•・‧．.")
    def test_knows_one_kind_of_middle_dot(self, dot: str) -> None:
        assert normal_name(f"买买提{dot}艾力") == normal_name("买买提·艾力")

    @pytest.mark.parametrize(
        ("one", "other"),
        [("王 小明", "王小明"), ("Anna Li", "ANNA LI"), ("Ａｎｎａ", "anna"), ("㐂", "㐂")],
    )
    def test_forgives_gaps_width_and_case(self, one: str, other: str) -> None:
        assert normal_name(one) == normal_name(other)

    @pytest.mark.parametrize(("one", "other"), [("王小明", "王晓明"), ("李四", "李"), ("吕", "呂")])
    def test_tells_people_apart(self, one: str, other: str) -> None:
        assert normal_name(one) != normal_name(other)

    @given(st.text())
    def test_is_the_same_twice(self, name: str) -> None:
        assert normal_name(normal_name(name)) == normal_name(name)


class TestMaskedName:
    @given(st.text(min_size=1))
    def test_shows_the_first_character_and_no_other(self, name: str) -> None:
        masked = masked_name(name)
        assert masked[0] == name[0]
        assert set(masked[1:]) == {"*"}
        assert 2 <= len(masked) <= 4


class TestMaskedNumber:
    @given(st.from_regex(r"[0-9]{5,32}", fullmatch=True))
    def test_shows_the_last_four(self, number: str) -> None:
        assert masked_number(number) == "*" * (len(number) - 4) + number[-4:]


class TestDocumentFault:
    @pytest.mark.parametrize(
        "number",
        ["11010519491231002X", "11010519491231002x", "１１０１０５１９４９１２３１００２Ｘ"],
    )
    def test_takes_a_resident_identity_card(self, number: str) -> None:
        assert document_fault(normal_document(number)) is None

    @pytest.mark.parametrize("place", range(18))
    def test_finds_one_wrong_digit_anywhere(self, place: int) -> None:
        right = "11010519491231002X"
        wrong = right[:place] + str((int(right[place], 36) + 1) % 10) + right[place + 1 :]
        assert document_fault(wrong) == "the check digit is wrong"

    @pytest.mark.parametrize("place", range(16))
    def test_finds_two_digits_swapped(self, place: int) -> None:
        right = "11010519491231002X"
        swapped = right[:place] + right[place + 1] + right[place] + right[place + 2 :]
        fault = "the check digit is wrong" if swapped != right else None
        assert document_fault(swapped) == fault

    @pytest.mark.parametrize("number", ["E12345678", "H1234567800", "110105491231002", "ABC123"])
    def test_takes_passports_permits_and_old_cards(self, number: str) -> None:
        assert document_fault(number) is None

    @pytest.mark.parametrize("number", ["", "12345", "9" * 21, "证件号码不详啊", "፩" * 18, "①" * 5])
    def test_refuses_what_is_no_document(self, number: str) -> None:
        assert document_fault(number) == "not a document number"


class TestLowerNow:
    @given(limits, limits)
    def test_never_lifts_a_limit_at_once(
        self, present: dict[str, int | None], wanted: dict[str, int | None]
    ) -> None:
        at_once, tomorrow = lower_now(present, wanted)
        for name in LIMIT_NAMES:
            assert at_most(at_once[name], present[name])
            assert at_once[name] in (present[name], wanted[name])
        assert (tomorrow or at_once) == wanted

    @given(limits, limits)
    def test_lowers_at_once(
        self, present: dict[str, int | None], wanted: dict[str, int | None]
    ) -> None:
        at_once, _ = lower_now(present, wanted)
        for name in LIMIT_NAMES:
            if wanted[name] is not None and at_most(wanted[name], present[name]):
                assert at_once[name] == wanted[name]


class TestLimitsOn:
    RAISED = {"from": "2026-09-02", "per_charge_fen": 500, "per_day_fen": None}  # noqa: RUF012
    PRESENT = {"per_charge_fen": 100, "per_day_fen": 900}  # noqa: RUF012

    def test_a_raised_limit_waits_for_its_day(self) -> None:
        assert limits_on(TODAY, present=self.PRESENT, raised=self.RAISED) == self.PRESENT

    def test_a_raised_limit_holds_from_its_day_on(self) -> None:
        for days in (1, 2, 400):
            day = TODAY + timedelta(days=days)
            assert limits_on(day, present=self.PRESENT, raised=self.RAISED) == {
                "per_charge_fen": 500,
                "per_day_fen": None,
            }
