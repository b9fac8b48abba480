"""What a scanner that works alone may decide (脱机规则).  Pure: no clock, no files.

The school makes these rules and signs them into a bundle; the same rules stand in JavaScript in the
browser's till and gate, and both are tried on `scenes.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from qr.codes import CardCode, DeviceCode, Scope, SignedCode

MINUTES_A_DAY = 24 * 60


class OfflinePolicy(StrEnum):
    """What a gate does while it cannot ask the server (脱机策略)."""

    OPEN = "open"
    """放行: it opens for everybody and writes down what it was shown."""
    SIGNED = "signed"
    """验码放行: it opens for good codes of people who may pass here."""
    CLOSED = "closed"
    """关闭: it opens for nobody."""


class Reason(StrEnum):
    """Why a scanner refused, beside the reasons of the code itself (`CodeError.code`)."""

    CLOCK_BEHIND = "clock-behind"
    """时钟倒退: the clock shows a time that has surely passed."""
    BUNDLE_MISSING = "bundle-missing"
    """无数据包"""
    BUNDLE_EXPIRED = "bundle-expired"
    """数据包过期: older than its hard stop."""
    BUNDLE_STALE = "bundle-stale"
    """数据包陈旧: old enough that only those pass who are named in it."""
    OFFLINE_CLOSED = "offline-closed"
    """脱机不放行"""
    OFFLINE_NOT_ALLOWED = "offline-not-allowed"
    """脱机不收款"""
    CODE_ONLINE_ONLY = "code-online-only"
    """短码: only the server knows whose it is."""
    CODE_REVOKED = "code-revoked"
    """授权已撤销"""
    CODE_STALE = "code-stale"
    """码已失效: the card has changed since."""
    CODE_SPENT = "code-spent"
    """码已用过: this one, or a newer one of the same card."""
    ACCESS_NOT_ALLOWED = "access-not-allowed"
    """无通行权限"""
    ACCESS_OUTSIDE_HOURS = "access-outside-hours"
    """非开放时间"""
    PASSBACK = "passback"
    """反潜回: went this way already and did not come back."""
    OFFLINE_CAP_EXCEEDED = "offline-cap-exceeded"
    """超出脱机限额.  Facts: `cap`, `limit_fen` or `limit`."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours of some days of the week, by the school's clock (开放时段)."""

    days: frozenset[int]
    """1 Monday to 7 Sunday."""
    begins: int
    """Minutes after midnight."""
    ends: int
    """Minutes after midnight, not included; 1440 is the day's end."""

    def __post_init__(self) -> None:
        if not (self.days <= set(range(1, 8)) and 0 <= self.begins < self.ends <= MINUTES_A_DAY):
            raise ValueError("hours lie within a day of the week")

    def hold(self, local: datetime) -> bool:
        """Return whether they hold at a moment of the school's clock.

        >>> weekday = Hours(frozenset({1, 2, 3, 4, 5}), 360, 1380)
        >>> weekday.hold(datetime(2026, 9, 21, 6, 0)), weekday.hold(datetime(2026, 9, 21, 23, 0))
        (True, False)
        """
        minute = local.hour * 60 + local.minute
        return local.isoweekday() in self.days and self.begins <= minute < self.ends

    @property
    def spelled(self) -> list[Any]:
        """Return the one JSON spelling: days, first minute, minute after the last."""
        return [sorted(self.days), self.begins, self.ends]

    @classmethod
    def read(cls, spelled: Any) -> "Hours":
        """Return the hours that `spelled` says."""
        days, begins, ends = spelled
        return cls(frozenset(days), begins, ends)


@dataclass(frozen=True, slots=True)
class Access:
    """People who may pass at the same hours (通行组)."""

    hours: tuple[Hours, ...]
    """Any of them is enough; none at all means never."""
    aliases: frozenset[bytes] = frozenset()
    serials: frozenset[int] = frozenset()

    def names(self, code: CardCode) -> bool:
        """Return whether whoever shows this code belongs here."""
        if isinstance(code, DeviceCode):
            return code.delegation.serial in self.serials
        return code.alias in self.aliases

    def refusal(self, local: datetime) -> Reason | None:
        """Return why they may not pass at a moment of the school's clock, or None."""
        if not self.hours:
            return Reason.ACCESS_NOT_ALLOWED
        if not any(hours.hold(local) for hours in self.hours):
            return Reason.ACCESS_OUTSIDE_HOURS
        return None


@dataclass(frozen=True, slots=True)
class GateRules:
    """What one gate (门禁) may decide alone."""

    scope: Scope
    """`GATE` or `DOOR`: which codes it takes."""
    offline: OfflinePolicy
    passback: timedelta
    """How long somebody who went in cannot go in again without going out; zero: no such rule."""
    emergency: bool
    """An emergency (应急) is declared here: everybody may leave."""
    classes: tuple[Access, ...]
    default: int | None
    """The class of people who are named in none; None: they may not pass."""

    def __post_init__(self) -> None:
        if not self.scope or self.scope & ~(Scope.GATE | Scope.DOOR):
            raise ValueError("a gate takes gate codes or door codes")
        if self.default is not None and self.default not in range(len(self.classes)):
            raise ValueError("the default class is one of the classes")

    def refusal(self, code: CardCode, *, local: datetime, stale: bool) -> Reason | None:
        """Return why whoever shows this code may not pass now, or None.

        A stale bundle may not know newcomers, so it speaks for those alone whom it names.
        """
        named = next((access for access in self.classes if access.names(code)), None)
        if stale and named is None:
            return Reason.BUNDLE_STALE
        if named is None and self.default is None:
            return Reason.ACCESS_NOT_ALLOWED
        return (named or self.classes[self.default or 0]).refusal(local)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a till took without network on one day so far."""

    count: int = 0
    fen: int = 0


@dataclass(frozen=True, slots=True)
class TillRules:
    """What one till (收银) may take alone: the school's risk, bounded (脱机限额)."""

    offline: bool
    """Whether it may take money without network at all."""
    per_sale_fen: int
    per_card_count: int
    """Sales to one card in a day."""
    per_card_fen: int
    """Money of one card in a day."""
    terminal_fen: int
    """Money of all cards in a day."""

    def refusal(
        self, code: CardCode, amount_fen: int, *, card: Spent, terminal: Spent
    ) -> tuple[Reason, Mapping[str, Any]] | None:
        """Return why an amount cannot be taken, with its facts, or None.

        A device code brings caps of its own from the school; the lower one counts.  `card` and
        `terminal` are what was taken today from this card and from all.
        """
        per_sale_fen, per_card_count = self.per_sale_fen, self.per_card_count
        if not isinstance(code, SignedCode):
            per_sale_fen = min(per_sale_fen, code.delegation.cap_fen)
            per_card_count = min(per_card_count, code.delegation.cap_count)
        if amount_fen > per_sale_fen:
            return _over("per_sale", limit_fen=per_sale_fen)
        if card.count + 1 > per_card_count:
            return _over("per_card_count", limit=per_card_count)
        if card.fen + amount_fen > self.per_card_fen:
            return _over("per_card", limit_fen=self.per_card_fen)
        if terminal.fen + amount_fen > self.terminal_fen:
            return _over("terminal", limit_fen=self.terminal_fen)
        return None


def _over(cap: str, **limit: int) -> tuple[Reason, Mapping[str, Any]]:
    return Reason.OFFLINE_CAP_EXCEEDED, {"cap": cap, **limit}
