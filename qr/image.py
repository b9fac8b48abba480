"""A card code as a picture (二维码): for the kiosk, the console and print. Needs segno.

Phones draw for themselves. Q corrects the most glare that still leaves a signed code in version 7,
45 modules wide; a device code would grow too fine for it and takes M, version 9, 53 modules. The
mask is fixed because choosing one costs five times the drawing and gains nothing on random bytes.
"""

import io

import segno

from qr.device import is_device_text, read_device
from qr.short import is_short_code
from qr.signed import read_signed

_COLOURS = {"dark": "#000", "light": "#fff"}  # never the page's: a dark quiet zone is not read
_QUIET_ZONE = 4


def draw_svg(text: str) -> str:
    """Return the picture of a card code as an SVG element that fills its box.

    Show it at least 240 pixels wide.

    Raises:
        CodeMalformed: `text` is not a card code.
    """
    svg = io.BytesIO()
    _encode(text).save(
        svg,
        kind="svg",
        border=_QUIET_ZONE,
        xmldecl=False,
        omitsize=True,
        svgclass=None,
        lineclass=None,
        nl=False,
        **_COLOURS,
    )
    return svg.getvalue().decode("utf-8")


def draw_png(text: str, *, scale: int = 8) -> bytes:
    """Return the picture of a card code as a PNG file.

    Args:
        text: the code.
        scale: pixels per module; 8 makes a signed code 424 pixels wide with its quiet zone.

    Raises:
        CodeMalformed: `text` is not a card code.
    """
    png = io.BytesIO()
    _encode(text).save(png, kind="png", border=_QUIET_ZONE, scale=scale, **_COLOURS)
    return png.getvalue()


def _encode(text: str) -> segno.QRCode:
    error = "q"
    if is_device_text(text):
        read_device(text)
        error = "m"
    elif not is_short_code(text):
        read_signed(text)
    return segno.make(text, mode="numeric", error=error, boost_error=False, micro=False, mask=3)
