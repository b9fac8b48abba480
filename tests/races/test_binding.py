"""Two phones that bind one holder at the same moment."""

from collections.abc import Callable
from functools import partial
from typing import Any

from factories import Person, make_person
from phones import Phone
from sqlalchemy import func, select

from backend.cards.models import Card, CardKind
from backend.db import transaction
from backend.holders.models import Binding, BindingState
from backend.http.parts import Parts
from backend.ids import new_id

AtOnce = Callable[..., list[Any]]


def bind(phone: Phone, person: Person) -> list[Any]:
    """Take both steps and return their answers."""
    return [
        phone.verify_identity(person),
        phone.verify_payment_identity(),
    ]


class TestOneHolder:
    def test_is_bound_to_one_phone(self, parts: Parts, at_once: AtOnce, app: Any) -> None:
        for _ in range(20):
            person = make_person(parts)
            phones = [Phone(app.test_client(), login_code=new_id().hex) for _ in range(2)]
            for phone in phones:
                phone.log_in()
            steps = at_once(*(partial(bind, phone, person) for phone in phones))
            # 403: half a binding gave way to the other phone's before its second step.
            assert {a.status_code for both in steps for a in both} <= {200, 403, 409}
            with transaction() as session:
                live = session.scalars(
                    select(Binding).where(
                        Binding.holder_id == person.id, Binding.state != BindingState.ENDED
                    )
                ).all()
                cards = session.scalar(
                    select(func.count())
                    .select_from(Card)
                    .where(Card.holder_id == person.id, Card.kind == CardKind.VIRTUAL)
                )
            told = [phone.call("GET", "/me").get_json()["binding"] for phone in phones]
            assert len(live) <= 1
            active = [binding for binding in live if binding.state is BindingState.ACTIVE]
            assert cards == len(active)
            assert told.count("active") == len(active)
