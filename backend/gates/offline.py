"""What a gate may decide without network (脱机通行): its rules, as its bundle carries them."""

from datetime import timedelta

from qr import Scope
from qr.rules import Access, GateRules, Hours, OfflinePolicy

ALWAYS = Hours(frozenset(range(1, 8)), 0, 24 * 60)


def scanner_rules() -> GateRules:
    """Return the rules of a gate: every good code of the school, day and night."""
    return GateRules(
        scope=Scope.GATE,
        offline=OfflinePolicy.SIGNED,
        passback=timedelta(),
        emergency=False,
        classes=(Access((ALWAYS,)),),
        default=0,
    )
