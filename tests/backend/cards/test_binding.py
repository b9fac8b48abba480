"""Binding over HTTP (实名绑定): two steps on both platforms, few tries, and nothing left behind.

The people of this file have documents that end in X, which neither numbers nor hexadecimal
digests nor times contain: whoever finds their last six characters has found the document.
"""

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.request import Request, urlopen
from uuid import UUID

import pytest
from factories import Bound, Person, balances, make_document, make_person, make_till, present
from phones import Phone
from redis import Redis
from sqlalchemy import func, select, text

from backend import clock
from backend.cards.counter import wake_all
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import ended_accounts, open_accounts
from backend.db import transaction
from backend.holders import identity
from backend.holders.models import (
    Binding,
    BindingState,
    Holder,
    HolderSession,
    RosterSource,
)
from backend.holders.roster import import_roster
from backend.http.parts import Parts
from backend.ids import new_id
from backend.logs import JsonLines
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM

pytestmark = pytest.mark.usefixtures("app", "watched")
NewPhone = Callable[..., Phone]
DAY = 86_400
SECRETS: list[str] = []
"""What this file's people said and got, for the search at its end."""


@pytest.fixture(scope="module")
def watched() -> Iterator[list[str]]:
    """What the application logs while this file runs, at the level it logs at."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keep, root = Keep(), logging.getLogger()
    keep.setFormatter(JsonLines())
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.INFO)
    yield lines
    root.setLevel(level)
    root.removeHandler(keep)


@pytest.fixture
def phone(new_phone: NewPhone) -> Phone:
    """A phone that has logged in."""
    return remembered(new_phone())


def remembered(phone: Phone) -> Phone:
    """Remember what a phone knows that nobody may find."""
    SECRETS.extend((phone.token, phone.login_code))
    return phone


@pytest.fixture
def person(parts: Parts) -> Person:
    """Somebody on the roster, imported as a school imports them."""
    return on_roster(parts)


def on_roster(parts: Parts, name: str = "王小明") -> Person:
    """Import somebody."""
    number = secrets.token_hex(5)
    while not (document := make_document()).endswith("X"):
        pass
    SECRETS.extend((document, document[-6:]))
    feed = (
        "学工号,姓名,类别,单位,证件号码,有效期至\n"
        f"{number},{name},学生,软件2401班,{document},2099-07-01\n"
    )
    with transaction() as session:
        report = import_roster(
            session,
            content=feed.encode(),
            source=RosterSource.CARD_CENTRE,
            sealer=parts.sealer,
            actor=SYSTEM,
            now=clock.now(),
            dry_run=False,
            open_accounts=open_accounts,
            ended_accounts=ended_accounts,
            wake_cards=wake_all,
        )
        assert report.faults == []
        holder_id = session.scalars(select(Holder.id).where(Holder.holder_number == number)).one()
    return Person(holder_id, number, name, document)


def register_real_name(sandbox: str, phone: Phone, person: Person) -> None:
    """Let the platform know whose account it is."""
    said = {
        "platform": phone.platform,
        "login_code": phone.login_code,
        "name": person.name,
        "document_number": person.document,
    }
    asked = Request(
        f"{sandbox}/control/accounts",
        json.dumps(said).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(asked, timeout=10) as answer:
        assert answer.status == 200


def live_binding(holder_id: UUID) -> tuple[str, str] | None:
    """Return the state and the platform of a holder's live binding."""
    with transaction() as session:
        found = session.scalars(
            select(Binding).where(
                Binding.holder_id == holder_id, Binding.state != BindingState.ENDED
            )
        ).one_or_none()
    return found and (found.state.value, found.platform)


class TestBinding:
    @pytest.mark.parametrize("platform", ["wechat", "alipay"])
    def test_takes_two_steps(
        self, parts: Parts, new_phone: NewPhone, platform: str, platform_sandbox: str
    ) -> None:
        phone, person = remembered(new_phone(platform)), on_roster(parts)
        register_real_name(platform_sandbox, phone, person)
        said = {"name_masked": "王**", "holder_number": person.number, "category": "student"}

        first = phone.verify_identity(person)
        assert first.status_code == 200
        assert first.get_json() == {"binding": "identity_verified", **said}
        half = phone.call("GET", "/me").get_json()
        assert (half["binding"], half["holder"], half["purses"]) == ("identity_verified", None, [])
        assert phone.call("POST", "/me/codes", {"scope": "pay"}).status_code == 403

        second = phone.verify_payment_identity()
        assert second.status_code == 200
        assert second.get_json() == {"binding": "active", **said}
        whole = phone.call("GET", "/me").get_json()
        assert whole["binding"] == "active"
        assert whole["virtual_card"]["state"] == "active"
        assert [purse["balance_fen"] for purse in whole["purses"]] == [0, 0]
        assert live_binding(person.id) == ("active", platform)
        assert phone.log_in().get_json()["binding"] == "active"

    def test_is_written_into_the_operation_log(self, phone: Phone, person: Person) -> None:
        phone.bind(person)
        with transaction() as session:
            actions = session.scalars(
                select(LogEntry.action).where(LogEntry.holder_id == person.id).order_by(LogEntry.id)
            ).all()
        assert actions == ["card.open_account", "holder.verify_identity", "holder.bind"]

    def test_forgives_how_the_name_is_typed(self, parts: Parts, phone: Phone) -> None:
        person = on_roster(parts, name="买买提·艾力")
        answer = phone.verify_identity(
            person, name=" 买买提・艾力 ", document_number=person.document.lower()
        )
        assert answer.get_json()["binding"] == "identity_verified"

    def test_a_retry_of_either_step_is_harmless(self, phone: Phone, person: Person) -> None:
        for _ in range(7):  # more than the tries of a day: proving it clears the count
            assert phone.verify_identity(person).get_json()["binding"] == "identity_verified"
        for _ in range(3):
            assert phone.verify_payment_identity().get_json()["binding"] == "active"
        for _ in range(7):
            assert phone.verify_identity(person).get_json()["binding"] == "active"
        with transaction() as session:
            bindings, cards = (
                session.scalar(select(func.count()).select_from(table).where(mine))
                for table, mine in (
                    (Binding, Binding.holder_id == person.id),
                    (Card, (Card.holder_id == person.id) & (Card.kind == CardKind.VIRTUAL)),
                )
            )
        assert (bindings, cards) == (1, 1)


class TestIdentityStep:
    @pytest.mark.parametrize("wrong", ["holder_number", "name", "document_number", "swapped"])
    def test_says_the_same_whatever_is_wrong(
        self, parts: Parts, phone: Phone, person: Person, wrong: str
    ) -> None:
        other = on_roster(parts, name="李四")
        changed = {
            "holder_number": {"holder_number": "nobody"},
            "name": {"name": "王小红"},
            "document_number": {"document_number": "11010519491231002X"},
            "swapped": {"document_number": other.document, "name": other.name},
        }[wrong]
        answer = phone.verify_identity(person, **changed)
        body = answer.get_json()
        assert len(body.pop("reference")) == 8
        assert (answer.status_code, body) == (
            409,
            {
                "type": "urn:campus-card:problem:identity-not-matched",
                "title": "信息不符",
                "status": 409,
                "detail": "学工号、姓名与证件信息不一致，请核对后重试。",
                "code": "identity-not-matched",
            },
        )
        assert live_binding(person.id) is None

    def test_needs_the_steps_in_order(self, phone: Phone) -> None:
        answer = phone.verify_payment_identity()
        assert (answer.status_code, answer.get_json()["code"]) == (403, "not-bound")

    def test_holds_for_fifteen_minutes(
        self, phone: Phone, person: Person, age_session: Callable[..., None]
    ) -> None:
        phone.verify_identity(person)
        age_session(phone.token, "identity_sealed_at", timedelta(minutes=15))
        answer = phone.verify_payment_identity()
        assert (answer.status_code, answer.get_json()["code"]) == (409, "identity-step-expired")
        phone.verify_identity(person)
        assert phone.verify_payment_identity().status_code == 200

    def test_is_forgotten_when_it_is_too_old(
        self, phone: Phone, person: Person, age_session: Callable[..., None]
    ) -> None:
        phone.verify_identity(person)
        age_session(phone.token, "identity_sealed_at", timedelta(minutes=15))
        with transaction() as session:
            assert identity.forget_old_identity_steps(session, now=clock.now()) >= 1
            assert identity.forget_old_identity_steps(session, now=clock.now()) == 0

    def test_belongs_to_the_session_that_took_it(self, phone: Phone, person: Person) -> None:
        phone.verify_identity(person)
        remembered(phone).log_in()
        answer = phone.verify_payment_identity()
        assert answer.get_json()["code"] == "identity-step-expired"

    def test_pays_for_the_person_who_was_verified_and_nobody_else(
        self, parts: Parts, new_phone: NewPhone, platform_sandbox: str
    ) -> None:
        thief, victim = on_roster(parts, name="张三"), on_roster(parts, name="李四")
        first = remembered(new_phone())
        register_real_name(platform_sandbox, first, thief)
        second = Phone(first.client, first.platform, first.login_code)
        second.log_in()
        first.verify_identity(thief)
        second.verify_identity(victim)  # the account's half binding is the victim's now
        answer = first.verify_payment_identity()  # while this session still holds the thief's name
        assert answer.get_json()["code"] == "identity-step-expired"
        answer = second.verify_payment_identity()
        assert answer.get_json()["code"] == "payment-identity-mismatch"
        assert live_binding(victim.id) == ("identity_verified", "wechat")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("holder_number", ""),
            ("holder_number", "1" * 33),
            ("name", "\x00"),
            ("document_number", "12345"),
            ("document_number", 110105),
            ("terms_version", None),
            ("is_admin", True),
        ],
    )
    def test_names_the_field_that_does_not_fit(
        self, phone: Phone, person: Person, field: str, value: object
    ) -> None:
        answer = phone.verify_identity(person, **{field: value})  # type: ignore[arg-type]
        assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [field])


class TestTries:
    def test_five_a_day_for_an_account(self, parts: Parts, phone: Phone, person: Person) -> None:
        for _ in range(5):
            wrong = phone.verify_identity(person, holder_number=secrets.token_hex(4))
            assert wrong.get_json()["code"] == "identity-not-matched"
        answer = phone.verify_identity(person)  # right at last, and too late
        assert (answer.status_code, answer.get_json()["code"]) == (429, "too-many-tries")
        assert DAY - 60 < int(answer.headers["Retry-After"]) <= DAY
        assert phone.verify_identity(person).status_code == 429
        assert live_binding(person.id) is None

    def test_five_a_day_for_a_holder_number(self, new_phone: NewPhone, person: Person) -> None:
        for _ in range(5):
            wrong = remembered(new_phone()).verify_identity(person, name="别人")
            assert wrong.get_json()["code"] == "identity-not-matched"
        answer = remembered(new_phone()).verify_identity(person)
        assert (answer.status_code, answer.get_json()["code"]) == (429, "too-many-tries")

    def test_counts_account_and_number_apart(
        self, parts: Parts, new_phone: NewPhone, person: Person
    ) -> None:
        phone = remembered(new_phone())
        for _ in range(3):
            phone.verify_identity(person, holder_number=secrets.token_hex(4))
        for _ in range(3):
            remembered(new_phone()).verify_identity(person, name="别人")
        assert phone.verify_identity(person).status_code == 200

    def test_nobody_buys_guesses_by_proving_who_they_are(
        self, parts: Parts, phone: Phone, person: Person
    ) -> None:
        own, codes = on_roster(parts, name="张三"), []
        for _ in range(3):
            for _ in range(3):
                guess = phone.verify_identity(person, document_number=make_document())
                codes.append(guess.get_json()["code"])
            phone.verify_identity(own)
        assert codes == ["identity-not-matched"] * 5 + ["too-many-tries"] * 4

    def test_are_counted_one_after_the_other(self, parts: Parts, person: Person) -> None:
        account_index, now = secrets.token_bytes(32), clock.now()

        def one_try(_: int) -> bool:
            try:
                with transaction() as session:
                    identity.count_try(
                        session,
                        account_index=account_index,
                        holder_number=person.number,
                        sealer=parts.sealer,
                        now=now,
                    )
            except identity.TooManyTries:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(one_try, range(24))) == 5

    def test_are_free_again_after_a_day(self, parts: Parts) -> None:
        now, account_index = clock.now(), secrets.token_bytes(32)

        def count(hours: int) -> None:
            with transaction() as session:
                identity.count_try(
                    session,
                    account_index=account_index,
                    holder_number=account_index.hex()[:8],
                    sealer=parts.sealer,
                    now=now + timedelta(hours=hours),
                )

        for hours in range(5):
            count(hours)
        with pytest.raises(identity.TooManyTries) as refused:
            count(5)
        assert refused.value.facts == {"retry_after": 19 * 3600}
        count(24)
        with pytest.raises(identity.TooManyTries):
            count(24)


class TestPaymentStep:
    @pytest.mark.parametrize("platform", ["wechat", "alipay"])
    @pytest.mark.parametrize(
        "said",
        [
            ("mismatch", 409, "payment-identity-mismatch"),
            ("unavailable", 503, "payment-identity-unavailable"),
        ],
    )
    def test_passes_on_what_the_platform_says(
        self, new_phone: NewPhone, person: Person, platform: str, said: tuple[str, int, str]
    ) -> None:
        note, status, code = said
        phone = remembered(new_phone(platform, note))
        phone.verify_identity(person)
        answer = phone.verify_payment_identity()
        assert (answer.status_code, answer.get_json()["code"]) == (status, code)
        assert ("Retry-After" in answer.headers) == (status == 503)
        assert live_binding(person.id) == ("identity_verified", platform)
        assert phone.call("GET", "/me").get_json()["virtual_card"] is None

    def test_compares_the_account_with_the_person(
        self, parts: Parts, phone: Phone, person: Person, platform_sandbox: str
    ) -> None:
        register_real_name(platform_sandbox, phone, on_roster(parts, name="她的母亲"))
        phone.verify_identity(person)
        answer = phone.verify_payment_identity()
        assert answer.get_json()["code"] == "payment-identity-mismatch"


class TestAlreadyBound:
    def test_the_holder(self, phone: Phone, new_phone: NewPhone, person: Person) -> None:
        phone.bind(person)
        answer = remembered(new_phone("alipay")).verify_identity(person)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "already-bound")
        assert live_binding(person.id) == ("active", "wechat")

    def test_the_account(self, parts: Parts, phone: Phone, person: Person) -> None:
        other = on_roster(parts, name="李四")
        phone.bind(person)
        answer = phone.verify_identity(other)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "already-bound")
        assert live_binding(other.id) is None

    def test_is_told_only_to_who_proved_to_be_the_person(
        self, phone: Phone, new_phone: NewPhone, person: Person
    ) -> None:
        phone.bind(person)
        answer = remembered(new_phone()).verify_identity(person, name="别人")
        assert answer.get_json()["code"] == "identity-not-matched"

    def test_half_a_binding_gives_way(self, new_phone: NewPhone, person: Person) -> None:
        first, second = remembered(new_phone("alipay")), remembered(new_phone("wechat"))
        first.verify_identity(person)
        second.bind(person)
        assert live_binding(person.id) == ("active", "wechat")
        assert first.call("GET", "/me").get_json()["binding"] == "none"
        assert first.verify_payment_identity().get_json()["code"] == "not-bound"


class TestPhysicalCard:
    @pytest.mark.parametrize(
        ("event", "code"),
        [
            (CardEvent.REPORT_LOST, "card-lost"),
            (CardEvent.FREEZE, "card-frozen"),
            (CardEvent.EXPIRE, "card-expired"),
            (CardEvent.START_CLOSING, "account-closed"),
        ],
    )
    def test_stands_in_the_way_of_binding(
        self,
        phone: Phone,
        person: Person,
        let_happen: Callable[..., None],
        event: CardEvent,
        code: str,
    ) -> None:
        let_happen(person.id, CardKind.PHYSICAL, event)
        answer = phone.verify_identity(person)
        assert (answer.status_code, answer.get_json()["code"]) == (409, code)
        wrong = phone.verify_identity(person, name="别人")
        assert wrong.get_json()["code"] == "identity-not-matched"

    def test_so_does_the_last_day_being_over(self, parts: Parts, phone: Phone) -> None:
        answer = phone.verify_identity(make_person(parts, valid_days=-1))
        assert answer.get_json()["code"] == "card-expired"

    def test_the_last_day_itself_is_good(self, parts: Parts, phone: Phone) -> None:
        assert phone.verify_identity(make_person(parts, valid_days=0)).status_code == 200


class TestUnbind:
    def test_ends_sessions_and_codes_and_keeps_the_money(
        self,
        parts: Parts,
        bound_phone: Callable[..., tuple[Bound, Phone]],
        new_phone: NewPhone,
    ) -> None:
        holder, phone = bound_phone(balance_fen=1234)
        code = phone.call("POST", "/me/codes", {"scope": "pay"}).get_json()["codes"][0]["text"]
        assert phone.call("DELETE", "/me/binding").status_code == 204
        assert phone.call("GET", "/me").status_code == 401
        assert balances(holder.id) == (1234, 0)
        charged = phone.client.put(
            f"/api/v1/charges/{new_id()}",
            json={"code": code, "amount_fen": 1},
            headers=make_till().headers,
        )
        assert (charged.status_code, charged.get_json()["code"]) == (409, "code-stale")
        with transaction() as session:
            states = session.scalars(
                select(Card.state).where(Card.holder_id == holder.id, Card.kind == CardKind.VIRTUAL)
            ).all()
        assert states == [CardState.VOID]

        again = remembered(new_phone("alipay"))
        again.bind(holder)
        purses = again.call("GET", "/me").get_json()["purses"]
        assert purses[0] == {"kind": "main", "balance_fen": 1234}
        assert present(holder.id).alias

    def test_of_half_a_binding(self, phone: Phone, person: Person) -> None:
        phone.verify_identity(person)
        assert phone.call("DELETE", "/me/binding").status_code == 204
        assert live_binding(person.id) is None

    def test_of_nothing_logs_out(self, phone: Phone) -> None:
        assert phone.call("DELETE", "/me/binding").status_code == 204
        assert phone.call("GET", "/me").status_code == 401


class TestSecrecy:
    """Runs last: whatever the people above said must be nowhere."""

    def test_the_search_finds_what_is_there(self, person: Person) -> None:
        assert person.number in everything_in_the_database()
        assert "王小明" in everything_in_the_database()

    def test_nothing_is_left_of_documents_and_tokens(
        self, parts: Parts, person: Person, phone: Phone, watched: list[str]
    ) -> None:
        phone.bind(person)
        assert {person.document, phone.token} <= set(SECRETS)
        for place, said in {
            "PostgreSQL": everything_in_the_database(),
            "Redis": everything_in_redis(parts.redis),
            "the log": "\n".join(watched),
        }.items():
            assert len(said) > 100, place
            found = [secret for secret in SECRETS if secret in said or secret.lower() in said]
            assert len(found) == 0, place

    def test_half_a_binding_keeps_name_and_document_sealed(
        self, parts: Parts, phone: Phone, person: Person
    ) -> None:
        phone.verify_identity(person)
        with transaction() as session:
            sealed = session.scalars(
                select(HolderSession.identity_sealed).where(
                    HolderSession.identity_sealed.is_not(None)
                )
            ).all()
        assert sealed
        assert all(parts.sealer.unseal("identity-step", box) is None for box in sealed if box)
        assert person.document not in everything_in_the_database()


def everything_in_the_database() -> str:
    """Return every row of every table as text."""
    with transaction() as session:
        tables = session.scalars(
            text("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename)"
                 " FROM pg_tables WHERE schemaname = 'public'")
        ).all()  # fmt: skip
        rows = [
            row
            for table in tables
            for row in session.scalars(text(f"SELECT t::text FROM {table} AS t"))
        ]
    return "\n".join(rows)


def everything_in_redis(redis: Redis) -> str:
    """Return every key and what it holds."""
    said = []
    for key in redis.scan_iter():
        assert redis.type(key) == "string"
        said.append(f"{key} {redis.get(key)}")
    return "\n".join(said)
