"""What the school decided about a gate (通行规则): read it, change it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import DomainError, Kind, NotFound
from backend.gates.models import AccessRule, Decision, GateSettings
from backend.gates.rules import GateAccess, Rule, clock_face, minute_of
from backend.holders.models import Category, Holder
from backend.ids import new_id
from backend.operation_log import service as operation_log
from backend.operation_log.service import Actor
from backend.operators.models import Role
from backend.terminals.models import Terminal, TerminalKind
from qr.rules import OfflinePolicy

MAY_CHANGE = (Role.CARD_CENTRE, Role.LOGISTICS)
MAY_LOOK = (*MAY_CHANGE, Role.AUDITOR)
"""Of rules and of emergencies."""
AS_SHIPPED = GateAccess()
"""Of a gate about which nothing was decided: everybody of the school passes at all hours."""


class HolderNumbersUnknown(DomainError, code="holder-numbers-unknown", kind=Kind.INVALID):
    """Rules name people who are not on the roster.  Fact: `unknown`, the places in the request."""


def find_gate(session: Session, *, terminal_id: UUID, lock: bool = False) -> Terminal:
    """Return a gate.

    Raises:
        NotFound: there is no such gate.
    """
    found = session.get(Terminal, terminal_id, with_for_update=lock or None)
    if found is None or found.kind is not TerminalKind.GATE:
        raise NotFound
    return found


def list_gates(session: Session) -> list[tuple[Terminal, GateSettings | None]]:
    """Return every gate in service with its settings in force, by place."""
    rows = session.execute(
        select(Terminal, GateSettings)
        .outerjoin(
            GateSettings,
            (GateSettings.terminal_id == Terminal.id) & GateSettings.valid_until.is_(None),
        )
        .where(Terminal.kind == TerminalKind.GATE, Terminal.revoked_at.is_(None))
        .order_by(Terminal.place)
    )
    return [(terminal, settings) for terminal, settings in rows]


def access_of(
    session: Session, *, terminal_id: UUID, holder_id: UUID | None = None
) -> tuple[GateSettings | None, GateAccess]:
    """Return the version in force at a gate and what it says.

    For one holder, lists of people are read only as far as they name that holder: a gate that
    scans reads no long lists.
    """
    settings = session.scalars(
        select(GateSettings).where(
            GateSettings.terminal_id == terminal_id, GateSettings.valid_until.is_(None)
        )
    ).one_or_none()
    if settings is None:
        return None, AS_SHIPPED
    listed = AccessRule.holder_ids
    names: Any = listed if holder_id is None else listed.contains([str(holder_id)])
    rows = session.execute(
        select(
            AccessRule.allow,
            AccessRule.days,
            AccessRule.begins,
            AccessRule.ends,
            AccessRule.category,
            AccessRule.unit,
            names.label("named"),
        )
        .where(AccessRule.settings_id == settings.id)
        .order_by(AccessRule.number)
    )
    return settings, GateAccess(
        offline=settings.offline,
        passback_minutes=settings.passback_minutes,
        default=settings.default,
        rules=tuple(
            Rule(
                row.allow,
                frozenset(row.days),
                row.begins,
                row.ends,
                row.category,
                row.unit,
                _people(row.named, holder_id),
            )
            for row in rows
        ),
    )


def _people(named: Any, holder_id: UUID | None) -> frozenset[UUID] | None:
    """Return whom a rule names, of everybody or as far as one holder goes."""
    if named is None:
        return None
    if holder_id is None:
        return frozenset(map(UUID, named))
    return frozenset({holder_id} if named else ())


def understand(session: Session, said: Mapping[str, Any]) -> GateAccess:
    """Return what a request says (`AccessRequest`), with holder numbers looked up.

    Raises:
        HolderNumbersUnknown: some are not on the roster.
    """
    numbers = {number for rule in said["rules"] for number in rule["holder_numbers"] or ()}
    rows = session.execute(
        select(Holder.holder_number, Holder.id).where(Holder.holder_number.in_(numbers))
    )
    known = {row.holder_number: row.id for row in rows}
    unknown = [
        f"rules.{place}.holder_numbers.{position}"
        for place, rule in enumerate(said["rules"])
        for position, number in enumerate(rule["holder_numbers"] or ())
        if number not in known
    ]
    if unknown:
        raise HolderNumbersUnknown(unknown=unknown)
    return GateAccess(
        offline=OfflinePolicy(said["offline"]),
        passback_minutes=said["passback_minutes"],
        default=Decision(said["default"]),
        rules=tuple(
            Rule(
                allow=rule["allow"],
                days=frozenset(rule["days"]),
                begins=minute_of(rule["from"]),
                ends=minute_of(rule["until"]),
                category=None if rule["category"] is None else Category(rule["category"]),
                unit=rule["unit"],
                holder_ids=None
                if rule["holder_numbers"] is None
                else frozenset(known[number] for number in rule["holder_numbers"]),
            )
            for rule in said["rules"]
        ),
    )


def spell(session: Session, access: GateAccess) -> dict[str, Any]:
    """Return settings as `understand` reads them."""
    ids = {holder_id for rule in access.rules for holder_id in rule.holder_ids or ()}
    rows = session.execute(select(Holder.id, Holder.holder_number).where(Holder.id.in_(ids)))
    numbers = {row.id: row.holder_number for row in rows}
    return {
        "offline": access.offline,
        "passback_minutes": access.passback_minutes,
        "default": access.default,
        "rules": [
            {
                "allow": rule.allow,
                "days": sorted(rule.days),
                "from": clock_face(rule.begins),
                "until": clock_face(rule.ends),
                "category": rule.category,
                "unit": rule.unit,
                "holder_numbers": None
                if rule.holder_ids is None
                else sorted(numbers[holder_id] for holder_id in rule.holder_ids),
            }
            for rule in access.rules
        ],
    }


def change(
    session: Session, *, terminal_id: UUID, wanted: GateAccess, actor: Actor, now: datetime
) -> GateSettings:
    """Put a gate's settings and rules in force, all of them, and return the version that holds.

    The same again changes nothing.  Locks the terminal.

    Raises:
        NotFound: there is no such gate.
    """
    find_gate(session, terminal_id=terminal_id, lock=True)
    present, access = access_of(session, terminal_id=terminal_id)
    if present is not None and access == wanted:
        return present
    if present is not None:
        present.valid_until = now
        session.flush()  # one version is in force at a time
    made = GateSettings(
        id=new_id(),
        terminal_id=terminal_id,
        version=present.version + 1 if present else 1,
        offline=wanted.offline,
        passback_minutes=wanted.passback_minutes,
        default=wanted.default,
        valid_from=now,
    )
    session.add(made)
    session.flush()
    session.add_all(
        AccessRule(
            settings_id=made.id,
            number=number,
            allow=rule.allow,
            days=sorted(rule.days),
            begins=rule.begins,
            ends=rule.ends,
            category=rule.category,
            unit=rule.unit,
            holder_ids=None if rule.holder_ids is None else sorted(map(str, rule.holder_ids)),
        )
        for number, rule in enumerate(wanted.rules, 1)
    )
    operation_log.record(
        session,
        actor=actor,
        action="gate.change_access",
        subject_id=terminal_id,
        now=now,
        before=None if present is None else {"version": present.version} | _sum_up(access),
        after={"version": made.version} | _sum_up(wanted),
    )
    return made


def _sum_up(access: GateAccess) -> dict[str, Any]:
    """Return settings without people: the operation log names none."""
    return {
        "offline": access.offline.value,
        "passback_minutes": access.passback_minutes,
        "default": access.default.value,
        "rules": len(access.rules),
    }
