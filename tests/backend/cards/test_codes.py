"""Codes over HTTP: what the phone gets, what it can be used for, and when there is none."""

import re
import struct
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import zxingcpp
from factories import Bound, Device, make_gate, make_holder, make_till, present, virtual_card
from phones import Phone
from werkzeug.test import TestResponse

from backend import clock
from backend.cards.models import CardKind
from backend.cards.rules import CardEvent
from backend.charges import service as charges
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.money import Fen
from backend.settings import Settings
from qr import (
    CodeExpired,
    CodeNotYetValid,
    CodeWrongScope,
    Scope,
    Verifier,
    is_short_code,
    make_short_code,
)
from qr.image import draw_png, draw_svg

pytestmark = pytest.mark.usefixtures("app")
BoundPhone = Callable[..., tuple[Bound, Phone]]
MINUTE = timedelta(minutes=1)


def ask(phone: Phone, **said: str) -> list[dict[str, Any]]:
    """Return the codes that a phone gets."""
    answer = phone.call("POST", "/me/codes", {"scope": "pay", **said})
    assert answer.status_code == 200, answer.get_json()
    codes: list[dict[str, Any]] = answer.get_json()["codes"]
    return codes


def refusal(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    return answer.status_code, answer.get_json()["code"]


def charge(phone: Phone, till: Device, text: str, amount_fen: int = 100) -> TestResponse:
    """Charge a code at a till."""
    return phone.client.put(
        f"/api/v1/charges/{new_id()}",
        json={"code": text, "amount_fen": amount_fen},
        headers=till.headers,
    )


def moments(code: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return from when and until when a code is shown."""
    return datetime.fromisoformat(code["not_before"]), datetime.fromisoformat(code["expires_at"])


class TestSigned:
    def test_four_of_them_carry_a_phone_over_two_minutes(
        self, parts: Parts, settings: Settings, bound_phone: BoundPhone
    ) -> None:
        holder, phone = bound_phone()
        codes = ask(phone)
        verifier = Verifier(parts.code_keys.public_keys(clock.now()), issuer=settings.issuer)
        assert len({code["text"] for code in codes}) == len(codes) == 4
        begins = moments(codes[0])[0]
        for number, code in enumerate(codes):
            not_before, expires_at = moments(code)
            assert not_before == begins + number * timedelta(seconds=30)
            assert expires_at == not_before + MINUTE
            for when in (not_before, not_before + MINUTE / 2, expires_at - timedelta(seconds=1)):
                genuine = verifier.verify(code["text"], need=Scope.PAY, now=when)
                assert genuine.alias == virtual_card(holder.id).alias
                assert (genuine.issued_at, genuine.expires_at) == (not_before, expires_at)
            with pytest.raises(CodeNotYetValid):
                verifier.verify(code["text"], need=Scope.PAY, now=not_before - MINUTE)
            with pytest.raises(CodeExpired):
                verifier.verify(code["text"], need=Scope.PAY, now=expires_at + MINUTE)
            with pytest.raises(CodeWrongScope):
                verifier.verify(code["text"], need=Scope.GATE, now=not_before)

    def test_says_the_time_and_when_to_come_again(self, bound_phone: BoundPhone) -> None:
        body = bound_phone()[1].call("POST", "/me/codes", {"scope": "pay"}).get_json()
        assert body.keys() == {"server_time", "refresh_after_seconds", "codes"}
        assert body["refresh_after_seconds"] == 30
        assert abs(datetime.fromisoformat(body["server_time"]) - clock.now()) < MINUTE

    def test_each_issue_begins_later_than_those_before(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        begins = [moments(ask(phone)[0])[0] for _ in range(5)]
        assert begins == sorted(set(begins))

    def test_scopes_are_kept_apart(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        pay, gate = ask(phone)[0]["text"], ask(phone, scope="gate")[0]["text"]
        assert refusal(charge(phone, make_till(), gate)) == (409, "code-wrong-scope")
        assert charge(phone, make_till(), pay).status_code == 201

    def test_the_newest_one_paid_kills_the_older(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        old, new, till = ask(phone)[0]["text"], ask(phone)[0]["text"], make_till()
        assert charge(phone, till, new).status_code == 201
        assert refusal(charge(phone, till, new)) == (409, "code-spent")
        assert refusal(charge(phone, till, old)) == (409, "code-spent")


class TestAfterAPayment:
    @pytest.mark.parametrize("kind", ["signed", "short"])
    def test_the_next_code_is_good_within_the_same_second(
        self, bound_phone: BoundPhone, kind: str
    ) -> None:
        _, phone = bound_phone(balance_fen=500)
        ask(phone), ask(phone)  # issues that were not used move the next one ahead of the clock
        for _ in range(3):
            assert charge(phone, make_till(), ask(phone)[0]["text"]).status_code == 201
            text = ask(phone, kind=kind)[0]["text"]
            assert charge(phone, make_till(), text, amount_fen=50).status_code == 201


class TestAfter2038:
    def test_codes_are_kept_and_compared_by_their_second(self, parts: Parts) -> None:
        holder, till = make_holder(parts, balance_fen=500), make_till()
        first = 2**31 + 7
        answers = []
        for issued_at in (first, first - 2**20, first + 1):
            with transaction() as session:
                charged, _ = charges.charge(
                    session,
                    charge_id=new_id(),
                    terminal=till.caller,
                    code=present(holder.id, issued_at=issued_at),
                    code_text="",
                    amount_fen=Fen(100),
                    note=None,
                    now=clock.now(),
                )
                answers.append(charged.reason)
        assert answers == [None, "code-spent", None]


class TestShort:
    def test_is_read_at_the_till_once(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        (code,) = ask(phone, kind="short")
        assert re.fullmatch(r"[0-9]{20}", code["text"])
        assert moments(code)[1] - moments(code)[0] == MINUTE
        charged = charge(phone, make_till(), code["text"])
        assert charged.status_code == 201
        assert charged.get_json()["holder"] == {"name_masked": "王**", "category": "student"}
        assert charged.get_json()["balance_fen"] == 400
        assert refusal(charge(phone, make_till(), code["text"])) == (409, "code-spent")

    def test_two_of_one_second_do_not_kill_one_another(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        first, second, third = (ask(phone, kind="short")[0]["text"] for _ in range(3))
        assert charge(phone, make_till(), first).status_code == 201
        assert charge(phone, make_till(), third).status_code == 201
        assert refusal(charge(phone, make_till(), second)) == (409, "code-spent")

    def test_lives_in_redis_as_long_as_it_may_be_shown(
        self, parts: Parts, bound_phone: BoundPhone
    ) -> None:
        holder, phone = bound_phone()
        (code,) = ask(phone, kind="short")
        alias = virtual_card(holder.id).alias or b""
        mine = [
            key for key in parts.redis.scan_iter("code:short:*")
            if str(parts.redis.get(key)).startswith(alias.hex())
        ]  # fmt: skip
        assert len(mine) == 1
        assert code["text"] not in mine[0]
        assert 0 < parts.redis.ttl(mine[0]) <= 70

    def test_never_opens_a_door(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        (code,) = ask(phone, kind="short")
        assert [code["kind"] for code in ask(phone, scope="gate", kind="short")] == ["signed"] * 4
        passed = phone.client.put(
            f"/api/v1/passages/{new_id()}",
            json={"code": code["text"], "direction": "in"},
            headers=make_gate().headers,
        )
        assert passed.get_json()["code" if passed.status_code == 409 else "reason"] == (
            "code-wrong-scope"
        )

    def test_guessing_is_stopped(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        till, said = make_till(), []
        (real,) = ask(phone, kind="short")
        shown = int(real["text"][10:12])
        for guess in range(1, 25):  # never the code itself
            text = f"{real['text'][:10]}{(shown + guess) % 100:02d}{real['text'][12:]}"
            said.append(refusal(charge(phone, till, with_check_digit(text)))[1])
        assert said.index("too-many-requests") >= 5

    def test_another_tills_guesses_harm_nobody(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        (code,) = ask(phone, kind="short")
        assert charge(phone, make_till(), code["text"]).status_code == 201


def with_check_digit(text: str) -> str:
    """Return a short code with its right last digit."""
    return next(
        candidate for last in range(10) if is_short_code(candidate := text[:-1] + str(last))
    )


class TestWithoutRedis:
    @pytest.mark.usefixtures("without_redis")
    def test_signed_codes_go_on(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        codes = ask(phone)
        assert len(codes) == 4
        assert charge(phone, make_till(), codes[0]["text"]).status_code == 201
        assert phone.call("GET", f"/me/codes/image?text={codes[1]['text']}").status_code == 200

    @pytest.mark.usefixtures("without_redis")
    def test_one_payment_follows_another_at_once(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        for _ in range(4):
            assert charge(phone, make_till(), ask(phone)[0]["text"]).status_code == 201

    @pytest.mark.usefixtures("without_redis")
    def test_short_ones_wait(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        answer = phone.call("POST", "/me/codes", {"scope": "pay", "kind": "short"})
        assert refusal(answer) == (503, "service-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        text = make_short_code()
        assert refusal(charge(phone, make_till(), text)) == (503, "service-unavailable")
        answer = phone.call("GET", f"/me/codes/image?text={text}")
        assert refusal(answer) == (503, "service-unavailable")

    @pytest.mark.usefixtures("without_redis")
    def test_rates_are_counted_in_this_process(self, bound_phone: BoundPhone) -> None:
        assert refused_after(bound_phone()[1]) >= 12

    @pytest.mark.usefixtures("without_redis")
    def test_it_is_a_warning_to_operations(self, bound_phone: BoundPhone) -> None:
        answer = bound_phone()[1].client.get("/readyz")
        assert (answer.status_code, answer.get_json()["redis"]) == (200, "away")


def refused_after(phone: Phone) -> int:
    """Ask until it is refused, and return how often it was not."""
    for served in range(30):
        answer = phone.call("POST", "/me/codes", {"scope": "gate"})
        if answer.status_code != 200:
            assert refusal(answer) == (429, "too-many-requests")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            return served
    raise AssertionError("never refused")


class TestRate:
    def test_twelve_a_minute(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        assert 12 <= refused_after(phone) <= 24, "a minute may end in between"
        assert phone.call("GET", "/me").status_code == 200

    def test_counts_each_card_for_itself(self, bound_phone: BoundPhone) -> None:
        refused_after(bound_phone()[1])
        assert len(ask(bound_phone()[1])) == 4


class TestBurn:
    def test_kills_every_code_shown_so_far(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone(balance_fen=500)
        signed, (short,) = ask(phone), ask(phone, kind="short")
        assert phone.call("DELETE", "/me/codes").status_code == 204
        till = make_till()
        for code in (*signed[:1], short):
            assert refusal(charge(phone, till, code["text"])) == (409, "code-stale")
            answer = phone.call("GET", f"/me/codes/image?text={code['text']}")
            assert refusal(answer) == (404, "not-found")
        assert charge(phone, till, ask(phone)[0]["text"]).status_code == 201


class TestImage:
    @pytest.mark.parametrize("kind", ["signed", "short"])
    def test_draws_what_a_scanner_reads(self, bound_phone: BoundPhone, kind: str) -> None:
        _, phone = bound_phone()
        for code in ask(phone, kind=kind):
            path = f"/me/codes/image?text={code['text']}"
            svg, png = phone.call("GET", path), phone.call("GET", f"{path}&format=png")
            assert (svg.content_type.split(";")[0], png.content_type) == (
                "image/svg+xml",
                "image/png",
            )
            assert svg.headers["Cache-Control"] == png.headers["Cache-Control"] == "no-store"
            assert (svg.text, png.data) == (draw_svg(code["text"]), draw_png(code["text"]))
            assert scan(png.data) == code["text"]

    def test_draws_every_code_of_every_issue(self, bound_phone: BoundPhone) -> None:
        _, phone = bound_phone()
        codes = [code for _ in range(10) for code in ask(phone)]
        for code in codes:
            assert phone.call("GET", f"/me/codes/image?text={code['text']}").status_code == 200

    @pytest.mark.parametrize("kind", ["signed", "short"])
    def test_draws_no_others(self, bound_phone: BoundPhone, kind: str) -> None:
        code = ask(bound_phone()[1], kind=kind)[0]
        answer = bound_phone()[1].call("GET", f"/me/codes/image?text={code['text']}")
        assert refusal(answer) == (404, "not-found")

    @pytest.mark.parametrize("text", ["hello", "9" * 20, "961" + "0" * 198, "١٢٣", "%00", "<svg>"])
    def test_draws_nothing_that_is_no_code(self, bound_phone: BoundPhone, text: str) -> None:
        answer = bound_phone()[1].call("GET", f"/me/codes/image?text={text}")
        assert refusal(answer) == (404, "not-found")

    @pytest.mark.parametrize("query", ["", "text=", f"text={'9' * 501}", "text=9&format=gif"])
    def test_names_what_does_not_fit(self, bound_phone: BoundPhone, query: str) -> None:
        answer = bound_phone()[1].call("GET", f"/me/codes/image?{query}")
        assert refusal(answer) == (422, "validation-failed")

    def test_keeps_the_codes_out_of_the_log(
        self, bound_phone: BoundPhone, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, phone = bound_phone()
        with caplog.at_level("DEBUG"):
            text = ask(phone)[0]["text"]
            phone.call("GET", f"/me/codes/image?text={text}")
            phone.call("GET", f"/me/codes/image?text={text}x")
        assert text not in caplog.text


class TestNoCodes:
    def test_while_payments_are_paused(self, bound_phone: BoundPhone) -> None:
        holder, phone = bound_phone(balance_fen=500)
        text = ask(phone)[0]["text"]
        assert phone.call("PATCH", "/me/limits", {"paused": True}).status_code == 200
        answer = phone.call("POST", "/me/codes", {"scope": "pay"})
        assert refusal(answer) == (409, "payment-paused")
        assert refusal(charge(phone, make_till(), text)) == (409, "payment-paused")
        assert len(ask(phone, scope="gate")) == 4
        proof = {"paused": False, "document_last_six": holder.document[-6:]}
        assert phone.call("PATCH", "/me/limits", proof).status_code == 200
        assert len(ask(phone)) == 4

    @pytest.mark.parametrize(
        ("event", "code"),
        [
            (CardEvent.REPORT_LOST, "card-lost"),
            (CardEvent.FREEZE, "card-frozen"),
            (CardEvent.EXPIRE, "card-expired"),
            (CardEvent.START_CLOSING, "account-closed"),
        ],
    )
    def test_of_a_card_that_is_stopped(
        self,
        bound_phone: BoundPhone,
        let_happen: Callable[..., None],
        event: CardEvent,
        code: str,
    ) -> None:
        holder, phone = bound_phone(balance_fen=500)
        shown = ask(phone)[0]["text"]
        let_happen(holder.id, CardKind.VIRTUAL, event)
        for method, path, body in (
            ("POST", "/me/codes", {"scope": "pay"}),
            ("POST", "/me/codes", {"scope": "gate"}),
            ("DELETE", "/me/codes", None),
            ("GET", f"/me/codes/image?text={shown}", None),
        ):
            assert refusal(phone.call(method, path, body)) == (409, code)
        assert refusal(charge(phone, make_till(), shown)) == (409, "code-stale")

    def test_of_a_plastic_card_that_is_stopped_the_phone_knows_nothing(
        self, bound_phone: BoundPhone, let_happen: Callable[..., None]
    ) -> None:
        holder, phone = bound_phone()
        let_happen(holder.id, CardKind.PHYSICAL, CardEvent.REPORT_LOST)
        assert len(ask(phone)) == 4

    def test_for_who_is_not_bound(self, new_phone: Callable[..., Phone], parts: Parts) -> None:
        phone = new_phone()
        for method, path, body in (
            ("POST", "/me/codes", {"scope": "pay"}),
            ("DELETE", "/me/codes", None),
            ("GET", "/me/codes/image?text=9", None),
        ):
            answer = phone.call(method, path, body)
            assert refusal(answer) == (403, "not-bound")
            assert answer.get_json()["binding"] == "none"

    @pytest.mark.parametrize(
        "said",
        [{}, {"scope": "all"}, {"scope": "pay", "kind": "long"}, {"scope": ["pay"]}, {"Scope": 1}],
    )
    def test_for_a_wish_that_does_not_fit(
        self, bound_phone: BoundPhone, said: dict[str, Any]
    ) -> None:
        answer = bound_phone()[1].call("POST", "/me/codes", said)
        assert refusal(answer) == (422, "validation-failed")

    def test_for_a_terminals_token(self, bound_phone: BoundPhone) -> None:
        phone = Phone(bound_phone()[1].client, token=make_till().token)
        assert refusal(phone.call("POST", "/me/codes", {"scope": "pay"})) == (
            401,
            "unauthenticated",
        )


class TestOwner:
    def test_two_holders_never_share_an_alias(self, parts: Parts) -> None:
        aliases = {virtual_card(make_holder(parts).id).alias for _ in range(5)}
        assert len(aliases) == 5
        assert all(alias is not None and len(alias) == 6 for alias in aliases)


def scan(png: bytes) -> str:
    """Return what a reader sees in a one-bit PNG whose rows use the filters none and up."""
    chunks, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + size]
        at += size + 12
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    data, stride = zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8
    grey, above = bytearray(), bytes(stride)
    for start in range(0, height * (stride + 1), stride + 1):
        row = data[start + 1 : start + 1 + stride]
        if data[start] == 2:
            row = bytes((byte + upper) % 256 for byte, upper in zip(row, above, strict=True))
        bits = "".join(f"{byte:08b}" for byte in row)[:width]
        grey += bytes(255 * int(bit) for bit in bits)
        above = row
    (seen,) = zxingcpp.read_barcodes(memoryview(bytes(grey)).cast("B", (height, width)))
    return str(seen.text)
