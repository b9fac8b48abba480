"""What the demo tells the platform sandbox: whose accounts there are, and what they have paid."""

from typing import Any
from urllib.request import Request, urlopen

from flask import json
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.demo.people import PEOPLE, Person, document_number, login_code
from backend.holders.models import Holder
from backend.topups.asking import DESCRIPTION
from backend.topups.models import TopUp, TopUpState

CALLBACKS = {"wechat": "wechat-pay", "alipay": "alipay"}


def tell_account(person: Person, *, sandbox_url: str) -> None:
    """Tell whose account this is: its real name."""
    _post(
        f"{sandbox_url}/control/accounts",
        {
            "platform": person.platform,
            "login_code": login_code(person),
            "name": person.name,
            "document_number": document_number(person),
        },
    )


def tell_history(session: Session, *, sandbox_url: str, base_url: str) -> None:
    """Tell what has been paid by now, so that it can be refunded and stands on the bills.

    What the sandbox knows already, it leaves as it is.
    """
    people = {person.holder_number: person for person in PEOPLE}
    paid = session.execute(
        select(TopUp, Holder.holder_number)
        .join(Holder, Holder.id == TopUp.holder_id)
        .where(TopUp.state == TopUpState.PAID, Holder.holder_number.in_(people))
    )
    orders: list[dict[str, Any]] = [
        {
            "channel": top_up.channel,
            "out_trade_no": top_up.out_trade_no,
            "trade_no": top_up.trade_no,
            "amount_fen": top_up.amount_fen,
            "description": DESCRIPTION,
            "notify_url": f"{base_url}/callbacks/{CALLBACKS[top_up.channel]}",
            "login_code": login_code(people[holder_number]),
            "paid_at": top_up.paid_at.isoformat() if top_up.paid_at else None,
        }
        for top_up, holder_number in paid
    ]
    _post(f"{sandbox_url}/control/history", {"orders": orders})


def _post(url: str, body: dict[str, Any]) -> None:
    asked = Request(  # noqa: S310 - the sandbox of our own launcher, on loopback
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urlopen(asked, timeout=10):  # noqa: S310
        pass
