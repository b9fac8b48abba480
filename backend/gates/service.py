"""May this card pass here, now (通行)?"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from backend.cards.codes import PresentedCode
from backend.clock import SHANGHAI, rfc3339
from backend.gates import emergencies
from backend.gates.access import access_of
from backend.gates.models import Decision, Direction, Passage
from backend.gates.rules import Person, hours_on, next_opening, opening_hours
from backend.holders.models import Holder, Permission
from backend.holders.permissions import NotPermitted
from backend.holders.rules import masked_name
from backend.ids import content_hash, new_reference
from backend.ledger.models import Account
from backend.notices import service as notices
from backend.rows import find_row, first_answer, lock_id, newest_first
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller
from qr import CodeError, Scope
from qr.rules import Access, Reason

SPEND = text("SELECT spend_code(:key, :alias, :scope, :issued_at, :sequence, :id, :now)")
DELEGATED = text("SELECT alias, refusal FROM delegated_alias(:serial, :issued_at)")
REFUSAL = text("SELECT usage_refusal(h, :state, :now) FROM holders h WHERE h.id = :holder_id")


def decide(
    session: Session,
    *,
    passage_id: UUID,
    terminal: TerminalCaller,
    code: PresentedCode | CodeError,
    code_text: str,
    direction: Direction,
    now: datetime,
) -> tuple[Passage, bool]:
    """Decide whether the holder of a gate code may pass; say whether this call was the first.

    The reasons, in order of precedence: the code's own, `code-revoked`, `code-stale`,
    `code-spent`, the card's state, `not-permitted`, `access-not-allowed`, `access-outside-hours`,
    `passback`.  In an emergency everybody may leave, and the reason tells what stood against it.

    Every decision is stored, also a denial: a retry gets the first one.  Locks the passage's id,
    then the virtual card through its purse, so a loss report is before it or after it, and two
    gates that read one person decide one after the other.

    Raises:
        TerminalNotAllowed: not a gate.
        NotFound: another terminal's passage has this id.
        IdReused: `passage_id` came before with other content.
    """
    terminal.must_be(TerminalKind.GATE)
    lock_id(session, passage_id)
    content = content_hash(terminal.terminal_id, code_text, direction.value)
    earlier = first_answer(
        session,
        Passage,
        passage_id,
        owner={"terminal_id": terminal.terminal_id},
        content_hash=content,
    )
    if earlier is not None:
        return earlier, False
    passage = Passage(
        id=passage_id,
        terminal_id=terminal.terminal_id,
        place=terminal.place,
        direction=direction,
        content_hash=content,
        decision=Decision.DENY,
        decided_at=now,
        reference=new_reference(),
    )
    if isinstance(code, CodeError):
        passage.reason = code.code
    else:
        _judge(session, passage, code, now=now)
    if passage.reason is None or (
        direction is Direction.OUT
        and emergencies.may_leave(session, terminal_id=terminal.terminal_id, now=now)
    ):
        passage.decision = Decision.ALLOW
    session.add(passage)
    if passage.holder_id is not None:
        notices.tell(
            session,
            holder_id=passage.holder_id,
            kind="passage-allowed" if passage.decision is Decision.ALLOW else "passage-denied",
            now=now,
            passage_id=str(passage.id),
            place=passage.place,
            direction=direction.value,
            reason=passage.reason,
            reference=passage.reference,
        )
    return passage, True


def _judge(session: Session, passage: Passage, code: PresentedCode, *, now: datetime) -> None:
    """Fill in who it is and, where something stands against it, the reason."""
    alias = code.alias
    if code.serial is not None:
        alias, passage.reason = session.execute(
            DELEGATED, {"serial": code.serial, "issued_at": code.issued_at}
        ).one()
        if passage.reason is not None:
            return
    row = session.execute(
        select(Account.card_state, Holder)
        .join(Holder, Holder.id == Account.holder_id)
        .where(Account.card_alias == alias)
        .with_for_update(of=Account, key_share=True)
    ).one_or_none()
    if row is None:
        passage.reason = "code-stale"
        return
    state, holder = row
    passage.holder_id = holder.id
    passage.name_masked = masked_name(holder.name)
    passage.category = holder.category
    fresh = session.execute(
        SPEND,
        {
            "key": code.key,
            "alias": alias,
            "scope": int(Scope.GATE),
            "issued_at": code.issued_at,
            "sequence": code.sequence,
            "id": passage.id,
            "now": now,
        },
    ).scalar_one()
    if not fresh:
        passage.reason = "code-spent"
    else:
        passage.reason = session.execute(
            REFUSAL, {"state": state, "now": now, "holder_id": holder.id}
        ).scalar_one()
        if passage.reason is None and Permission.IDENTIFY in holder.denied:
            passage.reason = NotPermitted.code
            passage.facts = {"permission": Permission.IDENTIFY.value}
        if passage.reason is None:
            _judge_access(session, passage, holder, now=now)


def _judge_access(session: Session, passage: Passage, holder: Holder, *, now: datetime) -> None:
    """Fill in the version of the gate's rules and, where it is against it, the reason."""
    settings, access = access_of(session, terminal_id=passage.terminal_id, holder_id=holder.id)
    if settings is None:
        return
    passage.settings_id = settings.id
    hours = opening_hours(access, Person(holder.id, holder.category, holder.unit))
    local = now.astimezone(SHANGHAI)
    passage.reason = Access(hours).refusal(local)
    if passage.reason == Reason.ACCESS_OUTSIDE_HOURS:
        passage.facts = {
            "hours_today": hours_on(hours, local.isoweekday()),
            "opens_at": rfc3339(next_opening(hours, local)),
        }
    elif passage.reason is None and access.passback:
        last = _last_passage(session, passage)
        if last and last.direction == passage.direction and now < last.decided_at + access.passback:
            passage.reason = Reason.PASSBACK


def _last_passage(session: Session, passage: Passage) -> Passage | None:
    """Return the last time that this gate let the same person through, also without network."""
    return session.scalars(
        select(Passage)
        .where(
            Passage.holder_id == passage.holder_id,
            Passage.terminal_id == passage.terminal_id,
            Passage.decision == Decision.ALLOW,
        )
        .order_by(Passage.decided_at.desc())
        .limit(1)
    ).one_or_none()


def find(session: Session, *, passage_id: UUID, terminal: TerminalCaller) -> Passage:
    """Return a passage of the calling gate.

    Raises:
        NotFound: there is none, or it is another terminal's.
    """
    return find_row(session, Passage, passage_id, terminal_id=terminal.terminal_id)


def find_by_reference(session: Session, *, reference: str) -> Sequence[Passage]:
    """Return the passages that a gate showed this reference for."""
    return session.scalars(select(Passage).where(Passage.reference == reference)).all()


def list_passages(
    session: Session,
    *,
    holder_id: UUID,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Passage]:
    """Return a holder's passages, newest first."""
    query = select(Passage).where(Passage.holder_id == holder_id)
    return list(
        session.scalars(newest_first(query, Passage.decided_at, before=before, limit=limit))
    )
