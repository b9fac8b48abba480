"""Receipts and openings at once: one counts, and everybody has one active card."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from applicants import Case, person
from factories import make_operator, make_person
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from backend import clock
from backend.cards.models import Card, CardState
from backend.clock import business_date, start_of_day
from backend.db import transaction
from backend.errors import DomainError
from backend.holders.models import Category, Holder
from backend.http.parts import Parts
from backend.ids import new_id
from backend.issues import exchanges, handing_out, service
from backend.issues.models import Signature
from backend.issues.rules import months_later
from backend.operators.models import Role
from backend.operators.service import OperatorCaller

AtOnce = Callable[..., list[Any]]


def receive(batch_id: UUID, holder_id: UUID, operator: OperatorCaller, receipt_id: UUID) -> str:
    """Hand a card out; return `first`, `again` or the code of the refusal."""
    try:
        with transaction() as session:
            _, first = handing_out.hand_out(
                session, receipt_id=receipt_id, batch_id=batch_id, holder_id=holder_id,
                signed_by="王小明", signature=Signature.SELF, documents=[], operator=operator,
                now=clock.now(),
            )  # fmt: skip
    except DomainError as refusal:
        return refusal.code
    return "first" if first else "again"


class TestReceipts:
    def test_of_a_first_card_count_once(self, app: Any, parts: Parts, at_once: AtOnce) -> None:
        unit, operator, batch_id = secrets.token_hex(4), make_operator(parts, ROLE), new_id()
        holder = make_person(parts, unit=unit, issued=False).id
        with transaction() as session:
            service.make_batch(
                session, batch_id=batch_id, unit=unit, note=None, operator=operator,
                now=clock.now(),
            )  # fmt: skip
        same = new_id()
        ids = [same, same, new_id(), new_id()]
        told = at_once(*(partial(receive, batch_id, holder, operator, id_) for id_ in ids))
        assert told.count("first") == 1, told
        assert set(told) <= {"first", "again", "item-decided", "id-reused"}
        assert states(holder) == [CardState.ACTIVE]

    def test_of_an_exchange_give_one_card(self, app: Any, parts: Parts, at_once: AtOnce) -> None:
        unit, operator = secrets.token_hex(4), make_operator(parts, ROLE)
        holder = make_person(parts, unit=unit, category=Category.NEW_STUDENT).id
        day = start_of_day(months_later(business_date(clock.now()), 3))
        with transaction() as session:
            batch = exchanges.propose(session, unit=unit, now=day)
        assert batch is not None
        told = at_once(*(partial(receive, batch.id, holder, operator, new_id()) for _ in range(4)))
        assert sorted(told) == ["first", *["item-decided"] * 3]
        assert states(holder) == [CardState.ACTIVE, CardState.VOID]


ROLE = Role.CARD_CENTRE


def states(holder_id: UUID) -> list[CardState]:
    """Return how somebody's cards stand."""
    with transaction() as session:
        return sorted(session.scalars(select(Card.state).where(Card.holder_id == holder_id)))


class TestOpenings:
    def test_at_once_open_each_account_once(self, app: Any, parts: Parts, at_once: AtOnce) -> None:
        case = Case(parts)
        case.approved(replace(case.wanted, people=[person() for _ in range(8)]))

        def open_cards() -> str:
            for _ in range(5):
                try:
                    return "first" if case.open() else "again"
                except OperationalError:  # a lock was waited for too long: the same again
                    continue
            raise AssertionError("never answered")

        told = at_once(*[open_cards] * 4)
        assert sorted(told) == ["again"] * 3 + ["first"]
        ids = [one.holder_id for one in case.people()]
        assert len({id_ for id_ in ids if id_}) == 8
        numbers = [one.holder_number for one in case.people()]
        with transaction() as session:
            found = session.scalars(
                select(Holder.id).where(Holder.holder_number.in_(numbers))
            ).all()
        assert sorted(found) == sorted(id_ for id_ in ids if id_)
        assert [states(id_) for id_ in found] == [[CardState.ACTIVE]] * 8

    def test_under_two_ids_open_once(self, app: Any, parts: Parts, at_once: AtOnce) -> None:
        case = Case(parts).approved()

        def open_cards(opening_id: UUID) -> str:
            try:
                return "first" if case.open(opening_id=opening_id) else "again"
            except DomainError as refusal:
                return refusal.code

        told = at_once(*(partial(open_cards, new_id()) for _ in range(3)))
        assert sorted(told) == ["application-opened", "application-opened", "first"]
