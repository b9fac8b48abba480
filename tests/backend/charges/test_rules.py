"""What a charge costs and what comes back of it: nothing lost, nothing made, in any division."""

from fractions import Fraction
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from backend.charges.rules import meal_surcharge, split_return, surcharge_to_return
from backend.money import Fen

PRICES = st.integers(1, 10_000_000).map(Fen)
PERMILLES = st.integers(0, 1000)


@st.composite
def divided(draw: st.DrawFn) -> tuple[Fen, list[Fen]]:
    """Return a price and a way to give it back in parts."""
    price = draw(st.integers(1, 100_000))
    cuts = sorted(draw(st.sets(st.integers(1, price), max_size=8)) | {price})
    return Fen(price), [Fen(b - a) for a, b in zip([0, *cuts], cuts, strict=False)]


class TestMealSurcharge:
    @given(PRICES, PERMILLES)
    def test_is_the_share_rounded_half_up(self, price: Fen, permille: int) -> None:
        exact = Fraction(price * permille, 1000)
        assert meal_surcharge(price, permille=permille) == floor(exact + Fraction(1, 2))

    @given(PRICES, PERMILLES)
    def test_is_a_whole_number_never_above_the_price(self, price: Fen, permille: int) -> None:
        surcharge = meal_surcharge(price, permille=permille)
        assert type(surcharge) is int
        assert 0 <= surcharge <= price

    def test_rounds_a_half_up_and_not_to_even(self) -> None:
        assert [meal_surcharge(Fen(fen), permille=100) for fen in (4, 5, 15, 25, 24)] == [
            *(0, 1, 2, 3),
            2,
        ]

    @given(PRICES)
    def test_is_nothing_where_no_share_is_taken(self, price: Fen) -> None:
        assert meal_surcharge(price, permille=0) == 0


class TestSurchargeToReturn:
    @given(divided(), st.integers(0, 1000))
    def test_returns_exactly_all_of_it_in_however_many_parts(
        self, division: tuple[Fen, list[Fen]], permille: int
    ) -> None:
        price, parts = division
        surcharge = meal_surcharge(price, permille=permille)
        reversed_fen = surcharge_reversed = 0
        for part in parts:
            reversed_fen += part
            back = surcharge_to_return(
                amount_fen=price,
                surcharge_fen=surcharge,
                reversed_fen=Fen(reversed_fen),
                surcharge_reversed_fen=Fen(surcharge_reversed),
            )
            assert 0 <= back <= surcharge - surcharge_reversed
            surcharge_reversed += back
        assert (reversed_fen, surcharge_reversed) == (price, surcharge)

    @given(divided(), st.integers(0, 100_000))
    def test_stays_within_half_a_fen_of_the_proportion(
        self, division: tuple[Fen, list[Fen]], surcharge: int
    ) -> None:
        price, parts = division
        back = surcharge_to_return(
            amount_fen=price,
            surcharge_fen=Fen(surcharge),
            reversed_fen=parts[0],
            surcharge_reversed_fen=Fen(0),
        )
        assert abs(Fraction(surcharge * parts[0], price) - back) <= Fraction(1, 2)


class TestSplitReturn:
    @given(divided(), st.data())
    def test_never_gives_a_purse_more_than_it_paid(
        self, division: tuple[Fen, list[Fen]], data: st.DataObject
    ) -> None:
        total, parts = division
        from_subsidy = Fen(data.draw(st.integers(0, total)))
        to_main = to_subsidy = returned = 0
        for part in parts:
            main, subsidy = split_return(
                total_fen=total,
                from_subsidy_fen=from_subsidy,
                returned_before_fen=Fen(returned),
                return_fen=part,
            )
            assert min(main, subsidy) >= 0
            assert main + subsidy == part
            to_main, to_subsidy, returned = to_main + main, to_subsidy + subsidy, returned + part
            assert to_main <= total - from_subsidy
            assert to_subsidy <= from_subsidy
        assert (to_main, to_subsidy) == (total - from_subsidy, from_subsidy)

    @given(divided(), st.data())
    def test_fills_the_holders_own_purse_first(
        self, division: tuple[Fen, list[Fen]], data: st.DataObject
    ) -> None:
        total, (part, *_) = division
        from_subsidy = Fen(data.draw(st.integers(0, total)))
        main, _ = split_return(
            total_fen=total,
            from_subsidy_fen=from_subsidy,
            returned_before_fen=Fen(0),
            return_fen=part,
        )
        assert main == min(part, total - from_subsidy)
