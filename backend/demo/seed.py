"""Fills an empty database with the demo college and a month of its life.

Everything goes through the services that the real thing uses, with `now` in the past.
"""

import base64
import csv
import hmac
import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.cards import binding, loss
from backend.cards.codes import PresentedCode
from backend.cards.counter import wake_all
from backend.cards.models import CardKind
from backend.cards.service import ended_accounts, expire_cards, find_card, open_accounts
from backend.charges import service as charges
from backend.clock import business_date
from backend.db import transaction
from backend.demo import cash_desk, sandbox
from backend.demo.people import (
    ACCESS,
    MERCHANTS,
    PEOPLE,
    PLACES,
    STAFF,
    Person,
    document_number,
    login_code,
)
from backend.gates import access, rules
from backend.gates import service as gates
from backend.gates.models import Direction
from backend.holders import login
from backend.holders.models import Category, Holder, Identity, RosterSource
from backend.holders.roster import COLUMNS, FURTHER_COLUMNS, import_roster
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import Account, AccountKind, TransferKind
from backend.ledger.service import Movement
from backend.merchants.models import Merchant
from backend.merchants.service import open_merchant, open_stall
from backend.money import Fen
from backend.operation_log.service import SYSTEM
from backend.operators.service import add_operator
from backend.policies.service import adopt_preset
from backend.sealing import token_hash
from backend.terminals import service as terminals
from backend.terminals.models import Terminal
from backend.topups import service as topups
from backend.topups import settling
from payments import RealNameResult, Trade, TradeState

DAYS = 30
TERMS = "2026-01"
SUBSIDY_FEN = Fen(3_000)
TRADE_NUMBERS = {"wechat": "42", "alipay": "20"}
"""How the numbers of payments begin; each platform's have 28 digits."""
MEALS = (300, 450, 600, 850, 1200, 1550)


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo's secrets are made from, so that they stay the same from run to run."""

    key: bytes

    def secret(self, label: str, length: int = 32) -> str:
        """Return the secret of one thing."""
        digest = hmac.digest(self.key, label.encode(), "sha256")
        return base64.b32encode(digest).decode().rstrip("=")[:length]


def is_seeded(session: Session) -> bool:
    """Say whether the college is there already."""
    return session.scalar(select(Holder.id).limit(1)) is not None


def seed(parts: Parts, demo: Demo, *, sandbox_url: str, now: datetime) -> None:
    """Found the college, bind its people, and live a month by the rules that are laid down."""
    began = now - timedelta(days=DAYS)
    with transaction() as session:
        _found(session, parts, demo, now=began)
    for person in PEOPLE:
        sandbox.tell_account(person, sandbox_url=sandbox_url)
        if person.bound:
            _bind(person, parts, now=began)
    _live(began, now)
    with transaction() as session:
        expire_cards(session, now=now)
        for person in PEOPLE:
            if person.note == "lost":
                loss.report_lost(
                    session,
                    report_id=new_id(),
                    holder_id=_holder(session, person).id,
                    credential="physical_card",
                    stop_virtual_card=True,
                    actor=SYSTEM,
                    now=now - timedelta(hours=3),
                )


def lay_down_rules(session: Session, *, now: datetime) -> None:
    """Put in force what the college goes by since before its month, as the database's owner."""
    began = now - timedelta(days=DAYS)
    adopt_preset(
        session, "standard", document_number="图文〔2026〕1号", now=began - timedelta(days=400)
    )
    adopt_preset(session, "offline_money", document_number="图文〔2026〕7号", now=began)


def _found(session: Session, parts: Parts, demo: Demo, *, now: datetime) -> None:
    for kind, name in (
        (AccountKind.SURCHARGE, None),
        (AccountKind.SUBSIDY_FUND, None),
        *((AccountKind.CHANNEL, channel) for channel in parts.channels),
    ):
        session.add(Account(id=new_id(), kind=kind, name=name))
    merchants = {
        name: open_merchant(session, name=name, is_canteen=is_canteen)
        for name, is_canteen in MERCHANTS
    }
    session.flush()
    for place in PLACES:
        stall = None
        if place.merchant and place.stall:
            stall = open_stall(session, merchant=merchants[place.merchant], name=place.stall)
            session.flush()
        terminal = terminals.register(
            session,
            kind=place.kind,
            place=place.place,
            reader=place.reader,
            stall=stall,
            actor=SYSTEM,
            now=now,
        )
        terminal.token_hash = token_hash(demo.secret(f"terminal:{place.place}"))
        terminal.enrolled_at = terminal.last_seen_at = now
        terminal.software = "demo"
        if place.place in ACCESS:
            access.change(
                session,
                terminal_id=terminal.id,
                wanted=ACCESS[place.place],
                actor=SYSTEM,
                now=now,
            )
    for username, role in STAFF:
        add_operator(
            session,
            username=username,
            role=role,
            password=demo.secret(f"password:{username}", 20),
            totp_secret=demo.secret(f"totp:{username}"),
            sealer=parts.sealer,
        )
    import_roster(
        session,
        content=_roster(now),
        source=RosterSource.CARD_CENTRE,
        sealer=parts.sealer,
        actor=SYSTEM,
        now=now,
        dry_run=False,
        open_accounts=open_accounts,
        ended_accounts=ended_accounts,
        wake_cards=wake_all,
    )


def _roster(now: datetime) -> bytes:
    text = io.StringIO()
    sheet = csv.writer(text)
    sheet.writerow([*COLUMNS.values(), *FURTHER_COLUMNS.values()])
    today = business_date(now) + timedelta(days=DAYS)
    for person in PEOPLE:
        until: date = today + timedelta(days=person.valid_days)
        sheet.writerow(
            [
                person.holder_number,
                person.name,
                person.category.value,
                person.unit,
                document_number(person) if person.identity is Identity.REAL_NAME else "",
                until.isoformat(),
                "是" if person.pays_surcharge else "否",
                person.employment or "",
                person.identity.value,
            ]
        )
    return text.getvalue().encode()


def _bind(person: Person, parts: Parts, *, now: datetime) -> None:
    account = parts.platforms[person.platform].login(login_code(person))
    with transaction() as session:
        token, opened = login.log_in(
            session, platform=person.platform, account=account, sealer=parts.sealer, now=now
        )
        session.flush()
        binding.verify_identity(
            session,
            caller=login.authenticate(session, token, now),
            holder_number=person.holder_number,
            name=person.name,
            document_number=document_number(person),
            terms_version=TERMS,
            sealer=parts.sealer,
            now=now,
        )
        binding.activate(
            session,
            caller=login.authenticate(session, token, now),
            result=RealNameResult.MATCH,
            now=now,
        )
        opened.ended_at = now


def _holder(session: Session, person: Person) -> Holder:
    return session.scalars(select(Holder).where(Holder.holder_number == person.holder_number)).one()


def _live(began: datetime, now: datetime) -> None:
    """Live a month, in the order of time."""
    chance = Random(20260901)  # noqa: S311 - a story, not a secret
    with transaction() as session:
        stage = {
            terminal.place: terminals.caller_of(session, terminal)
            for terminal in session.scalars(select(Terminal))
        }
        lives = [(person, _holder(session, person).id) for person in PEOPLE if person.bound]
    happenings: list[tuple[datetime, Callable[[Session, datetime], Any]]] = []
    for person, holder_id in lives:
        ended = person.note == "expired"
        for day in range(1, DAYS + 1 if not ended else 10):
            morning = began + timedelta(days=day) - timedelta(hours=began.hour)
            happenings += _day(person, holder_id, stage, chance, midnight=morning, day=day)
    happenings += cash_desk.plan(began - timedelta(hours=began.hour))
    happenings.sort(key=lambda happening: happening[0])
    for _, today in groupby(happenings, key=lambda happening: happening[0].date()):
        with transaction() as session:
            for moment, happen in today:
                if moment < now:
                    happen(session, moment)
                    session.flush()


def _day(
    person: Person,
    holder_id: Any,
    stage: dict[str, terminals.TerminalCaller],
    chance: Random,
    *,
    midnight: datetime,
    day: int,
) -> list[tuple[datetime, Callable[[Session, datetime], Any]]]:
    """Plan one person's day; hours are UTC, so noon in Shanghai is 4."""

    def at(hour: float) -> datetime:
        return midnight + timedelta(hours=hour, seconds=chance.randrange(3000))

    plan: list[tuple[datetime, Callable[[Session, datetime], Any]]] = []
    if person.top_up_fen and day in (1, 16):
        plan.append((at(0), _topping_up(person, holder_id)))
    if day == 1 and person.category is Category.STUDENT and person.top_up_fen:
        plan.append((at(1), _subsidising(holder_id)))
    if not person.top_up_fen:
        return [(at(0), _small_change(person, holder_id))] if day == 1 else []
    for hour in (3.5, 9.5):
        if chance.random() < 0.7:  # noqa: PLR2004 - some eat elsewhere
            till = chance.choice(["第一食堂 1号窗", "第一食堂 2号窗"])
            plan.append((at(hour), _paying(holder_id, stage[till], chance.choice(MEALS))))
    if chance.random() < 0.15:  # noqa: PLR2004
        till = chance.choice(["校园超市 收银台", "图书馆咖啡 吧台"])
        plan.append((at(7), _paying(holder_id, stage[till], chance.choice(MEALS))))
    if chance.random() < 0.4:  # noqa: PLR2004
        gate = chance.choice(["图书馆 正门", "3号宿舍楼 大门"])
        if not _may_enter(person, holder_id, gate):
            gate = "图书馆 正门"
        plan.append((at(6), _passing(holder_id, stage[gate], Direction.IN)))
        plan.append((at(12), _passing(holder_id, stage[gate], Direction.OUT)))
    return plan


def _may_enter(person: Person, holder_id: Any, gate: str) -> bool:
    who = rules.Person(holder_id, person.category, person.unit)
    return gate not in ACCESS or bool(rules.opening_hours(ACCESS[gate], who))


def _presented(session: Session, holder_id: Any, moment: datetime) -> PresentedCode:
    card = find_card(session, holder_id=holder_id, kind=CardKind.VIRTUAL)
    alias = (card.alias if card else None) or b""
    return PresentedCode(secrets.token_bytes(12), alias, int(moment.timestamp()))


def _paying(
    holder_id: Any, till: terminals.TerminalCaller, amount_fen: int
) -> Callable[[Session, datetime], Any]:
    def pay(session: Session, moment: datetime) -> None:
        charges.charge(
            session,
            charge_id=new_id(),
            terminal=till,
            code=_presented(session, holder_id, moment),
            code_text="",
            amount_fen=Fen(amount_fen),
            note=None,
            now=moment,
        )

    return pay


def _passing(
    holder_id: Any, gate: terminals.TerminalCaller, direction: Direction
) -> Callable[[Session, datetime], Any]:
    def go(session: Session, moment: datetime) -> None:
        gates.decide(
            session,
            passage_id=new_id(),
            terminal=gate,
            code=_presented(session, holder_id, moment),
            code_text="",
            direction=direction,
            now=moment,
        )

    return go


def _topping_up(person: Person, holder_id: Any) -> Callable[[Session, datetime], Any]:
    return _bringing_in(person, holder_id, Fen(person.top_up_fen))


def _small_change(person: Person, holder_id: Any) -> Callable[[Session, datetime], Any]:
    return _bringing_in(person, holder_id, Fen(150))


def _bringing_in(
    person: Person, holder_id: Any, amount_fen: Fen
) -> Callable[[Session, datetime], Any]:
    def bring(session: Session, moment: datetime) -> None:
        top_up, _ = topups.order(
            session,
            top_up_id=new_id(),
            holder_id=holder_id,
            channel=person.platform,
            amount_fen=amount_fen,
            payer_sealed=None,
            actor=SYSTEM,
            now=moment,
        )
        session.flush()
        settling.settle(
            session,
            channel=person.platform,
            trade=Trade(
                out_trade_no=top_up.out_trade_no,
                state=TradeState.PAID,
                amount_fen=amount_fen,
                currency="CNY",
                trade_no=f"{TRADE_NUMBERS[person.platform]}{top_up.id.int % 10**26:026d}",
                merchant_id="",
                app_id="",
                paid_at=moment,
                payer=None,
            ),
            via="demo",
            now=moment,
        )

    return bring


def _subsidising(holder_id: Any) -> Callable[[Session, datetime], Any]:
    def give(session: Session, moment: datetime) -> None:
        purses = ledger.purses_of(session, holder_id=holder_id)
        ledger.post(
            session,
            [
                Movement(
                    TransferKind.SUBSIDY,
                    new_id(),
                    ledger.school_account(session, AccountKind.SUBSIDY_FUND),
                    purses[AccountKind.SUBSIDY_PURSE].id,
                    SUBSIDY_FEN,
                )
            ],
            now=moment,
        )

    return give


def describe(session: Session, demo: Demo, *, addresses: dict[str, str]) -> dict[str, Any]:
    """Return the demo file: all that a client needs to know."""
    ids = {terminal.place: terminal.id for terminal in session.scalars(select(Terminal))}
    merchants = session.scalars(select(Merchant).order_by(Merchant.name)).all()
    return {
        **addresses,
        "holders": [
            {
                "holder_number": person.holder_number,
                "name": person.name,
                "document_number": document_number(person),
                "category": person.category.value,
                "platform": person.platform,
                "login_code": login_code(person),
                "note": person.note,
            }
            for person in PEOPLE
        ],
        "terminals": [
            {
                "kind": place.kind.value,
                "place": place.place,
                "terminal_id": str(ids[place.place]),
                "token": demo.secret(f"terminal:{place.place}"),
            }
            for place in PLACES
        ],
        "staff": [
            {
                "role": role.value,
                "username": username,
                "password": demo.secret(f"password:{username}", 20),
                "totp_secret": demo.secret(f"totp:{username}"),
            }
            for username, role in STAFF
        ],
        "merchants": [
            {"id": str(m.id), "name": m.name, "is_canteen": m.is_canteen} for m in merchants
        ],
    }
