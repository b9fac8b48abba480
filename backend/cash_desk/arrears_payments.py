"""Cash for the arrears of a closed account (现金补缴欠费), past its purses."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.arrears.service import TopUpPays
from backend.cards.service import is_account_closed
from backend.cash_desk import service
from backend.cash_desk.models import CashPurpose, CashTopUp
from backend.clock import business_date
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.operation_log import service as operation_log
from backend.operators.service import OperatorCaller
from backend.policies.service import policies_at

POLICIES = ("cash.most_fen", "cash.shift_most_fen", "operator.cash_day_fen")


def take(
    session: Session,
    *,
    payment_id: UUID,
    shift_id: UUID,
    holder_id: UUID,
    amount_fen: Fen,
    note: str | None,
    cashier: OperatorCaller,
    now: datetime,
) -> tuple[CashTopUp, bool]:
    """Pay arrears of a closed account with cash that lies in the drawer, with a receipt.

    Says whether this call was the first.  A part may be paid; the oldest arrears come first.  Locks
    as `service.take` does: the id, the shift, the main purse, and last the account `cash`.

    Raises:
        NotFound: another cashier's payment has this id, or there is no such shift of this cashier,
            or no such holder.
        IdReused: `payment_id` came before with other content.
        ShiftNotOpen, ShiftOver: the drawer takes nothing any more.
        TopUpPays: the account is open, and cash is a top-up.
        LimitExceeded: too much at once, or too full a drawer.
        OperatorLimit: the cashier has taken as much today as one person may, over all drawers.
        ArrearsDiffer: the holder owes less.
    """
    earlier = service.earlier_receipt(
        session,
        payment_id,
        CashPurpose.ARREARS,
        shift_id=shift_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        note=note,
        cashier=cashier,
    )
    if earlier is not None:
        return earlier, False
    day = business_date(now)
    shift, _ = service.lock_drawer(
        session, shift_id=shift_id, holder_id=holder_id, cashier=cashier, day=day
    )
    if not is_account_closed(session, holder_id=holder_id):
        raise TopUpPays
    policies = policies_at(session, now)
    service.check_limits(session, shift, None, amount_fen, policies, cashier=cashier, day=day)
    parts = arrears.pay_past_purse(session, holder_id=holder_id, amount_fen=amount_fen, now=now)
    cash, number = service.next_number(session, day=day)
    payment = CashTopUp(
        id=payment_id,
        shift_id=shift.id,
        cashier_id=cashier.operator_id,
        holder_id=holder_id,
        amount_fen=amount_fen,
        balance_fen=ledger.balance_of(session, holder_id=holder_id),
        business_date=day,
        number=number,
        note=note,
        arrears_parts=parts,
        taken_at=now,
        policy_ids=[str(id_) for id_ in policies.used(*POLICIES)],
    )
    facts: dict[str, Any] = {"place": shift.desk, "receipt_number": payment.receipt_number}
    account = ledger.school_account(session, AccountKind.ARREARS)
    movement = Movement(TransferKind.ARREARS_CASH, payment_id, cash, account, amount_fen, facts)
    ledger.post(session, [movement], now=now)
    session.add(payment)
    session.flush()
    operation_log.record(
        session,
        actor=cashier.actor,
        action="arrears.pay_in_cash",
        holder_id=holder_id,
        subject_id=payment_id,
        now=now,
        policy_ids=policies.used(*POLICIES),
        amount_fen=amount_fen,
        arrears_fen=arrears.open_fen(session, holder_id=holder_id),
        receipt_number=payment.receipt_number,
        place=shift.desk,
    )
    return payment, True
