"""Scan and pay (扫码消费), and its undoing: void and reversal."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.cards.codes import PresentedCode
from backend.charges.models import Charge, ChargeReversal, ChargeState, SurchargeReturn
from backend.charges.rules import (
    meal_surcharge,
    rerated_to_return,
    split_return,
    surcharge_to_return,
)
from backend.clock import business_date
from backend.errors import DomainError, Kind, NotFound
from backend.ids import content_hash, new_id, new_reference
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import messages
from backend.notices import service as notices
from backend.operation_log import service as operation_log
from backend.policies.service import Policies, policies_at
from backend.rows import find_row, first_answer, lock_id
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller
from qr import CodeError

POLICIES = (
    "charge.per_charge_cap_fen",
    "charge.per_day_cap_fen",
    "charge.surcharge_permille",
    "notice.charge_from_fen",
    "notice.low_balance_fen",
)
POST_CHARGE = text(
    "SELECT * FROM post_charge(:id, :terminal_id, :merchant_id, :merchant_account,"
    " :surcharge_account, :place, :content_hash, :amount_fen, :surcharge_fen, :note,"
    " :code_fault, :code_key, :alias, :serial, :issued_at, :sequence, :per_charge_cap_fen,"
    " :per_day_cap_fen, :policy_ids, :now, :business_date, :reference)"
).bindparams(bindparam("policy_ids", type_=JSONB))


class ChargeVoided(DomainError, code="charge-voided", kind=Kind.CONFLICT):
    """The till gave this charge up; it will never be charged."""


class ReversalTooLarge(DomainError, code="reversal-too-large", kind=Kind.CONFLICT):
    """More than was charged and not yet given back.  Fact: `reversible_fen`."""


class NotCharged(DomainError, code="not-charged", kind=Kind.CONFLICT):
    """The charge was declined or voided: there is nothing to give back."""


def charge(
    session: Session,
    *,
    charge_id: UUID,
    terminal: TerminalCaller,
    code: PresentedCode | CodeError | DomainError,
    code_text: str,
    amount_fen: Fen,
    note: str | None,
    now: datetime,
) -> tuple[Charge, bool]:
    """Charge the purse behind a card code, once; say whether this call was the first.

    `code` is what `read_code` made of the scanned text, or why it could not: a retry gets the
    first answer, however late it comes and whatever has become of the code since.  A decision uses
    the code up, also a refusal.  `post_charge` in the database does all of it in one statement:
    it locks the charge's id, then the purse.

    Raises:
        TerminalNotAllowed: not a till.
        NotFound: another terminal's charge has this id.
        ChargeVoided: a void came first.
        IdReused: `charge_id` came before with other content.
        CodeError's codes: the code itself is at fault; nothing was stored.
        CodeStale, CodeRevoked, CodeSpent, CardLost, CardFrozen, CardExpired, AccountClosed,
        NotPermitted, PaymentPaused, LimitExceeded, InsufficientBalance: declined, stored, and
            answered again to a retry.
    """
    terminal.must_be(TerminalKind.TILL)
    policies = policies_at(session, now)
    permille = policies["charge.surcharge_permille"] if terminal.is_canteen else 0
    presented = code if isinstance(code, PresentedCode) else None
    reference = new_reference()
    outcome = session.scalars(
        select(Charge).from_statement(POST_CHARGE),
        {
            "id": charge_id,
            "terminal_id": terminal.terminal_id,
            "merchant_id": terminal.merchant_id,
            "merchant_account": terminal.merchant_account_id,
            "surcharge_account": ledger.school_account(session, AccountKind.SURCHARGE),
            "place": terminal.place,
            "content_hash": content_hash(terminal.terminal_id, code_text, amount_fen, note),
            "amount_fen": amount_fen,
            "surcharge_fen": meal_surcharge(amount_fen, permille=permille),
            "note": note,
            "code_fault": None if isinstance(code, PresentedCode) else code.code,
            "code_key": presented and presented.key,
            "alias": presented and presented.alias,
            "serial": presented and presented.serial,
            "issued_at": presented and presented.issued_at,
            "sequence": presented and presented.sequence,
            "per_charge_cap_fen": policies["charge.per_charge_cap_fen"],
            "per_day_cap_fen": policies["charge.per_day_cap_fen"],
            "policy_ids": [str(id_) for id_ in policies.used(*POLICIES)],
            "now": now,
            "business_date": business_date(now),
            "reference": reference,
        },
    ).one()
    session.expunge(outcome)  # an answer that was not stored must not be mistaken for a row
    first = outcome.reference == reference
    if first and outcome.state is ChargeState.APPROVED:
        _tell_further(session, outcome, policies, now=now)
    return outcome, first


def _tell_further(session: Session, charged: Charge, policies: Policies, *, now: datetime) -> None:
    """Write to the holder of a large charge, which `post_charge` has told, and of a low balance."""
    if charged.holder_id is None or charged.amount_fen is None or charged.balance_fen is None:
        return
    total_fen = charged.amount_fen + charged.surcharge_fen
    if total_fen >= policies["notice.charge_from_fen"]:
        messages.enqueue(
            session,
            holder_id=charged.holder_id,
            kind="charge-approved",
            facts={
                "charge_id": str(charged.id),
                "total_fen": total_fen,
                "balance_fen": charged.balance_fen,
                "place": charged.place,
                "reference": charged.reference,
            },
            now=now,
        )
    tell_low_balance(
        session,
        holder_id=charged.holder_id,
        spent_fen=Fen(total_fen),
        balance_fen=charged.balance_fen,
        policies=policies,
        now=now,
    )


def tell_low_balance(
    session: Session,
    *,
    holder_id: UUID,
    spent_fen: Fen,
    balance_fen: Fen,
    policies: Policies,
    now: datetime,
) -> None:
    """Tell a holder that there is little left, when this charge brought it below the limit.

    So it is told once, and again only after the balance has risen.  Both purses count: it is what
    is left to spend.
    """
    low_fen = policies["notice.low_balance_fen"]
    if balance_fen < low_fen <= balance_fen + spent_fen:
        notices.tell(
            session,
            holder_id=holder_id,
            kind="balance-low",
            now=now,
            balance_fen=balance_fen,
            limit_fen=low_fen,
        )


def refusal_of(outcome: Charge) -> DomainError | None:
    """Return why a charge was refused, with its facts, or None for an approved one.

    Another terminal's charge is not found, and nothing of it is told: neither is its reference.
    """
    if outcome.reason is None:
        return None
    if outcome.reason == NotFound.code:
        return NotFound()
    refusal = DomainError.by_code[outcome.reason]
    return refusal(reference=outcome.reference, **outcome.facts)


def find(session: Session, *, charge_id: UUID, terminal: TerminalCaller) -> Charge:
    """Return a charge of the calling till: did it go through?

    Raises:
        NotFound: there is none, or it is another terminal's.
    """
    return find_row(session, Charge, charge_id, terminal_id=terminal.terminal_id)


def void(
    session: Session, *, charge_id: UUID, terminal: TerminalCaller, now: datetime
) -> tuple[Charge, bool]:
    """Make sure that a charge in doubt is never paid for; say whether that was news.

    An approved one is given back whole.  One that never arrived leaves a tombstone, so that it is
    declined when it comes late (I4).  Locks the charge's id, then the purse.

    Raises:
        TerminalNotAllowed: not a till.
        NotFound: another terminal's charge has this id.
    """
    terminal.must_be(TerminalKind.TILL)
    lock_id(session, charge_id)
    charged = session.get(Charge, charge_id)
    if charged is not None and charged.terminal_id != terminal.terminal_id:
        raise NotFound
    if charged is not None and charged.state is not ChargeState.APPROVED:
        news = charged.state is ChargeState.DECLINED
        charged.state = ChargeState.VOIDED
        return charged, news
    if charged is None:
        charged = Charge(
            id=charge_id,
            terminal_id=terminal.terminal_id,
            merchant_id=terminal.merchant_id,
            place=terminal.place,
            state=ChargeState.VOIDED,
            facts={},
            surcharge_fen=Fen(0),
            from_subsidy_fen=Fen(0),
            reversed_fen=Fen(0),
            surcharge_reversed_fen=Fen(0),
            policy_ids=[],
            charged_at=now,
            business_date=business_date(now),
            reference=new_reference(),
        )
        session.add(charged)
    else:
        amount_fen = Fen((charged.amount_fen or 0) - charged.reversed_fen)
        total_fen = _give_back(  # under an id of its own: a reversal may bear the charge's
            session, charged, subject_id=new_id(), amount_fen=amount_fen, now=now
        )
        charged.state = ChargeState.VOIDED
        if charged.holder_id is not None:
            notices.tell(
                session,
                holder_id=charged.holder_id,
                kind="charge-voided",
                now=now,
                charge_id=str(charged.id),
                total_fen=total_fen,
                place=charged.place,
            )
    operation_log.record(
        session,
        actor=terminal.actor,
        action="charge.void",
        holder_id=charged.holder_id,
        subject_id=charged.id,
        reference=charged.reference,
        now=now,
    )
    return charged, True


def reverse(
    session: Session,
    *,
    charge_id: UUID,
    reversal_id: UUID,
    terminal: TerminalCaller,
    amount_fen: Fen,
    now: datetime,
) -> tuple[ChargeReversal, bool]:
    """Give a charge back, whole or in part (冲正); say whether this call was the first.

    The surcharge comes back in proportion, the holder's own money before the subsidy.  Locks the
    charge's id, then the purse.

    Raises:
        TerminalNotAllowed: not a till.
        NotFound: the charge, or this reversal id, is not this till's.
        IdReused: `reversal_id` came before with another amount.
        NotCharged: the charge was declined or voided.
        ReversalTooLarge: more than is left of it.
    """
    terminal.must_be(TerminalKind.TILL)
    lock_id(session, charge_id)
    charged = find(session, charge_id=charge_id, terminal=terminal)
    earlier = first_answer(
        session,
        ChargeReversal,
        reversal_id,
        owner={"charge_id": charge_id},
        amount_fen=amount_fen,
    )
    if earlier is not None:
        return earlier, False
    if charged.state is not ChargeState.APPROVED or charged.amount_fen is None:
        raise NotCharged(state=charged.state.value)
    reversible_fen = charged.amount_fen - charged.reversed_fen
    if amount_fen > reversible_fen:
        raise ReversalTooLarge(reversible_fen=reversible_fen)
    before_fen = charged.surcharge_reversed_fen
    total_fen = _give_back(session, charged, subject_id=reversal_id, amount_fen=amount_fen, now=now)
    reversal = ChargeReversal(
        id=reversal_id,
        charge_id=charge_id,
        amount_fen=amount_fen,
        surcharge_fen=Fen(charged.surcharge_reversed_fen - before_fen),
        reversed_at=now,
        reference=new_reference(),
    )
    session.add(reversal)
    if charged.holder_id is not None:
        notices.tell(
            session,
            holder_id=charged.holder_id,
            kind="charge-reversed",
            now=now,
            charge_id=str(charge_id),
            amount_fen=amount_fen,
            surcharge_fen=reversal.surcharge_fen,
            total_fen=total_fen,
            place=charged.place,
        )
    operation_log.record(
        session,
        actor=terminal.actor,
        action="charge.reverse",
        holder_id=charged.holder_id,
        subject_id=reversal_id,
        reference=reversal.reference,
        now=now,
        charge_id=str(charge_id),
        amount_fen=amount_fen,
    )
    return reversal, True


def find_by_reference(
    session: Session, *, reference: str
) -> tuple[Sequence[Charge], Sequence[ChargeReversal]]:
    """Return the charges and the reversals that a till showed this reference for."""
    charges = session.scalars(select(Charge).where(Charge.reference == reference)).all()
    reversals = session.scalars(
        select(ChargeReversal).where(ChargeReversal.reference == reference)
    ).all()
    return charges, reversals


def _give_back(
    session: Session, charged: Charge, *, subject_id: UUID, amount_fen: Fen, now: datetime
) -> Fen:
    """Post what undoes `amount_fen` of a charge's price and the surcharge on it; return the sum.

    It goes to where it came from: the holder's purses, or the school's risk account.
    """
    price_fen = charged.amount_fen or Fen(0)
    returned_before_fen = Fen(charged.reversed_fen + charged.surcharge_reversed_fen)
    reversed_before_fen = charged.reversed_fen
    charged.reversed_fen = Fen(charged.reversed_fen + amount_fen)
    rerated = session.get(SurchargeReturn, charged.id)
    if rerated is None:
        surcharge_fen = surcharge_to_return(
            amount_fen=price_fen,
            surcharge_fen=charged.surcharge_fen,
            reversed_fen=charged.reversed_fen,
            surcharge_reversed_fen=charged.surcharge_reversed_fen,
        )
    else:
        returned_before_fen = Fen(returned_before_fen + rerated.amount_fen)
        surcharge_fen = rerated_to_return(
            amount_fen=price_fen,
            due_fen=rerated.due_fen,
            reversed_before_fen=reversed_before_fen,
            reversed_fen=charged.reversed_fen,
        )
    charged.surcharge_reversed_fen = Fen(charged.surcharge_reversed_fen + surcharge_fen)
    total_fen = Fen(amount_fen + surcharge_fen)
    facts = {"place": charged.place, "reference": charged.reference}
    merchant = ledger.merchant_account(session, merchant_id=charged.merchant_id)
    if charged.holder_id is None:
        risk = ledger.school_account(session, AccountKind.RISK)
        back = Movement(TransferKind.CHARGE_REVERSAL, subject_id, merchant, risk, amount_fen, facts)
        ledger.post(session, [back], now=now)
        return total_fen
    to_main_fen, _ = split_return(
        total_fen=Fen(price_fen + charged.surcharge_fen),
        from_subsidy_fen=charged.from_subsidy_fen,
        returned_before_fen=returned_before_fen,
        return_fen=total_fen,
    )
    main = ledger.lock_purse(session, holder_id=charged.holder_id)
    subsidy = ledger.purses_of(session, holder_id=charged.holder_id)[AccountKind.SUBSIDY_PURSE]
    surcharge = ledger.school_account(session, AccountKind.SURCHARGE)
    price_to_main = Fen(min(to_main_fen, amount_fen))
    surcharge_to_main = Fen(to_main_fen - price_to_main)
    reversal, surcharge_reversal = TransferKind.CHARGE_REVERSAL, TransferKind.SURCHARGE_REVERSAL
    ledger.post(
        session,
        [
            Movement(kind, subject_id, debit, credit, Fen(fen), facts)
            for kind, debit, credit, fen in (
                (reversal, merchant, main.id, price_to_main),
                (reversal, merchant, subsidy.id, amount_fen - price_to_main),
                (surcharge_reversal, surcharge, main.id, surcharge_to_main),
                (surcharge_reversal, surcharge, subsidy.id, surcharge_fen - surcharge_to_main),
            )
        ],
        now=now,
    )
    arrears.collect(session, holder_id=charged.holder_id, now=now)
    return total_fen
