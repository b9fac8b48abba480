"""Reporting a loss (挂失) and putting cards back in use (解挂).

Source: regulation 三(四).  A report needs less proof than a restoration, always.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.cards.models import (
    Card,
    CardKind,
    CardState,
    LossReport,
    Replacement,
    ReplacementRequest,
    ReplacementState,
    Restoration,
)
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, find_card
from backend.errors import DomainError, IdReused, Kind, NotFound
from backend.holders.login import end_sessions, must_be_fresh
from backend.holders.models import Binding, BindingState, Holder
from backend.notices import service as notices
from backend.operation_log.service import Actor
from backend.policies.service import policies_at
from backend.rows import find_row
from backend.terminals.service import terminals_informed

STOPPED_OTHERWISE = (
    CardState.FROZEN,
    CardState.EXPIRED,
    CardState.CLOSING,
)
"""States in which nothing is paid with a virtual card anyway."""


class NothingToReport(DomainError, code="nothing-to-report", kind=Kind.CONFLICT):
    """The holder has no such card in use."""


class NothingToRestore(DomainError, code="nothing-to-restore", kind=Kind.CONFLICT):
    """No card of the holder is reported lost, or the lost one was replaced."""


class Replaced(DomainError, code="replaced", kind=Kind.CONFLICT):
    """Another card took this one's place (补卡): it is void for ever."""


class ChannelNotAllowed(DomainError, code="channel-not-allowed", kind=Kind.FORBIDDEN):
    """The regulation in force does not allow this here.  Fact: `channels`, where it does."""


def report_lost(
    session: Session,
    *,
    report_id: UUID,
    holder_id: UUID,
    credential: str,
    stop_virtual_card: bool,
    actor: Actor,
    now: datetime,
    **facts: Any,
) -> LossReport:
    """Stop the physical card or the phone, at once and everywhere.

    `credential` is `physical_card` (the virtual card goes on unless `stop_virtual_card`) or
    `phone` (the virtual card stops, its sessions end, the physical card goes on; a frozen or
    expired virtual card stays so, and the sessions end all the same).  A second report of what is
    lost already gets the first one's answer, for ever: sent again after a restoration, it stops
    nothing.  Locks the holder, then the cards, and with them the purse: when this commits, no
    charge of an earlier code can.  `facts` go into the operation log, as documents that were
    checked.

    Raises:
        NotFound: somebody else made a report under this id.
        IdReused: `report_id` came before with other content; from a kiosk also for another holder.
        NothingToReport: the holder has no such card.
        TransitionNotPossible: the physical card is frozen, expired or closed: stopped already.
    """
    lock_holder(session, holder_id)
    earlier = session.get(LossReport, report_id)
    if earlier is not None:
        if earlier.holder_id != holder_id:
            raise IdReused if earlier.answer.get("by") == actor.name else NotFound
        if (earlier.credential, earlier.stop_virtual_card) != (credential, stop_virtual_card):
            raise IdReused
        return earlier
    kinds = [CardKind.PHYSICAL] if credential == "physical_card" else [CardKind.VIRTUAL]
    if credential == "physical_card" and stop_virtual_card:
        kinds.append(CardKind.VIRTUAL)
    cards = [find_card(session, holder_id=holder_id, kind=kind) for kind in kinds]
    if cards[0] is None:
        raise NothingToReport(credential=credential)
    if credential == "phone":
        _end_phone(session, holder_id=holder_id, now=now)
        cards = [card for card in cards if card and card.state not in STOPPED_OTHERWISE]
    news = [
        change_state(session, card=card, event=CardEvent.REPORT_LOST, actor=actor, now=now, **facts)
        for card in cards
        if card is not None
    ]
    first = None if any(news) else _newest_report(session, holder_id, credential)
    report = LossReport(
        id=report_id,
        holder_id=holder_id,
        credential=credential,
        stop_virtual_card=stop_virtual_card,
        reported_at=first.reported_at if first else now,
        answer=(first.answer if first else _answer(session, report_id, holder_id, now=now))
        | {"by": actor.name},
    )
    session.add(report)
    if first is not None:
        return report
    notices.tell(
        session,
        holder_id=holder_id,
        kind="card-lost",
        now=now,
        credential=credential,
        virtual_card_stopped=CardKind.VIRTUAL in kinds,
    )
    return report


def find_report(
    session: Session, *, report_id: UUID, holder_id: UUID, now: datetime
) -> tuple[LossReport, list[dict[str, Any]]]:
    """Return a report, and which terminals refuse by now what it stopped.

    Raises:
        NotFound: there is no such report, or somebody else made it.
    """
    report = find_row(session, LossReport, report_id, holder_id=holder_id)
    return report, terminals_informed(session, reported_at=report.reported_at, now=now)


def _newest_report(session: Session, holder_id: UUID, credential: str) -> LossReport | None:
    return session.scalars(
        select(LossReport)
        .where(LossReport.holder_id == holder_id, LossReport.credential == credential)
        .order_by(LossReport.reported_at.desc())
        .limit(1)
    ).one_or_none()


def lock_holder(session: Session, holder_id: UUID) -> None:
    """Let one report, restoration or operation of the counter happen to a holder at a time.

    The weaker lock lets charges through, which lock the purse first and then refer to the holder.
    """
    session.execute(select(Holder.id).where(Holder.id == holder_id).with_for_update(key_share=True))


def _end_phone(session: Session, *, holder_id: UUID, now: datetime) -> None:
    accounts = session.scalars(
        select(Binding.account_index).where(
            Binding.holder_id == holder_id, Binding.state != BindingState.ENDED
        )
    ).all()
    for account_index in accounts:
        end_sessions(session, account_index=account_index, now=now)


def _answer(session: Session, report_id: UUID, holder_id: UUID, *, now: datetime) -> dict[str, Any]:
    def state(kind: CardKind) -> str | None:
        card = find_card(session, holder_id=holder_id, kind=kind)
        return card.state.value if card else None

    return {
        "id": str(report_id),
        "physical_card_state": state(CardKind.PHYSICAL),
        "virtual_card_state": state(CardKind.VIRTUAL),
        "terminals": terminals_informed(session, reported_at=now, now=now),
    }


def may_restore(
    session: Session, *, channel: str, logged_in_at: datetime | None, now: datetime
) -> list[UUID]:
    """Return the policy rows that allow restoring through a channel now.

    From the phone (`logged_in_at` given) the login has to be fresh.

    Raises:
        ChannelNotAllowed: the policy `card.restore_channels` leaves this channel out.
        StepUpRequired: the login is too old.
    """
    policies = policies_at(session, now)
    if channel not in policies["card.restore_channels"]:
        raise ChannelNotAllowed(channels=policies["card.restore_channels"]).decided_by(
            policies.used("card.restore_channels")
        )
    if logged_in_at is not None:
        must_be_fresh(policies, logged_in_at=logged_in_at, now=now)
    return policies.used("card.restore_channels", "restore.step_up_minutes")


def find_restoration(
    session: Session, *, restoration_id: UUID, holder_id: UUID, by: str
) -> Restoration | None:
    """Return what was restored under this id, or None: a retry gets it whatever holds by then.

    `by` is the actor's name: a kiosk has restored for many, and its ids are its own.

    Raises:
        NotFound: somebody else's restoration has this id.
        IdReused: the same caller restored another holder's cards under it.
    """
    earlier = session.get(Restoration, restoration_id)
    if earlier is not None and earlier.holder_id != holder_id:
        raise IdReused if earlier.restored_by == by else NotFound
    return earlier


def restore(
    session: Session,
    *,
    restoration_id: UUID,
    holder_id: UUID,
    policy_ids: list[UUID],
    actor: Actor,
    now: datetime,
) -> Restoration:
    """Put every lost card of a holder back in use.

    The caller checked the channel (`may_restore`) and the document before.  The virtual card gets a
    new alias once more: codes from before the loss stay dead.  Locks the holder and the cards.

    Raises:
        NotFound: somebody else's restoration has this id.
        IdReused: the same caller restored another holder's cards under it.
        NothingToRestore: no card is lost, or it was replaced.
    """
    lock_holder(session, holder_id)
    earlier = find_restoration(
        session, restoration_id=restoration_id, holder_id=holder_id, by=actor.name
    )
    if earlier is not None:
        return earlier
    lost = session.scalars(
        select(Card)
        .where(Card.holder_id == holder_id, Card.state == CardState.LOST)
        .order_by(Card.kind)
    ).all()
    if not lost:
        raise NothingToRestore
    for card in lost:
        change_state(
            session,
            card=card,
            event=CardEvent.RESTORE,
            actor=actor,
            now=now,
            documents=["id_document"],
            policy_ids=policy_ids,
        )
    restoration = Restoration(
        id=restoration_id,
        holder_id=holder_id,
        restored=[f"{card.kind.value}_card" for card in lost],
        policy_ids=[str(id_) for id_ in policy_ids],
        restored_by=actor.name,
        restored_at=now,
    )
    session.add(restoration)
    if any(card.kind is CardKind.PHYSICAL for card in lost):
        drop_request(session, holder_id=holder_id, now=now)
    notices.tell(session, holder_id=holder_id, kind="card-restored", now=now)
    return restoration


def drop_request(session: Session, *, holder_id: UUID, now: datetime) -> None:
    """Cancel what a holder asked for in a lost card's place: the card is back (补卡申请取消)."""
    session.execute(
        update(ReplacementRequest)
        .where(
            ReplacementRequest.holder_id == holder_id,
            ReplacementRequest.state == ReplacementState.REQUESTED,
        )
        .values(state=ReplacementState.CANCELLED, ended_at=now)
    )


def is_replaced(session: Session, *, card_id: UUID) -> bool:
    """Say whether another card took this one's place."""
    found = select(Replacement.id).where(Replacement.old_card_id == card_id)
    return session.scalars(found).first() is not None


def holder_by_card_number(session: Session, *, number: str, again: bool = False) -> UUID:
    """Return whose physical card this is; of an operation that is sent again, whose it was.

    Raises:
        NotFound: there is no such card in use.
        Replaced: there was one, and another took its place.
    """
    card = session.scalars(select(Card).where(Card.number == number)).one_or_none()
    if card is None:
        raise NotFound
    if card.state is CardState.VOID and not again:
        raise Replaced if is_replaced(session, card_id=card.id) else NotFound
    return card.holder_id
