"""Short codes (短码, type N): 20 digits that say nothing and that nobody signs.

Only the server that made one knows whose it is, so a short code is never accepted offline and
never opens a door. It exists for tills that cannot read more than 64 characters, and for hands.
"""

import hashlib
import re
import secrets

from qr.codes import CodeMalformed

_PREFIX = "960"
_SHAPE = re.compile(_PREFIX + "[0-9]{17}")


def make_short_code() -> str:
    """Return a fresh short code: `960`, 16 random digits and a Luhn check digit."""
    body = _PREFIX + f"{secrets.randbelow(10**16):016d}"
    return body + str(-_luhn_sum(body + "0") % 10)


def is_short_code(text: str) -> bool:
    """Return whether `text` is spelled like a short code; that it stands for a card is not said."""
    return (
        isinstance(text, str) and _SHAPE.fullmatch(text) is not None and _luhn_sum(text) % 10 == 0
    )


def short_code_key(text: str) -> bytes:
    """Return the name of this code that single use is judged by; the code cannot be read from it.

    Raises:
        CodeMalformed: `text` is not a short code.
    """
    if not is_short_code(text):
        raise CodeMalformed
    return b"N" + hashlib.sha256(text.encode("ascii")).digest()[:16]


def _luhn_sum(digits: str) -> int:
    singles = [int(digit) for digit in digits[-1::-2]]
    doubles = [2 * int(digit) for digit in digits[-2::-2]]
    return sum(singles) + sum(sum(divmod(double, 10)) for double in doubles)
