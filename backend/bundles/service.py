"""Bundles (终端数据包): what each terminal must know to decide alone, made when it asks.

`qr.bundle` says what is in one.  The root key that signs them is derived from the root key of the
school's secrets, so there is nothing more to keep; terminals are given its public half.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.bundles.models import TerminalBundle
from backend.cards.delegations import barred, retired_aliases, revoked_serials
from backend.charges import offline as tills
from backend.gates import offline as gates
from backend.holders.models import Permission
from backend.policies.service import policies_at
from backend.sealing import Sealer
from backend.terminals.heartbeats import note_bundle
from backend.terminals.models import Terminal, TerminalKind
from backend.terminals.service import TerminalCaller
from qr import EARLY, LATE
from qr.bundle import RevocationList, bundle_content, sign_bundle

ROOT_KEY_ID = 0
PURPOSE = "bundle"
ISSUED_AGAIN_AFTER = timedelta(minutes=10)
"""An unchanged bundle is signed anew this often, so that a scanner which is online stays fresh."""
CODES_LIVE = timedelta(minutes=15)
"""Longer than any code of a retired alias can still be shown."""
NEEDED_AT = {TerminalKind.TILL: Permission.PAY, TerminalKind.GATE: Permission.IDENTIFY}
"""Which permission a card needs at a terminal: to one that works alone, whoever lacks it has a
card that was stopped.  It says `code-stale` or `code-revoked`: a reason of its own would be another
section of the bundle, which every scanner in service would have to learn first."""
KEPT = 50
"""How many bundles back a scanner can be to be sent a delta."""
SCHOOL_TIME = timedelta(hours=8)


def root_keys(sealer: Sealer) -> dict[int, Ed25519PublicKey]:
    """Return the keys that terminals believe, by their ids."""
    return {ROOT_KEY_ID: sealer.signing_key(PURPOSE).public_key()}


def issue(
    session: Session,
    *,
    terminal: TerminalCaller,
    after: int | None,
    code_keys: Mapping[int, Ed25519PublicKey],
    issuer: str,
    sealer: Sealer,
    now: datetime,
) -> tuple[int, str] | None:
    """Return a terminal's newest bundle and its sequence, or None when it has that one.

    A delta, where the terminal says which one it has (`after`) and we remember it.  Locks the
    terminal, so that two questions at once get two sequences.
    """
    session.get_one(Terminal, terminal.terminal_id, with_for_update=True)
    content = _content(session, terminal=terminal, code_keys=code_keys, now=now)
    sections = {name: _hash(section) for name, section in content.items()}
    newest = session.scalars(
        select(TerminalBundle)
        .where(TerminalBundle.terminal_id == terminal.terminal_id)
        .order_by(TerminalBundle.sequence.desc())
        .limit(1)
    ).one_or_none()
    if (
        newest is not None
        and newest.sequence == after
        and newest.sections == sections
        and now < newest.issued_at + ISSUED_AGAIN_AFTER
    ):
        return None
    base = None if after is None else session.get(TerminalBundle, (terminal.terminal_id, after))
    if base is not None:
        content = {
            name: section
            for name, section in content.items()
            if base.sections.get(name) != sections[name]
        }
    sequence = newest.sequence + 1 if newest else 1
    session.add(
        TerminalBundle(
            terminal_id=terminal.terminal_id, sequence=sequence, sections=sections, issued_at=now
        )
    )
    note_bundle(session, terminal_id=terminal.terminal_id, sequence=sequence, issued_at=now)
    session.execute(
        delete(TerminalBundle).where(
            TerminalBundle.terminal_id == terminal.terminal_id,
            TerminalBundle.sequence <= sequence - KEPT,
        )
    )
    policies = policies_at(session, now)
    token = sign_bundle(
        content,
        private_key=sealer.signing_key(PURPOSE),
        key_id=ROOT_KEY_ID,
        issuer=issuer,
        terminal=str(terminal.terminal_id),
        sequence=sequence,
        issued_at=now,
        expires_at=now + timedelta(hours=policies["offline.bundle_hours"]),
        fresh_until=now + timedelta(hours=policies["offline.bundle_fresh_hours"]),
        base=base.sequence if base else None,
    )
    return sequence, token


def _content(
    session: Session,
    *,
    terminal: TerminalCaller,
    code_keys: Mapping[int, Ed25519PublicKey],
    now: datetime,
) -> dict[str, Any]:
    kind = terminal.kind
    barred_aliases, barred_serials = barred(session, NEEDED_AT.get(kind), now=now)
    revoked = sorted({*revoked_serials(session, now=now), *barred_serials})
    return bundle_content(
        keys=code_keys,
        revoked=RevocationList.of(revoked, first=revoked[0] if revoked else 0),
        stopped=sorted({*retired_aliases(session, since=now - CODES_LIVE), *barred_aliases}),
        early=EARLY,
        late=LATE,
        utc_offset=SCHOOL_TIME,
        gate=gates.scanner_rules(session, terminal_id=terminal.terminal_id, now=now)
        if kind is TerminalKind.GATE
        else None,
        till=tills.scanner_rules(session, now=now) if kind is TerminalKind.TILL else None,
    )


def _hash(section: Any) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()
