"""The README names what there is."""

import re
from dataclasses import fields
from pathlib import Path

import payments
from payments import CloseOutcome, RefundState, TradeState
from payments.sandbox.app import create_app, create_world
from payments.sandbox.bills import DifferenceKind
from payments.sandbox.faults import CALLS, PRESETS, Faults

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

    def test_names_every_control_and_page(self, tmp_path):
        world = create_world(tmp_path, time_scale=1)
        told = [
            f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
            for rule in create_app(world).url_map.iter_rules()
            for method in (rule.methods or set()) & {"GET", "POST"}
            if rule.rule.startswith("/control/")
        ]
        world.state.close()
        assert len(told) > 10
        assert [each for each in told if not re.search(f"{re.escape(each)}[`?]", README)] == []
        for page in ("/merchant", "/pay/{channel}/{out_trade_no}", "/pay?code="):
            assert f"`{page}`" in README

    def test_names_every_preset_and_call(self):
        assert [name for name in (*PRESETS, *CALLS) if f"`{name}`" not in README] == []
