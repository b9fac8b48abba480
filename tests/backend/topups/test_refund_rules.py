"""How an amount is spread over top-ups, and why the rest stays: for any history."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.ids import new_id
from backend.money import Fen
from backend.topups.refund_rules import Kept, Source, explain, split, stands_against

NOW = datetime(2026, 9, 1, tzinfo=UTC)
WINDOWS = {"wechat": timedelta(days=360), "alipay": timedelta(days=85)}


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Any top-up, wholly, partly or not yet sent back."""
    amount = draw(st.integers(1, 50_000))
    return Source(
        top_up_id=new_id(),
        channel=draw(st.sampled_from(["wechat", "alipay"])),
        trade_no=draw(st.sampled_from([None, "42"])),
        amount_fen=Fen(amount),
        paid_at=NOW - timedelta(days=draw(st.integers(0, 500))),
        refunded_fen=Fen(draw(st.integers(0, amount))),
        refunds=draw(st.integers(0, 51)),
    )


@given(st.lists(sources(), max_size=12), st.integers(0, 200_000))
def test_a_split_is_the_amount_or_all_there_is(found: list[Source], amount: int) -> None:
    parts = split(amount, found)
    assert sum(part.amount_fen for part in parts) == min(
        amount, sum(source.left_fen for source in found)
    )


@given(st.lists(sources(), max_size=12), st.integers(0, 200_000))
def test_no_part_is_more_than_is_left_of_its_top_up(found: list[Source], amount: int) -> None:
    left = {source.top_up_id: source.left_fen for source in found}
    parts = split(amount, found)
    assert len({part.top_up_id for part in parts}) == len(parts)
    assert all(0 < part.amount_fen <= left[part.top_up_id] for part in parts)


@given(st.lists(sources(), max_size=12), st.integers(1, 200_000))
def test_the_newest_goes_first_and_wholly(found: list[Source], amount: int) -> None:
    by_id = {source.top_up_id: source for source in found}
    parts = split(amount, found)
    paid = [(by_id[part.top_up_id].paid_at, part.top_up_id) for part in parts]
    assert paid == sorted(paid, reverse=True)
    assert all(part.amount_fen == by_id[part.top_up_id].left_fen for part in parts[:-1])
    oldest = paid[-1] if paid else None
    newer = [s for s in found if oldest and (s.paid_at, s.top_up_id) > oldest and s.left_fen]
    assert len(newer) == max(0, len(parts) - 1)


@given(
    st.lists(sources(), max_size=12),
    st.integers(0, 100_000),
    st.integers(0, 100_000),
    st.integers(0, 50_000),
)
def test_every_fen_goes_back_or_has_a_reason(
    found: list[Source], main: int, subsidy: int, cash: int
) -> None:
    kept = {
        source.top_up_id: stands_against(source, windows=WINDOWS, channels=["wechat"], now=NOW)
        for source in found
    }
    back = sum(
        part.amount_fen for part in split(main, [s for s in found if kept[s.top_up_id] is None])
    )
    rests = explain(
        main_fen=main,
        subsidy_fen=subsidy,
        refundable_fen=back,
        closed=[(why, s.left_fen) for s in found if (why := kept[s.top_up_id]) is not None],
        cash_fen=cash,
    )
    assert all(rest.amount_fen > 0 for rest in rests)
    assert back + sum(rest.amount_fen for rest in rests) == main + subsidy
    assert sum(rest.amount_fen for rest in rests if rest.reason is Kept.SUBSIDY) == subsidy


class TestStandsAgainst:
    def source(self, **changes: object) -> Source:
        facts: dict[str, object] = {
            "top_up_id": new_id(),
            "channel": "wechat",
            "trade_no": "42",
            "amount_fen": 1000,
            "paid_at": NOW - timedelta(days=359),
            "refunded_fen": 0,
            "refunds": 0,
        }
        return Source(**(facts | changes))  # type: ignore[arg-type]

    def why(self, **changes: object) -> Kept | None:
        return stands_against(
            self.source(**changes), windows=WINDOWS, channels=["wechat", "alipay"], now=NOW
        )

    def test_nothing_within_its_window(self) -> None:
        assert self.why() is None

    def test_its_age_from_the_last_day_on(self) -> None:
        assert self.why(paid_at=NOW - timedelta(days=360)) is Kept.TOO_OLD
        assert self.why(channel="alipay") is Kept.TOO_OLD
        assert self.why(channel="alipay", paid_at=NOW - timedelta(days=84)) is None

    def test_the_fiftieth_refund_on_wechat(self) -> None:
        assert self.why(refunds=49) is None
        assert self.why(refunds=50) is Kept.NOT_REFUNDABLE
        assert self.why(refunds=50, channel="alipay", paid_at=NOW) is None

    def test_a_channel_that_is_off(self) -> None:
        source = self.source()
        against = stands_against(source, windows=WINDOWS, channels=["alipay"], now=NOW)
        assert against is Kept.NOT_REFUNDABLE
