"""Opening merchants (商户) and their stalls (窗口)."""

from sqlalchemy.orm import Session

from backend.ids import new_id
from backend.ledger.models import Account, AccountKind
from backend.merchants.models import Merchant, Stall


def open_merchant(session: Session, *, name: str, is_canteen: bool) -> Merchant:
    """Open a merchant with its account."""
    merchant = Merchant(id=new_id(), name=name, is_canteen=is_canteen)
    session.add(merchant)
    session.flush()
    session.add(Account(id=new_id(), kind=AccountKind.MERCHANT, merchant_id=merchant.id))
    return merchant


def open_stall(session: Session, *, merchant: Merchant, name: str) -> Stall:
    """Open a stall of a merchant."""
    stall = Stall(id=new_id(), merchant_id=merchant.id, name=name)
    session.add(stall)
    return stall
