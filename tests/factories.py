"""People, terminals and codes for tests: plain functions over the services."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pyotp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from backend import clock, db
from backend.cards import binding
from backend.cards.codes import PresentedCode
from backend.cards.models import Card, CardKind
from backend.cards.service import find_card, open_accounts, open_accounts_to_issue
from backend.clock import business_date
from backend.db import transaction
from backend.embedded.postgres import SUPERUSER
from backend.holders import login
from backend.holders.identity import tail_index
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.http.signatures import key_name
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.merchants.service import open_merchant, open_stall
from backend.money import Fen
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM
from backend.operators import service as operators
from backend.operators.models import Operator, OperatorState, Role
from backend.policies.models import Policy
from backend.sealing import token_hash
from backend.terminals import service as terminals
from backend.terminals.models import Reader, Terminal, TerminalKind
from backend.topups import service as topups
from backend.topups import settling
from payments import PlatformAccount, RealNameResult, Trade, TradeState

PASSWORD = secrets.token_urlsafe(16)
"""Of everybody on the staff."""
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True)
class Person:
    """A holder on the roster, and what only they know."""

    id: UUID
    number: str
    name: str
    document: str


@dataclass(frozen=True)
class Bound(Person):
    """A holder whose phone is bound and logged in."""

    token: str
    account_id: str

    @property
    def headers(self) -> dict[str, str]:
        """What the phone sends."""
        return {"Authorization": f"Bearer {self.token}"}


def make_document() -> str:
    """Return a document number nobody has, with its right check digit."""
    born = date(1970, 1, 1) + timedelta(days=secrets.randbelow(13_000))
    body = f"{secrets.randbelow(900_000) + 100_000}{born:%Y%m%d}{secrets.randbelow(1000):03d}"
    total = sum(int(digit) * weight for digit, weight in zip(body, WEIGHTS, strict=True))
    return body + "10X98765432"[total % 11]


def make_person(
    parts: Parts,
    *,
    name: str = "王小明",
    category: Category = Category.STUDENT,
    unit: str = "软件2401班",
    pays_surcharge: bool = False,
    valid_days: int = 365,
    issued: bool = True,
) -> Person:
    """Put somebody on the roster, with purses and a physical card; in hand unless not `issued`."""
    document, number, now = make_document(), secrets.token_hex(5), clock.now()
    holder = Holder(
        id=new_id(),
        holder_number=number,
        name=name,
        category=category,
        unit=unit,
        document_index=parts.sealer.index("document", document),
        document_tail_index=tail_index(parts.sealer, holder_number=number, tail=document[-6:]),
        pays_surcharge=pays_surcharge,
        valid_until=business_date(now) + timedelta(days=valid_days),
        per_charge_limit_fen=None,
        per_day_limit_fen=None,
        raised_limits=None,
        payment_paused=False,
    )
    with transaction() as session:
        session.add(holder)
        session.flush()
        opening = open_accounts if issued else open_accounts_to_issue
        opening(session, [holder.id], actor=SYSTEM, now=now)
    return Person(holder.id, number, name, document)


def make_holder(
    parts: Parts,
    *,
    balance_fen: int = 0,
    subsidy_fen: int = 0,
    platform: str = "wechat",
    account_id: str | None = None,
    **person: Any,
) -> Bound:
    """Make somebody with a bound, logged-in phone, a virtual card, and money in the purses."""
    known, now = make_person(parts, **person), clock.now()
    account_id = account_id or secrets.token_hex(8)
    with transaction() as session:
        token, _ = login.log_in(
            session,
            platform=platform,
            account=PlatformAccount(account_id),
            sealer=parts.sealer,
            now=now,
        )
        session.flush()
        binding.verify_identity(
            session,
            caller=login.authenticate(session, token, now),
            holder_number=known.number,
            name=known.name,
            document_number=known.document,
            terms_version="test",
            sealer=parts.sealer,
            now=now,
        )
        binding.activate(
            session,
            caller=login.authenticate(session, token, now),
            result=RealNameResult.MATCH,
            now=now,
        )
        give(session, known.id, main_fen=balance_fen, subsidy_fen=subsidy_fen, now=now)
    return Bound(known.id, known.number, known.name, known.document, token, account_id)


def give(
    session: Session, holder_id: UUID, *, main_fen: int, subsidy_fen: int, now: datetime
) -> None:
    """Put money into a holder's purses, out of the subsidy fund."""
    purses = ledger.purses_of(session, holder_id=holder_id)
    fund = ledger.school_account(session, AccountKind.SUBSIDY_FUND)
    ledger.post(
        session,
        [
            Movement(TransferKind.SUBSIDY, new_id(), fund, purses[kind].id, Fen(fen))
            for kind, fen in (
                (AccountKind.MAIN_PURSE, main_fen),
                (AccountKind.SUBSIDY_PURSE, subsidy_fen),
            )
        ],
        now=now,
    )


def top_up(holder_id: UUID, amount_fen: int) -> None:
    """Let a holder's top-up arrive, as the channel tells it."""
    now = clock.now()
    with transaction() as session:
        order, _ = topups.order(
            session,
            top_up_id=new_id(),
            holder_id=holder_id,
            channel="wechat",
            amount_fen=Fen(amount_fen),
            payer_sealed=None,
            actor=SYSTEM,
            now=now,
        )
        session.flush()
        trade = Trade(
            out_trade_no=order.out_trade_no,
            state=TradeState.PAID,
            amount_fen=amount_fen,
            currency="CNY",
            trade_no=f"test-{order.out_trade_no}",
            merchant_id="",
            app_id="",
            paid_at=now,
            payer=None,
        )
        settling.settle(session, channel="wechat", trade=trade, via="test", now=now)


@contextmanager
def owners_transaction() -> Iterator[Session]:
    """Open a transaction of the owner of the database, who may put presets in force."""
    owner = create_engine(db.Session.kw["bind"].url.set(username=SUPERUSER))
    with Session(owner, expire_on_commit=False) as session, session.begin():
        yield session
    owner.dispose()


@contextmanager
def other_policies(**values: Any) -> Iterator[None]:
    """Let policies have had other values for ever, and put them back: as only their owner can.

    A dot in a key is written as two underlines: `card__replacement_fee_fen`.
    """
    owner = create_engine(db.Session.kw["bind"].url.set(username=SUPERUSER))
    with Session(owner) as session:
        rows = {
            row: (row.value, value)
            for key, value in values.items()
            for row in session.scalars(select(Policy).where(Policy.key == key.replace("__", ".")))
        }
        try:
            for row, (_, value) in rows.items():
                row.value = value
            session.commit()
            yield
        finally:
            for row, (before, _) in rows.items():
                session.get_one(Policy, row.id, populate_existing=True).value = before
            session.commit()
    owner.dispose()


def balances(holder_id: UUID) -> tuple[int, int]:
    """Return what is in the main and in the subsidy purse."""
    with transaction() as session:
        purses = ledger.purses_of(session, holder_id=holder_id)
        return (
            purses[AccountKind.MAIN_PURSE].balance_fen or 0,
            purses[AccountKind.SUBSIDY_PURSE].balance_fen or 0,
        )


def virtual_card(holder_id: UUID) -> Card:
    """Return a holder's virtual card."""
    with transaction() as session:
        card = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    assert card is not None
    return card


def present(holder_id: UUID, *, issued_at: int | None = None) -> PresentedCode:
    """Return a genuine code of a holder, as if a scanner had read it."""
    alias = virtual_card(holder_id).alias
    assert alias is not None
    when = int(clock.now().timestamp()) if issued_at is None else issued_at
    return PresentedCode(secrets.token_bytes(12), alias, when)


@dataclass(frozen=True)
class Device:
    """An enrolled terminal and its token; the token is empty where it has a device key."""

    caller: terminals.TerminalCaller
    token: str

    @property
    def id(self) -> UUID:
        """The terminal's id."""
        return self.caller.terminal_id

    @property
    def headers(self) -> dict[str, str]:
        """What the terminal sends."""
        return {"Authorization": f"Bearer {self.token}"}


def make_terminal(
    kind: TerminalKind, *, is_canteen: bool = False, key: Ed25519PrivateKey | None = None
) -> Device:
    """Make an enrolled terminal; a till gets a merchant and a stall of its own."""
    token, now = "" if key else secrets.token_urlsafe(16), clock.now()
    with transaction() as session:
        stall = None
        if kind is TerminalKind.TILL:
            merchant = open_merchant(
                session, name=f"商户 {secrets.token_hex(4)}", is_canteen=is_canteen
            )
            stall = open_stall(session, merchant=merchant, name="1号窗")
            session.flush()
        terminal: Terminal = terminals.register(
            session,
            kind=kind,
            place=f"{kind.value} {secrets.token_hex(4)}",
            reader=Reader.CAMERA,
            stall=stall,
            actor=SYSTEM,
            now=now,
        )
        if key:
            terminal.public_key = key.public_key().public_bytes_raw()
            terminal.key_id = key_name(terminal.public_key)
        else:
            terminal.token_hash = token_hash(token)
        terminal.enrolled_at = now
        session.flush()
        return Device(terminals.caller_of(session, terminal), token)


def make_till(*, is_canteen: bool = False, key: Ed25519PrivateKey | None = None) -> Device:
    """Make a till."""
    return make_terminal(TerminalKind.TILL, is_canteen=is_canteen, key=key)


def make_gate(*, key: Ed25519PrivateKey | None = None) -> Device:
    """Make a gate."""
    return make_terminal(TerminalKind.GATE, key=key)


@cache
def password_hash() -> str:
    """Return the hash of `PASSWORD`, made once: it takes a twentieth of a second of hard work."""
    return operators.HASHER.hash(PASSWORD)


def make_staff(parts: Parts, role: Role, *, totp_secret: str | None = None) -> Operator:
    """Add a person of the staff, whose password is `PASSWORD`."""
    username = f"staff-{secrets.token_hex(4)}"
    operator = Operator(
        id=new_id(),
        username=username,
        name=username,
        role=role,
        state=OperatorState.ACTIVE,
        password_hash=password_hash(),
        totp_sealed=parts.sealer.seal("totp", totp_secret or pyotp.random_base32()),
        last_totp_step=0,
    )
    with transaction() as session:
        session.add(operator)
    return operator


def open_session(operator_id: UUID) -> str:
    """Let somebody of the staff be signed in, and return the token of that."""
    with transaction() as session:
        token, _ = operators.open_session(session, operator_id=operator_id, now=clock.now())
    return token


def sign_in(parts: Parts, role: Role) -> dict[str, str]:
    """Add a person of the staff, and return what their requests carry."""
    return {"Authorization": f"Bearer {open_session(make_staff(parts, role).id)}"}


def make_operator(parts: Parts, role: Role) -> operators.OperatorCaller:
    """Add a person of the staff, and return them as services know them."""
    token = sign_in(parts, role)["Authorization"].removeprefix("Bearer ")
    with transaction() as session:
        return operators.authenticate(session, token, clock.now())


def rows_used(subject_id: UUID, action: str) -> set[str]:
    """Return the keys of the policies that the newest entry of an action names (所依据的规定)."""
    with transaction() as session:
        entry = session.scalars(
            select(LogEntry)
            .where(LogEntry.subject_id == subject_id, LogEntry.action == action)
            .order_by(LogEntry.at.desc(), LogEntry.id.desc())
            .limit(1)
        ).one()
        return keys_of(session, entry.policy_ids or [])


def keys_of(session: Session, policy_ids: Sequence[Any]) -> set[str]:
    """Return the keys of some rows of policies."""
    ids = [UUID(str(id_)) for id_ in policy_ids]
    return set(session.scalars(select(Policy.key).where(Policy.id.in_(ids))))
