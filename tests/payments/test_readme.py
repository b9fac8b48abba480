"""The README names what there is."""

from dataclasses import fields
from pathlib import Path

import payments
from payments import CloseOutcome, RefundState, TradeState
from payments.sandbox.bills import DifferenceKind
from payments.sandbox.faults import Faults

README = Path(payments.__file__).with_name("README.md").read_text()


class TestReadme:
    def test_names_every_fault(self):
        assert [f.name for f in fields(Faults) if f"`{f.name}`" not in README] == []

    def test_names_every_difference_of_a_bill(self):
        assert [kind for kind in DifferenceKind if f"`{kind}`" not in README] == []

    def test_names_every_state_and_outcome(self):
        assert [s.name for s in TradeState if f"`TradeState.{s.name}`" not in README] == []
        assert [s.name for s in RefundState if f"`RefundState.{s.name}`" not in README] == []
        assert [o.name for o in CloseOutcome if o.name not in README] == []

    def test_names_every_module(self):
        modules = Path(payments.__file__).parent.glob("[a-z]*.py")
        assert [m.name for m in modules if f"`{m.name}`" not in README] == []
