import pytest
from hypothesis import given
from hypothesis import strategies as st

from qr import CodeMalformed, is_short_code, make_short_code, short_code_key


class TestShortCode:
    def test_has_twenty_digits_and_its_prefix(self):
        for _ in range(500):
            code = make_short_code()
            assert len(code) == 20
            assert code.startswith("960")
            assert is_short_code(code)

    def test_is_not_made_twice(self):
        assert len({make_short_code() for _ in range(500)}) == 500

    def test_survives_no_wrong_digit(self):
        code = make_short_code()
        for place in range(20):
            for digit in "0123456789":
                if digit != code[place]:
                    assert not is_short_code(code[:place] + digit + code[place + 1 :])

    @given(text=st.text("0123456789", max_size=21) | st.sampled_from([None, 960, b"960"]))
    def test_is_nothing_else(self, text):
        assert not is_short_code(text)
        with pytest.raises(CodeMalformed):
            short_code_key(text)

    def test_cannot_be_read_from_its_key(self):
        code = make_short_code()
        key = short_code_key(code)
        assert len(key) == 17
        assert key.startswith(b"N")
        assert code.encode() not in key
        assert key == short_code_key(code)
