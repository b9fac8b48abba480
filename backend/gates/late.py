"""Late passages (脱机通行上送): what gates decided without network.

A passage happened or it did not; nothing here judges it into nonexistence (F1).  What stands
against it is written down for a person.
"""

from uuid import UUID

from sqlalchemy.orm import Session

from backend.errors import IdReused
from backend.gates.models import Decision, Direction, Passage
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.ids import content_hash, new_id
from backend.terminals.models import TerminalKind
from backend.uploads import service as uploads
from backend.uploads.models import LateUpload
from backend.uploads.rules import Conflict, Outcome, UploadKind
from backend.uploads.service import Batch, Claim
from qr import Scope

NEED = Scope.GATE | Scope.DOOR


def record(session: Session, claim: Claim, batch: Batch) -> LateUpload:
    """Record what a gate decided alone, once, as it was decided.

    The same id that was decided online the same way is already there.  Where the gate decided
    otherwise, because it never heard the answer, both are kept.  Locks the terminal's uploads and
    the id.

    Raises:
        TerminalNotAllowed: not a gate.
        IdReused: the id came before with other content, online or late.
    """
    terminal = batch.terminal
    terminal.must_be(TerminalKind.GATE)
    late, first = uploads.take(session, claim, batch, kind=UploadKind.PASSAGE)
    if not first:
        return late
    direction: Direction = claim.said["direction"]
    content = content_hash(terminal.terminal_id, claim.code, direction.value)
    online = session.get(Passage, claim.id)
    if online is not None and (online.terminal_id, online.content_hash) != (
        terminal.terminal_id,
        content,
    ):
        raise IdReused
    seen = uploads.read(session, late, claim, batch, need=NEED)
    conflicts = uploads.conflicts_of_clock(late, batch)
    decision = Decision.ALLOW if claim.accepted else Decision.DENY
    if claim.accepted:
        scope = Scope.DOOR if seen.code and not seen.code.scope & Scope.GATE else Scope.GATE
        conflicts += uploads.conflicts_of(session, late, seen, scope=scope)
        if online is not None and online.decision is Decision.DENY:
            conflicts.append(Conflict.DECLINED_ONLINE)
    outcome, record_id = Outcome.ALREADY_RECORDED, claim.id
    if online is None or online.decision is not decision:
        outcome, record_id = Outcome.RECORDED, new_id() if online else claim.id
        session.add(
            _passage(
                session,
                late,
                id_=record_id,
                direction=direction,
                decision=decision,
                content=content,
            )
        )
    uploads.close(session, late, conflicts, outcome=outcome, record_id=record_id)
    return late


def _passage(
    session: Session,
    late: LateUpload,
    *,
    id_: UUID,
    direction: Direction,
    decision: Decision,
    content: bytes,
) -> Passage:
    holder = session.get(Holder, late.holder_id) if late.holder_id else None
    return Passage(
        id=id_,
        terminal_id=late.terminal_id,
        place=late.place,
        direction=direction,
        content_hash=content,
        decision=decision,
        reason=late.reason,
        holder_id=late.holder_id,
        name_masked=holder and masked_name(holder.name),
        category=holder and holder.category,
        decided_at=late.received_at,
        device_at=late.decided_at,
        reference=late.reference,
    )
