"""What a gate may decide without network (脱机通行): its rules, as its bundle carries them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards.models import Card, CardKind, CardState, Delegation
from backend.gates import emergencies
from backend.gates.access import access_of
from backend.gates.rules import GateAccess, Person, classes, timetable
from backend.holders.models import Holder
from qr import Scope
from qr.rules import Access, GateRules

GONE = (CardState.VOID, CardState.CLOSED)


def scanner_rules(session: Session, *, terminal_id: UUID, now: datetime) -> GateRules:
    """Return the rules of a gate, which decide as the server does.

    Three queries where there are rules about people, whatever their number; else none.
    """
    _, access = access_of(session, terminal_id=terminal_id)
    listed, default = _classes(session, access, now=now)
    return GateRules(
        scope=Scope.GATE,
        offline=access.offline,
        passback=access.passback,
        emergency=emergencies.may_leave(session, terminal_id=terminal_id, now=now),
        classes=tuple(listed),
        default=default,
    )


def _classes(
    session: Session, access: GateAccess, *, now: datetime
) -> tuple[list[Access], int | None]:
    if not access.rules:
        found, default = classes(access, {})
        return [Access(hours) for hours in found], default
    aliases = _aliases(session)
    serials = _serials(session, now=now)
    table = timetable(access, aliases)
    found, default = classes(access, table)
    return [
        Access(hours)
        if place == default
        else Access(
            hours,
            frozenset(aliases[person] for person in table[hours]),
            frozenset(
                serial for person in table[hours] for serial in serials.get(person.holder_id, ())
            ),
        )
        for place, hours in enumerate(found)
    ], default


def _aliases(session: Session) -> dict[Person, bytes]:
    """Return everybody who has a virtual card, and what stands for it in its codes."""
    rows = session.execute(
        select(Holder.id, Holder.category, Holder.unit, Card.alias)
        .join(Card, Card.holder_id == Holder.id)
        .where(Card.kind == CardKind.VIRTUAL, Card.state.not_in(GONE))
    )
    return {Person(id_, category, unit): alias for id_, category, unit, alias in rows if alias}


def _serials(session: Session, *, now: datetime) -> dict[UUID, list[int]]:
    """Return the delegations of everybody that may still make codes, by holder."""
    rows = session.execute(
        select(Card.holder_id, Delegation.serial)
        .join(Card, Card.id == Delegation.card_id)
        .where(Delegation.revoked_at.is_(None), Delegation.expires_at > now)
    )
    found: dict[UUID, list[int]] = {}
    for holder_id, serial in rows:
        found.setdefault(holder_id, []).append(serial)
    return found
