import re
import struct
import zlib

import pytest
import segno
import zxingcpp

from qr import CodeMalformed, Scope, make_short_code
from qr.image import draw_png, draw_svg

WHITE, BLACK = 255, 0


@pytest.fixture(params=["signed", "device", "short"])
def text(request, school, issuer, noon):
    if request.param == "short":
        return make_short_code()
    if request.param == "device":
        return school.phone().shows(noon)
    return issuer.issue(bytes(6), scope=Scope.PAY, issued_at=noon)


def scan(rows):
    """Return the one code that a reader sees in a picture given as rows of grey values."""
    picture = memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))
    (seen,) = zxingcpp.read_barcodes(picture)
    return seen


def rows_of_png(png):
    """Return the grey values of a black and white PNG with the row filters none and up."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + size]
        at += size + 12
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour) == (1, 0), "one bit of grey"
    data, stride = zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8
    rows, above = [], bytes(stride)
    for start in range(0, height * (stride + 1), stride + 1):
        row_filter, row = data[start], data[start + 1 : start + 1 + stride]
        if row_filter == 2:
            row = bytes((byte + upper) % 256 for byte, upper in zip(row, above, strict=True))
        else:
            assert row_filter == 0
        bits = "".join(f"{byte:08b}" for byte in row)[:width]
        rows.append(bytes(WHITE * int(bit) for bit in bits))
        above = row
    return rows


def rows_of_svg(svg, scale=6):
    """Return the grey values of a picture made of horizontal strokes one module thick."""
    (side,) = {int(edge) for edge in re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups()}
    modules = [bytearray([WHITE]) * side for _ in range(side)]
    (strokes,) = re.findall(r'stroke="#000" d="([^"]*)"', svg)
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", strokes):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command == "h":
            for column in range(int(x), int(x + values[0])):
                modules[int(y)][column] = BLACK
            x += values[0]
        elif command == "m":
            x, y = x + values[0], y + values[1]
        else:
            x, y = values
    return [
        bytes(value for value in row for _ in range(scale)) for row in modules for _ in range(scale)
    ]


class TestPng:
    @pytest.mark.parametrize("scale", [2, 8])
    def test_is_read_as_the_same_text(self, text, scale):
        assert scan(rows_of_png(draw_png(text, scale=scale))).text == text

    def test_has_a_white_margin_of_four_modules(self, text):
        rows = rows_of_png(draw_png(text, scale=1))
        assert all(set(row) == {WHITE} for row in rows[:4] + rows[-4:])
        assert all(set(row[:4] + row[-4:]) == {WHITE} for row in rows)
        assert set(rows[4]) == {WHITE, BLACK}
        assert rows[4][4] == BLACK


class TestSvg:
    def test_is_read_as_the_same_text(self, text):
        assert scan(rows_of_svg(draw_svg(text))).text == text

    def test_fills_its_box_black_on_white(self, text):
        svg = draw_svg(text)
        assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox=')
        assert " width=" not in svg
        assert set(re.findall(r"#\w+", svg)) == {"#000", "#fff"}


class TestSize:
    def test_a_signed_code_is_45_modules_wide(self, issuer, noon):
        text = issuer.issue(bytes(6), scope=Scope.PAY, issued_at=noon)
        assert len(rows_of_png(draw_png(text, scale=1))) == 45 + 8

    def test_a_short_code_is_21_modules_wide(self):
        assert len(rows_of_png(draw_png(make_short_code(), scale=1))) == 21 + 8

    def test_a_device_code_is_53_modules_wide(self, school, noon):
        text = school.phone().shows(noon)
        assert len(rows_of_png(draw_png(text, scale=1))) == 53 + 8

    @pytest.mark.parametrize(
        ("digits", "error", "version", "spare"),
        [(201, "q", 7, 6), (201, "m", 5, 1), (430, "m", 9, 2)],
    )
    def test_leaves_these_digits_of_its_version(self, digits, error, version, spare):
        """The margins are part of the format: whoever adds a byte must see this fail."""
        versions = [
            segno.make("9" * length, mode="numeric", error=error, boost_error=False).version
            for length in (digits, digits + spare, digits + spare + 1)
        ]
        assert versions == [version, version, version + 1]

    def test_is_that_of_every_code_of_its_kind(self, school, issuer, noon):
        assert len(issuer.issue(bytes(6), scope=Scope.PAY, issued_at=noon)) == 201
        for serial in (0, 2**32 - 1):
            assert len(school.phone(serial).shows(noon)) == 430

    def test_is_drawn_with_one_mask_and_the_level_asked_for(self, text):
        level = "M" if len(text) == 430 else "Q"
        assert scan(rows_of_png(draw_png(text))).ec_level == level
        # Bits 2 to 4 of the format information, beside the upper left finder, unmasked by 101.
        modules = rows_of_png(draw_png(text, scale=1))
        mask = [int(modules[4 + 8][4 + column] == BLACK) for column in (2, 3, 4)]
        assert [bit ^ flip for bit, flip in zip(mask, (1, 0, 1), strict=True)] == [0, 1, 1]


class TestRefusal:
    @pytest.mark.parametrize(
        "text", ["", "1234", "hello", "9" * 20, "9" * 201, "9" * 430, "962" + "9" * 427, None]
    )
    def test_draws_card_codes_only(self, text):
        with pytest.raises(CodeMalformed):
            draw_svg(text)
        with pytest.raises(CodeMalformed):
            draw_png(text)
