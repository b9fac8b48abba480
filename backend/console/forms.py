"""What the forms of the rooms say, and the same page once more where something is wrong."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from uuid import UUID

import marshmallow as ma
from flask import Response, abort, request

from backend.console import access, language
from backend.errors import DomainError, NotFound
from backend.http.fields import is_visible
from backend.http.parts import parts
from backend.http.problems import STATUS, tell
from backend.http.words import Words

VALIDATION = "validation-failed"
BETWEEN_NUMBERS = re.compile(r"[\s,;，；、]+")
"""What stands between the holders' numbers of a list that was typed or pasted."""


def form_id(name: str) -> UUID:
    """Return an id that a form of ours carries.

    Raises:
        NotFound: it is none: no form of ours.
    """
    try:
        return UUID(request.form.get(name, ""))
    except ValueError as error:
        raise NotFound from error


def chosen_ids(name: str) -> list[UUID]:
    """Return the ids of the boxes that were ticked, each once.

    Raises:
        NotFound: one is none: no form of ours.
    """
    try:
        return list(dict.fromkeys(UUID(said) for said in request.form.getlist(name)))
    except ValueError as error:
        raise NotFound from error


def typed(*names: str) -> dict[str, str]:
    """Return what was typed into these fields, without the spaces around it; blanks say nothing."""
    said = {name: request.form.get(name, "").strip() for name in names}
    return {name: text for name, text in said.items() if text}


def line(name: str, *, most: int) -> str | None:
    """Return a line that had to be typed, as a reason, without the spaces around it.

    None where nothing in it can be seen, where it is more than a line, or longer than `most`.
    """
    text = request.form.get(name, "").strip()
    return text if is_visible(text) and text.isprintable() and len(text) <= most else None


def decision(yes: str = "approve", no: str = "refuse") -> bool:
    """Say which of two buttons was pressed; a form that has neither is none of ours."""
    said = request.form.get("decision", "")
    if said not in (yes, no):
        abort(422)
    return said == yes


def sent_file() -> bytes:
    """Return what the form's file holds, nothing where none was chosen."""
    sent = request.files.get("file")
    return sent.read() if sent else b""


def mark(purpose: str, content: bytes) -> str:
    """Return what only this operator's session can say of having checked this file."""
    digest = hashlib.sha256(content).hexdigest()
    session_id = access.operator().session_id
    return parts().sealer.index(purpose, f"{session_id}:{digest}").hex()


def was_checked(purpose: str, content: bytes) -> bool:
    """Say whether the form carries the mark of this very file."""
    said = request.form.get("checked", "")
    return hmac.compare_digest(said.encode(), mark(purpose, content).encode())


def again(
    error: ma.ValidationError | DomainError,
    make_page: Callable[[Words], str],
    labels: Mapping[str, str] | None = None,
) -> Response:
    """Return the page once more, with what stood against it.

    `labels` are the names of the fields as the page has them.
    """
    if isinstance(error, ma.ValidationError):
        return Response(make_page(unfit(error, labels or {})), 422)
    tell(error)
    return Response(make_page(language.refusal(error.code, dict(error.facts))), STATUS[error.kind])


def unfit(error: ma.ValidationError, labels: Mapping[str, str]) -> Words:
    """Return the words for fields that do not fit: which they are, where the page names them."""
    said = language.refusal(VALIDATION, {})
    named = [labels[name] for name in error.messages_dict if name in labels]
    return Words(said.title, "、".join(named)) if named else said
