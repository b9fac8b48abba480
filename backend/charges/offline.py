"""What a till may take without network (脱机收款), and the most that the school can lose by it.

Source: regulation 六 (emergencies) and the policies `offline.*`; off unless they say otherwise.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.money import Fen
from backend.policies.service import policies_at
from backend.terminals.models import Terminal, TerminalKind
from qr.rules import TillRules


def scanner_rules(session: Session, *, now: datetime) -> TillRules:
    """Return the rules of every till.

    The cap over all tills is kept by giving each an equal share of it: a till that cannot ask
    anybody cannot know what the others took.
    """
    policies = policies_at(session, now)
    share = policies["offline.total_fen"] // max(1, _tills(session))
    return TillRules(
        offline=policies["offline.money"],
        per_sale_fen=policies["offline.per_sale_fen"],
        per_card_count=policies["offline.per_card_count"],
        per_card_fen=policies["offline.per_card_fen"],
        terminal_fen=min(policies["offline.per_terminal_fen"], share),
    )


@dataclass(frozen=True, slots=True)
class Exposure:
    """The most that the school can lose on one day (最大可能损失)."""

    on: bool
    tills: int
    rules: TillRules

    @property
    def worst_loss_fen(self) -> Fen:
        """Every till takes all that it may, and none of it is ever paid.

        The caps on a card bound what one person does by mistake, not what a fraud does: each new
        alias and each new phone is another card to a till that cannot ask.
        """
        return Fen(self.tills * self.rules.terminal_fen if self.on else 0)


def exposure(session: Session, *, now: datetime) -> Exposure:
    """Return what stands at risk on a day on which no till reaches the server."""
    rules = scanner_rules(session, now=now)
    return Exposure(on=rules.offline, tills=_tills(session), rules=rules)


def _tills(session: Session) -> int:
    """Return how many tills are in service."""
    found = session.scalar(
        select(func.count()).where(
            Terminal.kind == TerminalKind.TILL,
            Terminal.enrolled_at.is_not(None),
            Terminal.revoked_at.is_(None),
        )
    )
    return found or 0
