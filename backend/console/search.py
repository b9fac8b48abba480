"""One box that finds holders by number or name, and decisions by their reference.

What is searched for may be a name, so it travels in the form, never in an address.
"""

from flask import Blueprint, render_template, request

from backend.cases import service as cases
from backend.charges import service as charges
from backend.console import access
from backend.db import transaction
from backend.gates import service as gates
from backend.holders import viewing
from backend.http.fields import PLAIN_TEXT
from backend.ids import REFERENCE_LETTERS
from backend.operators.models import Role

MOST = 20
LONGEST = 64
REFERENCE_LENGTH = 8
SEE_PASSAGES = (Role.CARD_CENTRE, Role.AUDITOR)

blueprint = Blueprint("search", __name__, url_prefix="/search")


@blueprint.get("")
def show() -> str:
    """Show the box."""
    return render_template("console/search.html", wanted=None)


@blueprint.post("")
def search() -> str:
    """Show what the text names; names stay masked here."""
    wanted = searchable(request.form.get("wanted", ""))
    reference = wanted.upper()
    named = is_reference(reference)
    see_passages = access.operator().role in SEE_PASSAGES
    with transaction() as session:
        charged, reversals = (
            charges.find_by_reference(session, reference=reference) if named else ((), ())
        )
        return render_template(
            "console/search.html",
            wanted=wanted,
            holders=viewing.find_holders(session, text=wanted, limit=MOST) if wanted else (),
            most=MOST,
            charges=charged,
            reversals=reversals,
            reviews=cases.find_by_reference(
                session, reference=reference, role=access.operator().role
            )
            if named
            else (),
            passages=gates.find_by_reference(session, reference=reference)
            if named and see_passages
            else (),
        )


def searchable(text: str, *, longest: int = LONGEST) -> str:
    r"""Return a text as it can be searched for: plain, of sensible length.

    >>> searchable(" 王小明\x00 ")
    '王小明'
    """
    return "".join(letter for letter in text if PLAIN_TEXT.match(letter)).strip()[:longest]


def is_reference(text: str) -> bool:
    """Say whether a text has the form of a reference.

    >>> is_reference("7KQ2M9XD"), is_reference("20240101")
    (True, False)
    """
    return len(text) == REFERENCE_LENGTH and all(letter in REFERENCE_LETTERS for letter in text)
