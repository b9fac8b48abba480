"""Chromium, and what a scanner reads off its screen."""

import shutil
import struct
import zlib
from collections.abc import Callable

import pytest
import zxingcpp
from playwright.sync_api import Browser, Locator, Playwright


def launch(playwright: Playwright) -> Browser:
    """Start Chromium, or skip the test."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    return playwright.chromium.launch(
        executable_path=found,
        args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"],
    )


def read_symbols(
    picture: Locator, of: Callable[[zxingcpp.Barcode], str] = lambda found: found.text
) -> list[str]:
    """Decode every bar code and QR code in a screenshot: its text, unless something else of it."""
    width, height, grey = _grey(picture.screenshot())
    image = memoryview(grey).cast("B", shape=[height, width])
    return [of(found) for found in zxingcpp.read_barcodes(image)]


def _grey(png: bytes) -> tuple[int, int, bytes]:
    """Decode a screenshot: 8-bit RGB or RGBA, not interlaced; the green channel is kept."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert depth == 8
    step = {2: 3, 6: 4}[colour]
    packed, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += 12 + length
    raw, row_length = zlib.decompress(packed), width * step
    above, grey = bytearray(row_length), bytearray()
    for y in range(height):
        start = y * (row_length + 1)
        above = _unfilter(
            raw[start], bytearray(raw[start + 1 : start + 1 + row_length]), above, step
        )
        grey += above[1::step]
    return width, height, bytes(grey)


def _unfilter(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    for i in range(len(row) if kind else 0):
        left = row[i - step] if i >= step else 0
        up = above[i]
        corner = above[i - step] if i >= step else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            nearest = left + up - corner
            guess = min((left, up, corner), key=lambda one: abs(nearest - one))
        row[i] = (row[i] + guess) & 255
    return row
