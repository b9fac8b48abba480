"""Phones, and what may happen to them and their cards."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Bound, make_holder, owners_transaction
from flask import Flask
from flask.testing import FlaskClient
from phones import Phone
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select, update

from backend import clock
from backend.cards.models import Card, CardKind
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, find_card
from backend.db import transaction
from backend.holders.models import HolderSession
from backend.http.parts import Parts
from backend.http.rates import Rates
from backend.operation_log.service import SYSTEM
from backend.policies.service import adopt_preset
from backend.sealing import token_hash


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Whoever talks to the application."""
    return app.test_client()


@pytest.fixture
def new_phone(client: FlaskClient) -> Callable[..., Phone]:
    """Make a phone that has logged in."""

    def make(platform: str = "wechat", note: str = "") -> Phone:
        phone = Phone(client, platform, f"phone {note} {secrets.token_hex(8)}")
        assert phone.log_in().status_code == 201
        return phone

    return make


@pytest.fixture
def bound_phone(client: FlaskClient, parts: Parts) -> Callable[..., tuple[Bound, Phone]]:
    """Make a holder, and the phone that is bound."""

    def make(**holder: Any) -> tuple[Bound, Phone]:
        known = make_holder(parts, **holder)
        return known, Phone(client, token=known.token)

    return make


@pytest.fixture
def without_redis(app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the application find nobody where Redis should be."""
    dead: Redis = Redis(port=1, decode_responses=True, retry=Retry(NoBackoff(), 0))
    monkeypatch.setitem(
        app.extensions, "campus_card", replace(parts, redis=dead, rates=Rates(dead))
    )


@pytest.fixture
def regulation(app: Flask) -> Iterator[None]:
    """Put the preset `regulation` in force: restoring is for the counter and the kiosk."""
    with owners_transaction() as session:
        adopt_preset(session, "regulation", document_number="test", now=clock.now())
    yield
    with owners_transaction() as session:
        adopt_preset(session, "standard", document_number="test", now=clock.now())


def happen(holder_id: UUID, kind: CardKind, *events: CardEvent) -> None:
    """Let events happen to a holder's card."""
    for event in events:
        with transaction() as session:
            card = find_card(session, holder_id=holder_id, kind=kind)
            assert card is not None
            change_state(session, card=card, event=event, actor=SYSTEM, now=clock.now())


@pytest.fixture
def let_happen() -> Callable[..., None]:
    """Let events happen to a holder's card."""
    return happen


@pytest.fixture
def card_number() -> Callable[[UUID], str]:
    """Read the number off a holder's physical card."""

    def read(holder_id: UUID) -> str:
        with transaction() as session:
            number = session.scalars(
                select(Card.number).where(
                    Card.holder_id == holder_id, Card.kind == CardKind.PHYSICAL
                )
            ).one()
        assert number is not None
        return number

    return read


@pytest.fixture
def age_session() -> Callable[..., None]:
    """Move a moment of a holder's session back."""

    def move(token: str, column: str, by: timedelta) -> None:
        moved = getattr(HolderSession, column)
        with transaction() as session:
            session.execute(
                update(HolderSession)
                .where(HolderSession.token_hash == token_hash(token))
                .values({column: moved - by})
            )

    return move
