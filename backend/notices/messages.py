"""The outbox: messages to a holder's platform account (订阅消息), each at most once.

A platform has no key under which a repeated message would be one.  So a message is committed as
`sending` before the platform is called, and one that was left there by whoever died is `unknown`:
it may have arrived, and is not sent again.  The inbox has what it says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.ids import new_id
from backend.notices.models import MessageConsent, MessageState, NoticeMessage, SubscriptionCredit
from backend.notices.rules import WORDINGS
from payments import MessageTemplate

LEASE = timedelta(minutes=15)
"""Longer than a round of sending may take, were every answer as late as it can be."""
BACK_OFF = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 120, 300))
"""How long to wait after each sure refusal that a later try may escape; then it is given up."""
CONSENT_GONE: Final = frozenset({"40003", "43101"})
"""The platform says that the holder does not want this, or that there is no such account."""
MOST_CREDITS = 100
"""Of one template: a phone that says it was asked more often is not believed."""
MOST_AT_ONCE = 200
"""So many messages are ended in one transaction."""
LIVE = (MessageState.DUE, MessageState.SENDING)


class TemplateUnknown(DomainError, code="template-unknown", kind=Kind.CONFLICT):
    """The school does not send messages by this template, at least not any more."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A message that this process, and no other, is to send now."""

    id: UUID
    platform: str
    account_sealed: bytes
    template_id: str
    kind: str
    facts: dict[str, Any]
    written_at: datetime


def agree(
    session: Session,
    *,
    consent_id: UUID,
    holder_id: UUID,
    platform: str,
    account_index: bytes,
    account_sealed: bytes,
    accepted: Sequence[str],
    rejected: Sequence[str],
    templates: Mapping[str, MessageTemplate],
    now: datetime,
) -> tuple[MessageConsent, bool]:
    """Note what a holder answered when asked whether we may write; say whether it was news.

    Each acceptance is good for one message more; that of a long-term template for all to come.  A
    rejection takes nothing away: what was agreed to before stays agreed to.

    Args:
        templates: by kind of notice, as configured.

    Raises:
        NotFound: somebody else's consent has this id.
        IdReused: `consent_id` came before with other content.
        TemplateUnknown: of a template that is not in use.
    """
    answered = {"accepted": sorted(set(accepted)), "rejected": sorted(set(rejected))}
    written = session.scalar(
        insert(MessageConsent)
        .values(id=consent_id, holder_id=holder_id, at=now, **answered)
        .on_conflict_do_nothing(index_elements=[MessageConsent.id])
        .returning(MessageConsent.id)
    )
    consent = session.get_one(MessageConsent, consent_id)
    if written is None:
        if consent.holder_id != holder_id:
            raise NotFound
        if (consent.accepted, consent.rejected) != tuple(answered.values()):
            raise IdReused
        return consent, False
    by_id = {template.id: template for template in templates.values()}
    for template_id in answered["accepted"] + answered["rejected"]:
        if template_id not in by_id:
            raise TemplateUnknown
    for template_id in answered["accepted"]:
        _add_credit(
            session,
            by_id[template_id],
            kinds=kinds_of(templates, template_id),
            holder_id=holder_id,
            platform=platform,
            account_index=account_index,
            account_sealed=account_sealed,
            now=now,
        )
    return consent, True


def kinds_of(templates: Mapping[str, MessageTemplate], template_id: str) -> list[str]:
    """Return the kinds of notice that a template tells of."""
    return sorted(kind for kind, known in templates.items() if known.id == template_id)


def _add_credit(
    session: Session,
    template: MessageTemplate,
    *,
    kinds: list[str],
    holder_id: UUID,
    platform: str,
    account_index: bytes,
    account_sealed: bytes,
    now: datetime,
) -> None:
    told = {
        "holder_id": holder_id,
        "account_sealed": account_sealed,
        "kinds": kinds,
        "long_term": template.long_term,
        "agreed_at": now,
    }
    session.execute(
        insert(SubscriptionCredit)
        .values(
            account_index=account_index,
            template_id=template.id,
            platform=platform,
            credits=1,
            **told,
        )
        .on_conflict_do_update(
            index_elements=[SubscriptionCredit.account_index, SubscriptionCredit.template_id],
            set_=told | {"credits": func.least(SubscriptionCredit.credits + 1, MOST_CREDITS)},
        )
    )


def credits_of(session: Session, *, holder_id: UUID) -> dict[str, SubscriptionCredit]:
    """Return what a holder agreed to, by template id."""
    rows = session.scalars(
        select(SubscriptionCredit).where(SubscriptionCredit.holder_id == holder_id)
    )
    return {row.template_id: row for row in rows}


def enqueue(
    session: Session, *, holder_id: UUID, kind: str, facts: Mapping[str, Any], now: datetime
) -> bool:
    """Write a message into the outbox if the holder agreed to one; say whether they did.

    Takes the credit in the transaction of what is told: it and the message are there together, or
    neither is.  A template of a former configuration gives way to the one agreed to last.
    """
    if kind not in WORDINGS:
        return False
    agreed = (
        select(SubscriptionCredit.account_index, SubscriptionCredit.template_id)
        .where(
            SubscriptionCredit.holder_id == holder_id,
            SubscriptionCredit.kinds.contains([kind]),
            _has_credit(),
        )
        .order_by(SubscriptionCredit.agreed_at.desc(), SubscriptionCredit.template_id)
        .limit(1)
        .with_for_update()
        .cte("agreed")
    )
    taken = session.execute(
        update(SubscriptionCredit)
        .where(
            SubscriptionCredit.account_index == agreed.c.account_index,
            SubscriptionCredit.template_id == agreed.c.template_id,
            _has_credit(),
        )
        .values(credits=SubscriptionCredit.credits - _price())
        .returning(
            SubscriptionCredit.platform,
            SubscriptionCredit.account_index,
            SubscriptionCredit.account_sealed,
            SubscriptionCredit.template_id,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if taken is None:
        return False
    session.add(
        NoticeMessage(
            id=new_id(),
            holder_id=holder_id,
            kind=kind,
            facts=dict(facts),
            state=MessageState.DUE,
            code=None,
            tries=0,
            due_at=now,
            written_at=now,
            tried_at=None,
            **taken._mapping,  # noqa: SLF001 - its public name, for all that
        )
    )
    return True


def who_agreed(session: Session, *, kind: str, holder_ids: Collection[UUID]) -> list[UUID]:
    """Return those holders who agreed to messages of a kind, in the order of their ids.

    Most have not, and need not be asked one by one.
    """
    if kind not in WORDINGS:
        return []
    return list(
        session.scalars(
            select(SubscriptionCredit.holder_id)
            .where(
                SubscriptionCredit.holder_id.in_(holder_ids),
                SubscriptionCredit.kinds.contains([kind]),
                _has_credit(),
            )
            .distinct()
            .order_by(SubscriptionCredit.holder_id)
        )
    )


def _has_credit() -> ColumnElement[bool]:
    return or_(SubscriptionCredit.long_term, SubscriptionCredit.credits > 0)


def _price() -> ColumnElement[int]:
    return case((SubscriptionCredit.long_term, 0), else_=1)


def claim(
    session: Session, *, platforms: Sequence[str], stale_after: timedelta, now: datetime
) -> Sending | None:
    """Take the message that is due next, None when there is none; others skip it.

    The caller commits before it calls the platform.  What has become too old meanwhile is dropped.
    """
    for _ in range(MOST_AT_ONCE):
        due = _next(
            session,
            NoticeMessage.state == MessageState.DUE,
            NoticeMessage.due_at <= now,
            NoticeMessage.platform.in_(platforms),
        )
        if due is None:
            break
        if now - due.written_at > stale_after:
            _end(session, due, MessageState.DROPPED, "stale")
            session.flush()
            continue
        due.state, due.tried_at, due.due_at = MessageState.SENDING, now, now + LEASE
        due.tries += 1
        assert due.account_sealed is not None  # noqa: S101 - a CHECK says so
        return Sending(
            due.id,
            due.platform,
            due.account_sealed,
            due.template_id,
            due.kind,
            due.facts,
            due.written_at,
        )
    return None


def give_up_interrupted(session: Session, *, now: datetime) -> int:
    """End as unknown what was being sent when its sender died; return how many there were."""
    for count in range(MOST_AT_ONCE):
        left = _next(
            session, NoticeMessage.state == MessageState.SENDING, NoticeMessage.due_at <= now
        )
        if left is None:
            return count
        _end(session, left, MessageState.UNKNOWN, "interrupted")
        session.flush()
    return MOST_AT_ONCE


def _next(session: Session, *conditions: ColumnElement[bool]) -> NoticeMessage | None:
    return session.scalars(
        select(NoticeMessage)
        .where(*conditions)
        .order_by(NoticeMessage.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()


def note_sent(session: Session, *, message_id: UUID) -> None:
    """Note that the platform took a message, also if it was given up as unknown meanwhile."""
    message = session.get_one(NoticeMessage, message_id, with_for_update=True)
    message.state, message.code, message.account_sealed = MessageState.SENT, None, None


def note_unknown(session: Session, *, message_id: UUID, code: str) -> None:
    """Note that nobody knows whether a message was sent.  Its credit counts as used."""
    message = session.get_one(NoticeMessage, message_id, with_for_update=True)
    if message.state is MessageState.SENDING:
        _end(session, message, MessageState.UNKNOWN, code)


def note_refused(
    session: Session, *, message_id: UUID, code: str, passing: bool, now: datetime
) -> None:
    """Note that a message was surely not sent: it is tried again, or ends and its credit is back.

    Args:
        passing: whether a later try may succeed.
    """
    message = session.get_one(NoticeMessage, message_id, with_for_update=True)
    if message.state is not MessageState.SENDING:
        return
    if passing and message.tries <= len(BACK_OFF):
        message.state, message.code = MessageState.DUE, code
        message.due_at = now + BACK_OFF[message.tries - 1]
        return
    _end(session, message, MessageState.REFUSED, code)


def drop(session: Session, *, message_id: UUID, code: str) -> None:
    """End a claimed message that is not to be sent after all."""
    message = session.get_one(NoticeMessage, message_id, with_for_update=True)
    if message.state is MessageState.SENDING:
        _end(session, message, MessageState.DROPPED, code)


def _end(session: Session, message: NoticeMessage, state: MessageState, code: str) -> None:
    """End a message that was not sent for sure; a credit that is surely unused goes back."""
    message.state, message.code, message.account_sealed = state, code, None
    credit = and_(
        SubscriptionCredit.account_index == message.account_index,
        SubscriptionCredit.template_id == message.template_id,
    )
    if code in CONSENT_GONE:
        # What was agreed to since the platform was asked is another consent.
        session.execute(
            delete(SubscriptionCredit).where(
                credit, SubscriptionCredit.agreed_at <= message.tried_at
            )
        )
    elif state is not MessageState.UNKNOWN:
        session.execute(
            update(SubscriptionCredit)
            .where(credit)
            .values(credits=func.least(SubscriptionCredit.credits + _price(), MOST_CREDITS))
            .execution_options(synchronize_session=False)
        )


def forget_account(session: Session, *, holder_id: UUID) -> None:
    """Drop what waits to be sent to a holder, and what they agreed to: their account is unbound.

    One that is being sent at this moment still arrives.  Locks messages, then credits, as the relay
    does; whoever is telling something holds a credit, so what they wrote is there to be dropped
    once the credits are gone.
    """
    _drop_waiting(session, holder_id=holder_id)
    session.execute(
        delete(SubscriptionCredit)
        .where(SubscriptionCredit.holder_id == holder_id)
        .execution_options(synchronize_session=False)
    )
    _drop_waiting(session, holder_id=holder_id)


def _drop_waiting(session: Session, *, holder_id: UUID) -> None:
    session.execute(
        update(NoticeMessage)
        .where(NoticeMessage.holder_id == holder_id, NoticeMessage.state == MessageState.DUE)
        .values(state=MessageState.DROPPED, code="unbound", account_sealed=None)
        .execution_options(synchronize_session=False)
    )


def forget_old(session: Session, *, before: datetime) -> int:
    """Delete messages and consents from before a moment; return how many messages."""
    session.execute(delete(MessageConsent).where(MessageConsent.at < before))
    deleted = session.execute(
        delete(NoticeMessage)
        .where(NoticeMessage.written_at < before, NoticeMessage.state.not_in(LIVE))
        .returning(NoticeMessage.id)
    )
    return len(deleted.all())


@dataclass(frozen=True, slots=True)
class StateFigures:
    """How many messages stand in one state, and why: the commonest codes first."""

    state: MessageState
    count: int
    codes: tuple[str, ...]


def figures_by_state(session: Session, *, since: datetime) -> list[StateFigures]:
    """Return the figures of the messages written since a moment, in the order of their life."""
    rows = session.execute(
        select(NoticeMessage.state, NoticeMessage.code, func.count())
        .where(NoticeMessage.written_at >= since)
        .group_by(NoticeMessage.state, NoticeMessage.code)
        .order_by(func.count().desc(), NoticeMessage.code)
    ).all()
    return [
        StateFigures(
            state,
            sum(count for of, _, count in rows if of is state),
            tuple(code for of, code, _ in rows if of is state and code),
        )
        for state in MessageState
    ]
