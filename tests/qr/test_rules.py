from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qr import Delegation, DeviceCode, Scope, SignedCode
from qr.rules import Access, GateRules, Hours, OfflinePolicy, Reason, Spent, TillRules

MONDAY = datetime(2026, 9, 21, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALWAYS = Hours(frozenset(range(1, 8)), 0, 1440)
ANNA, BELA = b"anna..", b"bela.."
TILL = TillRules(
    offline=True, per_sale_fen=1_500, per_card_count=3, per_card_fen=4_000, terminal_fen=50_000
)

days = st.frozensets(st.integers(1, 7))
minutes = st.integers(0, 1440)
amounts = st.integers(1, 60_000)
spent = st.builds(Spent, count=st.integers(0, 5), fen=st.integers(0, 60_000))


def card(alias=ANNA):
    return SignedCode(alias, Scope.PAY, 7, MONDAY, MONDAY + MINUTE, b"nonce")


def phone(serial=1, *, cap_yuan=255, cap_count=255):
    delegation = Delegation(
        serial, bytes(32), Scope.PAY, 7, MONDAY + timedelta(days=3), cap_yuan, cap_count
    )
    return DeviceCode(delegation, Scope.PAY, MONDAY, 0)


def gate(*classes, default=0):
    return GateRules(
        scope=Scope.GATE,
        offline=OfflinePolicy.SIGNED,
        passback=timedelta(),
        emergency=False,
        classes=classes,
        default=default,
    )


class TestHours:
    @given(days=days, begins=minutes, ends=minutes, at=st.integers(0, 7 * 1440 * 60 - 1))
    def test_hold_at_the_minutes_of_their_days(self, days, begins, ends, at):
        assume(begins < ends)
        day, second = divmod(at, 1440 * 60)
        expected = day + 1 in days and begins * 60 <= second < ends * 60
        hours = Hours(days, begins, ends)
        assert hours.hold(MONDAY + timedelta(seconds=at)) == expected

    @given(days=days, begins=minutes, ends=minutes)
    def test_are_read_as_they_are_spelled(self, days, begins, ends):
        assume(begins < ends)
        hours = Hours(days, begins, ends)
        assert Hours.read(hours.spelled) == hours

    @pytest.mark.parametrize(
        "wrong", [({0}, 0, 1), ({8}, 0, 1), ({1}, -1, 1), ({1}, 0, 1441), ({1}, 5, 5), ({1}, 6, 5)]
    )
    def test_lie_within_a_day(self, wrong):
        with pytest.raises(ValueError, match="within a day"):
            Hours(frozenset(wrong[0]), *wrong[1:])


class TestGateRules:
    def test_let_the_first_class_speak_that_names_somebody(self):
        rules = gate(
            Access((), frozenset({ANNA}), frozenset({1})),
            Access((ALWAYS,), frozenset({ANNA, BELA}), frozenset({1, 2})),
            default=None,
        )
        for code, refusal in (
            (card(ANNA), Reason.ACCESS_NOT_ALLOWED),
            (card(BELA), None),
            (phone(1), Reason.ACCESS_NOT_ALLOWED),
            (phone(2), None),
            (phone(3), Reason.ACCESS_NOT_ALLOWED),
            (card(b"nobody"), Reason.ACCESS_NOT_ALLOWED),
        ):
            assert rules.refusal(code, local=MONDAY, stale=False) is refusal

    def test_let_the_default_class_speak_for_strangers(self):
        rules = gate(Access((), frozenset({ANNA})), Access((ALWAYS,)), default=1)
        assert rules.refusal(card(BELA), local=MONDAY, stale=False) is None
        assert rules.refusal(card(ANNA), local=MONDAY, stale=False) is Reason.ACCESS_NOT_ALLOWED

    def test_know_no_strangers_when_they_are_stale(self):
        rules = gate(Access((ALWAYS,), frozenset({ANNA}), frozenset({1})))
        for code, refusal in (
            (card(ANNA), None),
            (phone(1), None),
            (card(BELA), Reason.BUNDLE_STALE),
            (phone(2), Reason.BUNDLE_STALE),
        ):
            assert rules.refusal(code, local=MONDAY, stale=True) is refusal
            assert rules.refusal(code, local=MONDAY, stale=False) is None

    def test_tell_the_wrong_hour_from_the_wrong_person(self):
        evening = Hours(frozenset({1}), 18 * 60, 22 * 60)
        rules = gate(Access((evening, Hours(frozenset({2}), 0, 60))))
        for moment, refusal in (
            (MONDAY + timedelta(hours=18) - MINUTE, Reason.ACCESS_OUTSIDE_HOURS),
            (MONDAY + timedelta(hours=18), None),
            (MONDAY + timedelta(hours=22) - MINUTE, None),
            (MONDAY + timedelta(hours=22), Reason.ACCESS_OUTSIDE_HOURS),
            (MONDAY + timedelta(hours=24), None),
            (MONDAY + timedelta(hours=25), Reason.ACCESS_OUTSIDE_HOURS),
        ):
            assert rules.refusal(card(), local=moment, stale=False) is refusal

    @pytest.mark.parametrize("scope", [Scope(0), Scope.PAY, Scope.PAY | Scope.GATE, Scope.SERVICE])
    def test_never_open_for_a_pay_code(self, scope):
        with pytest.raises(ValueError, match="gate codes or door codes"):
            replace(gate(Access((ALWAYS,))), scope=scope)

    @pytest.mark.parametrize("default", [-1, 1])
    def test_have_the_class_that_is_their_default(self, default):
        with pytest.raises(ValueError, match="one of the classes"):
            gate(Access((ALWAYS,)), default=default)


class TestTillRules:
    @given(
        amount=amounts, card_spent=spent, terminal=spent, caps=st.tuples(*[st.integers(0, 9)] * 2)
    )
    def test_allow_exactly_what_stays_within_every_cap(self, amount, card_spent, terminal, caps):
        code = phone(cap_yuan=caps[0], cap_count=caps[1])
        refusal = TILL.refusal(code, amount, card=card_spent, terminal=terminal)
        within = {
            "per_sale": amount <= min(1_500, caps[0] * 100),
            "per_card_count": card_spent.count < min(3, caps[1]),
            "per_card": card_spent.fen + amount <= 4_000,
            "terminal": terminal.fen + amount <= 50_000,
        }
        broken = [name for name, kept in within.items() if not kept]
        if refusal is None:
            assert not broken
        else:
            reason, facts = refusal
            assert (reason, facts["cap"]) == (Reason.OFFLINE_CAP_EXCEEDED, broken[0])

    @given(amount=amounts, card_spent=spent, terminal=spent)
    def test_ask_of_a_signed_code_what_they_ask_of_a_phone_without_limits(
        self, amount, card_spent, terminal
    ):
        spent_so_far = {"card": card_spent, "terminal": terminal}
        assert TILL.refusal(card(), amount, **spent_so_far) == TILL.refusal(
            phone(), amount, **spent_so_far
        )

    @pytest.mark.parametrize("caps", [{"cap_yuan": 0}, {"cap_count": 0}])
    def test_sell_nothing_to_a_phone_without_caps(self, caps):
        assert TILL.refusal(phone(**caps), 1, card=Spent(), terminal=Spent()) is not None

    def test_name_the_limit_that_counts(self):
        for code, amount, spent_so_far, facts in (
            (card(), 1_501, Spent(), {"cap": "per_sale", "limit_fen": 1_500}),
            (phone(cap_yuan=2), 201, Spent(), {"cap": "per_sale", "limit_fen": 200}),
            (card(), 1, Spent(3, 3), {"cap": "per_card_count", "limit": 3}),
            (phone(cap_count=1), 1, Spent(1, 3), {"cap": "per_card_count", "limit": 1}),
            (card(), 2, Spent(2, 3_999), {"cap": "per_card", "limit_fen": 4_000}),
        ):
            refusal = TILL.refusal(code, amount, card=spent_so_far, terminal=Spent())
            assert refusal == (Reason.OFFLINE_CAP_EXCEEDED, facts)
        refusal = TILL.refusal(card(), 2, card=Spent(), terminal=Spent(9, 49_999))
        assert refusal == (
            Reason.OFFLINE_CAP_EXCEEDED,
            {"cap": "terminal", "limit_fen": 50_000},
        )
