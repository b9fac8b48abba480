"""What the forms of several rooms share: ids that a page made, and a page shown once more."""

from collections.abc import Callable
from uuid import UUID

import marshmallow as ma
from flask import Response, request

from backend.console import language
from backend.errors import DomainError, NotFound
from backend.http import words
from backend.http.problems import STATUS, tell


def made_id(name: str) -> UUID:
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


def again(
    error: ma.ValidationError | DomainError, make_page: Callable[[words.Words], str]
) -> Response:
    """Return the page once more, with what stood against it.

    Raises:
        NotFound: there is no such thing to show a page of.
    """
    if isinstance(error, ma.ValidationError):
        return Response(make_page(language.refusal("validation-failed", {})), 422)
    if isinstance(error, NotFound):
        raise error
    tell(error)
    return Response(make_page(language.refusal(error.code, dict(error.facts))), STATUS[error.kind])
