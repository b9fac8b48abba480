"""Fields that all schemas share."""

import marshmallow as ma
import pytest

from backend.cards.counter_schemas import FoundCardRequest
from backend.cases.schemas import ResolutionRequest
from backend.cash_desk.schemas import CashReversalRequest, CloseOutRulingRequest
from backend.http.fields import Reason
from backend.refunds.schemas import PayoutRequest

NOTHING = ("", " ", "\u3000", " \u3000 ", "\u200b", "\ufeff\u2060", "\u3164", "\u2800", "\u00a0")


@pytest.mark.parametrize("said", NOTHING)
def test_reason_of_blanks_is_none(said: str) -> None:
    with pytest.raises(ma.ValidationError):
        Reason(20).deserialize(said)


@pytest.mark.parametrize(
    ("said", "kept"),
    [(" 收错了 ", "收错了"), ("\u3000x\u3000", "x"), ("𱃍", "𱃍"), ("…", "…")],
)
def test_reason_is_kept_without_the_spaces_around_it(said: str, kept: str) -> None:
    assert Reason(20).deserialize(said) == kept


@pytest.mark.parametrize("said", NOTHING)
@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (CashReversalRequest, "reason"),
        (CloseOutRulingRequest, "reason"),
        (ResolutionRequest, "reason"),
        (PayoutRequest, "bank_reference"),
        (FoundCardRequest, "place"),
    ],
)
def test_controls_need_words(schema: type[ma.Schema], name: str, said: str) -> None:
    assert name in schema().validate({name: said})
