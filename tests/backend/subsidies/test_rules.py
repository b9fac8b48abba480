"""Reading lists of subsidies."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.subsidies.rules import ListUnreadable, Row, parse_fen, parse_yuan, read_csv


class TestReadCsv:
    def test_yuan_and_fen_in_either_language_and_order(self) -> None:
        wanted = [Row(2, "2026001", 1250), Row(4, "2026002", None)]
        assert read_csv("学工号,金额\n2026001,12.5\n\n2026002,x") == wanted
        assert read_csv("\ufeffamount_fen,note,holder_number\n1250,,2026001\n,,\n,x,2026002") == [
            Row(2, "2026001", 1250),
            Row(4, "2026002", None),
        ]

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("", "empty"),
            ("学工号,金额", "empty"),
            ("学工号,金额\n,\n", "empty"),
            ("学号,金额\n1,2", "heads"),
            ("学工号\n1", "heads"),
            ("学工号,金额\n" + "1,2\n" * 20_001, "long"),
            ("学工号,金额\n" + "9" * 200_000 + ",1", "csv"),
        ],
    )
    def test_what_is_no_list(self, content: str, fault: str) -> None:
        with pytest.raises(ListUnreadable) as refused:
            read_csv(content)
        assert refused.value.fault == fault

    @given(st.text(max_size=200))
    def test_reads_or_refuses_whatever_comes(self, content: str) -> None:
        for text in (content, "学工号,金额\n" + content):
            with contextlib.suppress(ListUnreadable):
                assert all(isinstance(row, Row) for row in read_csv(text))


class TestAmounts:
    @given(st.integers(0, 10**9 - 1))
    def test_yuan_is_exact(self, fen: int) -> None:
        assert parse_yuan(f"{fen // 100}.{fen % 100:02d}") == fen
        assert parse_fen(str(fen)) == fen

    @pytest.mark.parametrize(
        "text", ["", "-1", "1e3", "1.005", "１２", "1,000", " 1", "1\n", "NaN"]
    )
    def test_what_is_no_amount(self, text: str) -> None:
        assert parse_yuan(text) is None
        assert parse_fen(text.replace(".", "")) is None or text == "1.005"
