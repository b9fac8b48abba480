"""The public page of rules and fees (规定与收费标准): what concerns holders, with its papers.

Source: regulation 七.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.http import words
from backend.policies.models import Policy
from backend.policies.rules import CATALOGUE
from backend.rulebook import proposals


@dataclass(frozen=True, slots=True)
class PublicRule:
    """One rule as holders read it."""

    key: str
    name: str
    explanation: str
    clause: str | None
    value: Any
    value_text: str
    document_number: str
    valid_from: datetime
    valid_until: datetime | None


def public_rules(
    session: Session, *, language: str, now: datetime
) -> tuple[list[PublicRule], list[PublicRule]]:
    """Return the rules in force that concern holders, and those that are decided and to come."""
    present = [_said(row, language) for row in proposals.in_force(session, now=now) if _open(row)]
    coming = [_said(row, language) for row in proposals.coming(session, now=now) if _open(row)]
    return present, coming


def _open(row: Policy) -> bool:
    return row.key in CATALOGUE and CATALOGUE[row.key].public


def _said(row: Policy, language: str) -> PublicRule:
    rule, said = CATALOGUE[row.key], words.policy(row.key, language)
    return PublicRule(
        key=row.key,
        name=said.title,
        explanation=said.detail,
        clause=rule.clause,
        value=row.value,
        value_text=words.policy_value(rule.unit, row.value, language),
        document_number=row.document_number,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
