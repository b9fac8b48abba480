"""Payments that were really made at the platform sandbox, and refunds of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from factories import Bound, make_holder
from sandboxes import Platform
from sqlalchemy import select, update

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, Transfer, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.refunds import asking, service
from backend.refunds.models import ChannelRefund
from backend.topups import asking as top_up_asking
from backend.topups import following, refunding
from backend.topups import service as topups
from backend.topups.models import TopUp, TopUpState


@pytest.fixture
def platform(platform_sandbox: str) -> Iterator[Platform]:
    """The platform; it forgets its faults after each test."""
    controls = Platform(platform_sandbox)
    yield controls
    controls.faults()


@pytest.fixture(params=["wechat", "alipay"])
def channel_name(request: pytest.FixtureRequest) -> str:
    """Each of the channels."""
    name: str = request.param
    return name


@pytest.fixture
def holder(parts: Parts) -> Bound:
    """Somebody without money."""
    return make_holder(parts)


def refunds_due_of(refund: ChannelRefund) -> list[tuple[str, str, str, int]]:
    """Return what the ledger moved for a refund: kind, from, to, how much."""
    with transaction() as session:
        names = {account.id: account for account in session.scalars(select(Account))}
        moved = session.scalars(
            select(Transfer).where(Transfer.subject_id == refund.id).order_by(Transfer.posted_at)
        )
        return [
            (
                transfer.kind.value,
                names[transfer.debit_account_id].kind.value,
                names[transfer.credit_account_id].kind.value,
                transfer.amount_fen,
            )
            for transfer in moved
        ]


@dataclass
class Desk:
    """What pays, asks to have it back, and works the refunds."""

    parts: Parts
    platform: Platform

    def paid(self, holder: Bound, amount_fen: int = 1000, channel: str = "wechat") -> TopUp:
        """Top up through the sandbox, without a notice."""
        now = clock.now()
        with transaction() as session:
            top_up, _ = topups.order(
                session,
                top_up_id=new_id(),
                holder_id=holder.id,
                channel=channel,
                amount_fen=Fen(amount_fen),
                payer_sealed=None,
                actor=SYSTEM,
                now=now,
            )
        own, sealer = self.parts.channels[channel], self.parts.sealer
        top_up_asking.place_order(top_up, channel=own, sealer=sealer)
        assert self.platform.pay(top_up).ok
        question = following.question_about(top_up, now=now)
        top_up = top_up_asking.ask(question, channel=own, sealer=sealer, now=now)
        assert top_up.state is TopUpState.PAID
        return top_up

    def ask_back(
        self, holder: Bound, amount_fen: int, *, now: datetime | None = None
    ) -> list[ChannelRefund]:
        """Ask for a refund as the phone does; return its parts."""
        with transaction() as session:
            asked, _ = refunding.ask(
                session,
                refund_id=new_id(),
                holder_id=holder.id,
                amount_fen=Fen(amount_fen),
                channels=self.parts.channels.keys(),
                actor=SYSTEM,
                now=now or clock.now(),
            )
            return list(asked.parts)

    def owe_stray(
        self, holder: Bound, top_up: TopUp, amount_fen: int, *, to_purse: bool = True
    ) -> ChannelRefund:
        """Give a part of a payment back that no purse was credited for."""
        now, subject_id = clock.now(), new_id()
        with transaction() as session:
            movement = Movement(
                TransferKind.STRAY_PAYMENT,
                subject_id,
                ledger.school_account(session, AccountKind.CHANNEL, top_up.channel),
                ledger.school_account(session, AccountKind.REFUNDS_DUE),
                Fen(amount_fen),
            )
            ledger.post(session, [movement], now=now)
            return service.owe(
                session,
                channel=top_up.channel,
                out_trade_no=top_up.out_trade_no,
                trade_no=top_up.trade_no or "",
                paid_fen=top_up.amount_fen,
                amount_fen=Fen(amount_fen),
                reason="多付款退回",
                holder_id=holder.id,
                subject_id=subject_id,
                now=now,
                to_purse=to_purse,
            )

    def work(self, later: timedelta = timedelta(0)) -> int:
        """Let the worker run, as it does so much later."""
        return asking.ask_due(channels=self.parts.channels, now=clock.now() + later)

    def reread(self, refund: ChannelRefund | UUID) -> ChannelRefund:
        """Return a refund as it is stored now."""
        with transaction() as session:
            return session.get_one(ChannelRefund, refund if isinstance(refund, UUID) else refund.id)


@pytest.fixture
def desk(parts: Parts, platform: Platform) -> Desk:
    """What pays and gives back; nothing that other tests left is due."""
    with transaction() as session:
        session.execute(update(ChannelRefund).values(next_try_at=None))
    platform.faults(drop=True)  # what happens here, asking brings about
    return Desk(parts, platform)
