"""Holders whose WeChat the platform sandbox knows, and what arrived there."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import requests
from factories import Bound, make_holder
from sqlalchemy import select, update

from backend import clock
from backend.db import transaction
from backend.holders import login
from backend.http.parts import Parts
from backend.ids import new_id
from backend.notices import messages, relay
from backend.notices import service as notices
from backend.notices.models import MessageState, NoticeMessage, SubscriptionCredit
from payments.sandbox.messages import account_digest

TOLD = {
    "top-up-paid": {"amount_fen": 5000, "balance_fen": 6200, "channel": "wechat"},
    "card-lost": {"credential": "phone", "virtual_card_stopped": True},
    "arrears-opened": {"amount_fen": 380, "arrears_fen": 380, "place": "第一食堂 3 号窗"},
}
STALE = timedelta(minutes=30)


@dataclass
class Post:
    """Both ends of a message: the outbox, and WeChat as the sandbox plays it."""

    parts: Parts
    url: str

    def holder(self) -> Bound:
        """Make somebody whom the platform knows, and who agreed to nothing yet."""
        return make_holder(self.parts)

    def template(self, kind: str) -> str:
        """Return the template of a kind."""
        return self.parts.messengers["wechat"].templates[kind].id

    def agree(self, holder: Bound, kind: str, times: int = 1, *, at_wechat: bool = True) -> None:
        """Let the holder agree to messages of a kind, at WeChat and with us."""
        for _ in range(times):
            if at_wechat:
                self.consent(holder, [self.template(kind)])
            with transaction() as session:
                who = login.authenticate(session, holder.token, clock.now())
                messages.agree(
                    session,
                    consent_id=new_id(),
                    holder_id=holder.id,
                    platform=who.platform,
                    account_index=who.account_index,
                    account_sealed=who.account_sealed,
                    accepted=[self.template(kind)],
                    rejected=[],
                    templates=self.parts.messengers["wechat"].templates,
                    now=clock.now(),
                )

    def consent(self, holder: Bound, template_ids: list[str]) -> None:
        """Answer at WeChat, behind our back; an empty list withdraws everything."""
        self.control("consents", {"account_id": holder.account_id, "template_ids": template_ids})

    def faults(self, **faults: object) -> None:
        """Put these faults in force, in place of the former."""
        self.control("faults", faults)

    def control(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Work the sandbox's controls."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                "GET" if body is None else "POST", f"{self.url}/control/{path}", json=body,
                timeout=10,
            )  # fmt: skip
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    def arrived(self, holder: Bound) -> list[dict[str, Any]]:
        """Return what arrived at a holder's WeChat, the newest first."""
        mine = account_digest(holder.account_id)
        return [one for one in self.control("messages")["items"] if one["account"] == mine]

    def tell(self, holder: Bound, kind: str, *, now: datetime | None = None) -> None:
        """Tell a holder something."""
        with transaction() as session:
            notices.tell(
                session, holder_id=holder.id, kind=kind, now=now or clock.now(), **TOLD[kind]
            )

    def send(self, later: timedelta = timedelta(0), **changes: Any) -> int:
        """Run the relay once, as it runs so much later."""
        given = {
            "messengers": self.parts.messengers,
            "sealer": self.parts.sealer,
            "stale_after": STALE,
            "now": clock.now() + later,
        }
        return relay.send_due(**given | changes)

    def messages(self, holder: Bound) -> list[NoticeMessage]:
        """Return a holder's messages, the oldest first."""
        with transaction() as session:
            return list(
                session.scalars(
                    select(NoticeMessage)
                    .where(NoticeMessage.holder_id == holder.id)
                    .order_by(NoticeMessage.id)
                )
            )

    def states(self, holder: Bound) -> list[tuple[str, str | None]]:
        """Return the states of a holder's messages, and why."""
        return [(message.state.value, message.code) for message in self.messages(holder)]

    def credits(self, holder: Bound, kind: str = "top-up-paid") -> int | None:
        """Return how many messages we believe a holder still lets us send; None for no consent."""
        with transaction() as session:
            return session.scalar(
                select(SubscriptionCredit.credits).where(
                    SubscriptionCredit.holder_id == holder.id,
                    SubscriptionCredit.template_id == self.template(kind),
                )
            )

    def waiting(self, holder_id: UUID) -> None:
        """Make what others left in the outbox wait for another day, but for this holder's."""
        with transaction() as session:
            session.execute(
                update(NoticeMessage)
                .where(
                    NoticeMessage.holder_id != holder_id, NoticeMessage.state == MessageState.DUE
                )
                .values(due_at=clock.now() + timedelta(days=365))
            )
