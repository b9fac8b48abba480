import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments._yuan import fen_from_yuan, yuan_from_fen


class TestFenFromYuan:
    @pytest.mark.parametrize(
        ("text", "fen"),
        [
            ("0", 0),
            ("0.01", 1),
            ("0.1", 10),
            ("0.30", 30),
            ("12", 1200),
            ("19.9", 1990),
            ("980.00", 98000),
            ("100000000.00", 10000000000),
        ],
    )
    def test_is_exact(self, text, fen):
        assert fen_from_yuan(text) == fen

    @pytest.mark.parametrize(
        "text",
        [
            *("", " ", ".", "1.", ".5", "1.001", "-1", "+1", "-0", "1e2", "1E2", "0x10", "1_000"),
            *("1,000.00", " 1", "1 ", "1\n", "01", "00.10", "1.2.3", "NaN", "Infinity", "一"),
            *("１２", "1２", "1.２3", "٣", "12345678901", "1.0.", "1.-1", "¥1", "1元", "1\x00"),
        ],
    )
    def test_refuses_anything_else(self, text):
        with pytest.raises(ValueError, match="not an amount"):
            fen_from_yuan(text)


class TestYuanFromFen:
    def test_refuses_less_than_nothing(self):
        with pytest.raises(ValueError, match="never negative"):
            yuan_from_fen(-1)

    @settings(deadline=None)
    @given(st.integers(min_value=0, max_value=10**12 - 1))
    def test_is_read_back_as_it_was(self, amount_fen):
        assert fen_from_yuan(yuan_from_fen(amount_fen)) == amount_fen
