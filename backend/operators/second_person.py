"""The second person (双人复核): one makes, another decides, and nobody does both."""

from typing import TypeVar
from uuid import UUID

from backend.errors import DomainError, Kind

Who = TypeVar("Who", UUID, str)
"""An operator's id, or the name of an actor."""


class SecondPersonNeeded(DomainError, code="second-person-needed", kind=Kind.CONFLICT):
    """Whoever made something does not decide on it."""


def must_be_another(checker: Who, *, made_by: Who | None) -> None:
    """Refuse whoever made what is to be decided.

    Raises:
        SecondPersonNeeded: the checker made it.
    """
    if checker == made_by:
        raise SecondPersonNeeded


def is_decided(
    approved: bool | None,  # noqa: FBT001 - what the row says, not a switch
    *,
    approve: bool,
    otherwise: type[DomainError],
    checker: Who,
    made_by: Who | None,
) -> bool:
    """Say whether something was decided just so, when there is nothing left to do.

    The caller has locked it: of two people at once, the second one finds what the first decided.

    Raises:
        otherwise: it was decided otherwise.  Fact: `approved`.
        SecondPersonNeeded: nobody has decided, and the checker made it.
    """
    if approved is None:
        must_be_another(checker, made_by=made_by)
        return False
    if approved is not approve:
        raise otherwise(approved=approved)
    return True
