"""The root of every failure that a caller can cause and is told about."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import ClassVar, Self
from uuid import UUID


class Kind(Enum):
    """What the caller can do about it.  `http/problems.py` gives each kind one HTTP status."""

    INVALID = auto()
    """The request can never succeed as it is."""
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    CONFLICT = auto()
    """The request is fine; the state of things is against it."""
    RATE_LIMITED = auto()
    UNAVAILABLE = auto()
    """Nothing is known to have happened; the same request may be sent again."""


class DomainError(Exception):
    """A refusal with a stable code.

    Subclasses stand beside the function that raises them.  What people read about a code is in
    `http/words/`; keyword arguments are facts, sent as extra members, so nobody parses text.
    """

    code: ClassVar[str]
    kind: ClassVar[Kind]
    by_code: ClassVar[dict[str, type["DomainError"]]] = {}

    def __init_subclass__(cls, *, code: str, kind: Kind) -> None:
        if code in DomainError.by_code:
            taken = DomainError.by_code[code].__name__
            raise TypeError(f"{cls.__name__}: the code {code!r} belongs to {taken}")
        cls.code, cls.kind = code, kind
        DomainError.by_code[code] = cls

    def __init__(self, **facts: object) -> None:
        super().__init__(self.code)
        self.facts = facts
        self.policy_ids: Sequence[UUID] = ()

    def decided_by(self, policy_ids: Sequence[UUID]) -> Self:
        """Name the rows of policies that decided: the operation log keeps them, nobody is told."""
        self.policy_ids = policy_ids
        return self


class NotFound(DomainError, code="not-found", kind=Kind.NOT_FOUND):
    """There is no such thing, or it belongs to somebody else."""


class IdReused(DomainError, code="id-reused", kind=Kind.CONFLICT):
    """The same id came before with other content: a fault of the caller, not a retry."""


class ServiceUnavailable(DomainError, code="service-unavailable", kind=Kind.UNAVAILABLE):
    """A part that is needed does not answer; `retry_after` says when to ask again, in seconds."""
