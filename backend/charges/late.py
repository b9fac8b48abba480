"""Late charges (脱机消费上送): what tills took without network, judged when it is told.

The goods are gone, so what can be posted is posted: to the holder, and where the purses hold too
little, as arrears; to the school's risk account where the card was lost or revoked by then, or is
not for paying.  What cannot be posted waits for a person.  Nothing is dropped.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.arrears import service as arrears
from backend.charges.models import Charge, ChargeState
from backend.charges.rules import meal_surcharge, split_charge
from backend.charges.schemas import MOST_CHARGE_FEN
from backend.charges.service import tell_low_balance
from backend.clock import business_date, rfc3339, start_of_day
from backend.errors import DomainError, IdReused, Kind
from backend.holders.models import Holder
from backend.holders.rules import masked_name
from backend.ids import content_hash, new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.money import Fen
from backend.notices import service as notices
from backend.policies.service import Policies, policies_at
from backend.terminals.models import TerminalKind
from backend.terminals.service import TerminalCaller
from backend.uploads import service as uploads
from backend.uploads.models import LateUpload
from backend.uploads.rules import (
    HOLDS,
    NOT_THE_HOLDERS,
    Conflict,
    Outcome,
    UploadKind,
)
from backend.uploads.service import Batch, Claim, Seen
from qr import DeviceCode, Scope

NOTE_LENGTH = 100
ONE_DAY = timedelta(days=1)
CAPS = (
    "offline.per_card_count",
    "offline.per_card_fen",
    "offline.per_sale_fen",
    "offline.per_terminal_fen",
)
POLICIES = ("charge.surcharge_permille", "offline.money", *CAPS)
"""Of the device's time: a key that came with an upgrade may be younger than that."""
FLAG_OVER_CAPS = text("""
    UPDATE late_uploads late
       SET conflicts = late.conflicts || '["over-cap"]', needs_review = true
      FROM (SELECT id, caps, amount_fen,
                   row_number() OVER card AS card_count,
                   sum(amount_fen) OVER card AS card_fen,
                   sum(amount_fen) OVER (ORDER BY sequence, id) AS terminal_fen
              FROM late_uploads
             WHERE terminal_id = :terminal_id AND kind = 'charge' AND accepted
               AND outcome <> 'already-charged'
               AND decided_at >= :begins AND decided_at < :ends
            WINDOW card AS (PARTITION BY coalesce(holder_id, id) ORDER BY sequence, id)) taken
     WHERE late.id = taken.id AND NOT late.conflicts ? 'over-cap'
       AND (taken.amount_fen > (taken.caps ->> 'per_sale_fen')::bigint
            OR taken.card_count > (taken.caps ->> 'per_card_count')::bigint
            OR taken.card_fen > (taken.caps ->> 'per_card_fen')::bigint
            OR taken.terminal_fen > (taken.caps ->> 'per_terminal_fen')::bigint)
""")


class DeclinedOffline(DomainError, code="declined-offline", kind=Kind.CONFLICT):
    """The till has decided alone, and against it.  Fact: `offline_reason`."""


def record(session: Session, claim: Claim, batch: Batch) -> LateUpload:
    """Record what a till decided alone, once, and post what it took.

    A charge that went through online under the same id is not charged again.  Locks the terminal's
    uploads, the id, then the purse: an online charge with the same code, and a loss report, are
    before this or after it.

    Raises:
        TerminalNotAllowed: not a till.
        IdReused: the id came before with other content, online or late.
    """
    terminal = batch.terminal
    terminal.must_be(TerminalKind.TILL)
    late, first = uploads.take(session, claim, batch, kind=UploadKind.CHARGE)
    if not first:
        return late
    late.amount_fen, late.note = claim.said["amount_fen"], _printable(claim.said.get("note"))
    online = session.get(Charge, claim.id)
    if online is not None and not _is_same(online, claim, terminal):
        raise IdReused
    seen = uploads.read(session, late, claim, batch, need=Scope.PAY)
    if online is not None and online.state is ChargeState.APPROVED:
        conflicts = [] if claim.accepted else [Conflict.CHARGED_ONLINE]
        uploads.close(session, late, conflicts, outcome=Outcome.ALREADY_CHARGED, record_id=claim.id)
    elif claim.accepted:
        _judge(session, late, seen, online, batch, content=_content(claim, terminal))
    else:
        _decline(session, late, online, batch, content=_content(claim, terminal))
    return late


def _content(claim: Claim, terminal: TerminalCaller) -> bytes:
    """Return what `charge` makes of the same content, so that an original that comes later than
    its late upload is a retry of it."""
    return content_hash(
        terminal.terminal_id, claim.code, claim.said["amount_fen"], claim.said.get("note")
    )


def _is_same(online: Charge, claim: Claim, terminal: TerminalCaller) -> bool:
    tombstone = online.state is ChargeState.VOIDED and online.content_hash is None
    return online.terminal_id == terminal.terminal_id and (
        tombstone or online.content_hash == _content(claim, terminal)
    )


def _printable(note: str | None) -> str | None:
    """Return a note as it can be stored and shown; a scanner may have read anything."""
    return note and "".join(letter for letter in note if letter.isprintable())[:NOTE_LENGTH]


def _decline(
    session: Session,
    late: LateUpload,
    online: Charge | None,
    batch: Batch,
    *,
    content: bytes,
) -> None:
    """Keep what the till declined; an original that is still on its way is declined too."""
    if online is None:
        declined = _row(session, late, id_=late.id, terminal=batch.terminal, policies=None)
        declined.content_hash = content
        declined.state = ChargeState.DECLINED
        declined.reason = DeclinedOffline.code
        declined.facts = {"offline_reason": late.reason}
        session.add(declined)
    uploads.close(
        session,
        late,
        uploads.conflicts_of_clock(late, batch),
        outcome=Outcome.RECORDED,
        record_id=late.id,
    )


def _judge(
    session: Session,
    late: LateUpload,
    seen: Seen,
    online: Charge | None,
    batch: Batch,
    *,
    content: bytes,
) -> None:
    """Judge what the till took, and post it unless a person has to decide."""
    policies = policies_then(session, late, window=batch.window)
    late.caps = _caps(policies, seen)
    late.policy_ids += [str(id_) for id_ in _used(policies)]
    if late.holder_id is not None:
        ledger.lock_purse(session, holder_id=late.holder_id)
    conflicts = uploads.conflicts_of_clock(late, batch)
    conflicts += uploads.conflicts_of(session, late, seen, scope=Scope.PAY)
    for stands, conflict in (
        (online is not None, Conflict.DECLINED_ONLINE),
        (not policies.values.get("offline.money"), Conflict.OFFLINE_NOT_ALLOWED),
        ((late.amount_fen or 0) > MOST_CHARGE_FEN, Conflict.AMOUNT_OUT_OF_BOUNDS),
    ):
        if stands:
            conflicts.append(conflict)
    outcome, record_id = Outcome.UNDER_REVIEW, None
    if not HOLDS & {*late.conflicts, *conflicts}:
        to_risk = bool(NOT_THE_HOLDERS & {*conflicts})
        charged, owed_fen = post(
            session,
            late,
            terminal=batch.terminal,
            to_risk=to_risk,
            policies=policies,
            content=content,
            now=late.received_at,
        )
        record_id, outcome = charged.id, Outcome.CHARGED
        if to_risk:
            outcome = Outcome.CHARGED_TO_RISK
        elif owed_fen:
            outcome = Outcome.CHARGED_WITH_ARREARS
            conflicts.append(Conflict.SHORTFALL)
    uploads.close(session, late, conflicts, outcome=outcome, record_id=record_id)
    _flag_over_caps(session, late)


def policies_then(session: Session, late: LateUpload, *, window: timedelta) -> Policies:
    """Return the policies of the device's time, as far as we can believe it."""
    earliest = late.received_at - window
    return policies_at(session, min(max(late.decided_at, earliest), late.received_at))


def _used(policies: Policies) -> list[UUID]:
    return policies.used(*(key for key in POLICIES if key in policies.ids))


def _caps(policies: Policies, seen: Seen) -> dict[str, int]:
    """Return the caps of the device's time; a delegation brings lower ones of its own."""
    caps = {key.removeprefix("offline."): int(policies.values.get(key, 0)) for key in CAPS}
    if isinstance(seen.code, DeviceCode):
        delegation = seen.code.delegation
        caps["per_sale_fen"] = min(caps["per_sale_fen"], delegation.cap_fen)
        caps["per_card_count"] = min(caps["per_card_count"], delegation.cap_count)
    return caps


def _flag_over_caps(session: Session, late: LateUpload) -> None:
    """Flag what a till took beyond the caps on the day of an item (超限), by the till's own order.

    An item that comes late may push later ones over, so the whole day is counted again: in any
    order of arrival the same are flagged.
    """
    begins = start_of_day(business_date(late.decided_at))
    session.execute(
        FLAG_OVER_CAPS,
        {
            "terminal_id": late.terminal_id,
            "begins": begins,
            "ends": start_of_day(business_date(begins) + ONE_DAY),
        },
    )


def post(
    session: Session,
    late: LateUpload,
    *,
    terminal: TerminalCaller,
    to_risk: bool,
    policies: Policies,
    content: bytes | None,
    now: datetime,
) -> tuple[Charge, Fen]:
    """Post a late charge; return it, and how much of it the holder owes now.

    To the holder as online: subsidy first, the meal surcharge on top; what the purses lack is laid
    out by the school and opens arrears.  To the risk account: the price alone, and nothing of it
    is the holder's.  `policies` are those of the device's time.  The caller holds the lock on the
    id; this locks the purse.
    """
    taken = session.get(Charge, late.id) is not None
    charged = _row(
        session, late, id_=new_id() if taken else late.id, terminal=terminal, policies=policies
    )
    charged.state, charged.content_hash = ChargeState.APPROVED, content
    charged.charged_at, charged.business_date = now, business_date(now)
    amount_fen, owed_fen = charged.amount_fen or Fen(0), Fen(0)
    facts = {
        "place": late.place,
        "reference": late.reference,
        "decided_at": rfc3339(late.decided_at),
    }
    charged.facts = {"decided_at": facts["decided_at"]}
    if to_risk or late.holder_id is None:
        charged.holder_id = None
        payer = ledger.school_account(session, AccountKind.RISK)
        merchant = terminal.merchant_account_id or payer
        movement = Movement(TransferKind.CHARGE, charged.id, payer, merchant, amount_fen, facts)
        ledger.post(session, [movement], now=now)
    else:
        owed_fen = _charge_holder(
            session, charged, terminal=terminal, policies=policies, facts=facts, now=now
        )
    session.add(charged)
    session.flush()
    return charged, owed_fen


def _charge_holder(
    session: Session,
    charged: Charge,
    *,
    terminal: TerminalCaller,
    policies: Policies,
    facts: dict[str, str],
    now: datetime,
) -> Fen:
    holder = session.get_one(Holder, charged.holder_id)
    price_fen = charged.amount_fen or Fen(0)
    today = policies_at(session, now)
    if terminal.is_canteen and holder.pays_surcharge:
        permille, used = _rate(policies, today)
        charged.surcharge_fen = meal_surcharge(price_fen, permille=permille)
        charged.policy_ids = list(dict.fromkeys([*charged.policy_ids, *map(str, used)]))
    main = ledger.lock_purse(session, holder_id=holder.id)
    subsidy = ledger.purses_of(session, holder_id=holder.id)[AccountKind.SUBSIDY_PURSE]
    price, surcharge = split_charge(
        price_fen=price_fen,
        surcharge_fen=charged.surcharge_fen,
        subsidy_fen=subsidy.balance_fen or Fen(0),
        main_fen=main.balance_fen or Fen(0),
    )
    payers = (main.id, subsidy.id, ledger.school_account(session, AccountKind.ARREARS))
    merchant = ledger.merchant_account(session, merchant_id=charged.merchant_id)
    collected = ledger.school_account(session, AccountKind.SURCHARGE)
    ledger.post(
        session,
        [
            Movement(kind, charged.id, payer, receiver, fen, dict(facts))
            for kind, receiver, shares in (
                (TransferKind.CHARGE, merchant, price),
                (TransferKind.SURCHARGE, collected, surcharge),
            )
            for payer, fen in zip(payers, shares, strict=True)
        ],
        now=now,
    )
    owed_fen = Fen(price.owed_fen + surcharge.owed_fen)
    charged.from_subsidy_fen = Fen(price.subsidy_fen + surcharge.subsidy_fen)
    charged.balance_fen = ledger.balance_of(session, holder_id=holder.id)
    notices.tell(
        session,
        holder_id=holder.id,
        kind="charge-late",
        now=now,
        charge_id=str(charged.id),
        amount_fen=price_fen,
        surcharge_fen=charged.surcharge_fen,
        total_fen=price_fen + charged.surcharge_fen,
        balance_fen=charged.balance_fen,
        **facts,
    )
    tell_low_balance(
        session,
        holder_id=holder.id,
        spent_fen=Fen(price_fen + charged.surcharge_fen - owed_fen),
        balance_fen=charged.balance_fen,
        policies=today,
        now=now,
    )
    if owed_fen:
        arrears.open_arrears(
            session,
            holder_id=holder.id,
            charge_id=charged.id,
            amount_fen=owed_fen,
            facts=facts,
            now=now,
        )
    return owed_fen


def _rate(policies: Policies, today: Policies) -> tuple[int, list[UUID]]:
    """Return the surcharge's rate in permille, and the row that says it: always the holder's best.

    The rate is that of the device's time, but its clock is a claim: where today's is lower, that
    holds.  Before the school had a rate there is none.
    """
    then = policies.values.get("charge.surcharge_permille", 0)
    if today["charge.surcharge_permille"] < then:
        return today["charge.surcharge_permille"], today.used("charge.surcharge_permille")
    return then, []


def _row(
    session: Session,
    late: LateUpload,
    *,
    id_: UUID,
    terminal: TerminalCaller,
    policies: Policies | None,
) -> Charge:
    """Return the charge's row as far as it is the same for all."""
    holder = session.get(Holder, late.holder_id) if late.holder_id else None
    return Charge(
        id=id_,
        terminal_id=late.terminal_id,
        merchant_id=terminal.merchant_id,
        place=late.place,
        facts={},
        holder_id=late.holder_id,
        name_masked=holder and masked_name(holder.name),
        category=holder and holder.category,
        amount_fen=late.amount_fen,
        surcharge_fen=Fen(0),
        from_subsidy_fen=Fen(0),
        reversed_fen=Fen(0),
        surcharge_reversed_fen=Fen(0),
        note=late.note,
        policy_ids=[str(id_) for id_ in _used(policies)] if policies else [],
        charged_at=late.received_at,
        business_date=business_date(late.received_at),
        reference=late.reference,
    )
