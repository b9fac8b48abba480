"""What a till may take without network (脱机收款), and the most that the school can lose by it.

Source: regulation 六 (emergencies) and the policies `offline.*`; off unless they say otherwise.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardKind, CardState
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
    cards: int
    rules: TillRules

    @property
    def worst_loss_fen(self) -> Fen:
        """Every card is copied, carried to every till, and none of it is ever paid."""
        if not self.on:
            return Fen(0)
        by_cards_fen = self.cards * min(
            self.rules.per_card_fen, self.rules.per_card_count * self.rules.per_sale_fen
        )
        return Fen(self.tills * min(self.rules.terminal_fen, by_cards_fen))


def exposure(session: Session, *, now: datetime) -> Exposure:
    """Return what stands at risk on a day on which no till reaches the server."""
    rules = scanner_rules(session, now=now)
    cards = session.scalar(
        select(func.count()).where(Card.kind == CardKind.VIRTUAL, Card.state == CardState.ACTIVE)
    )
    return Exposure(on=rules.offline, tills=_tills(session), cards=cards or 0, rules=rules)


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
