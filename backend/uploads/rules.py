"""What stands against a late upload (脱机上送), and what follows from it.  Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

CLOCK_TOLERANCE = timedelta(seconds=5)
"""A device's clock may be ahead of the server's by so much (F5)."""


class UploadKind(StrEnum):
    """What a terminal decided without network."""

    PASSAGE = "passage"
    """通行"""
    CHARGE = "charge"
    """消费"""


class Outcome(StrEnum):
    """What became of a late upload, for ever: a repeat gets the same word."""

    RECORDED = "recorded"
    """已记录: a passage, or a charge that the till declined"""
    CHARGED = "charged"
    """已扣款"""
    CHARGED_WITH_ARREARS = "charged-with-arrears"
    """已扣款并欠费: the purses held too little"""
    CHARGED_TO_RISK = "charged-to-risk"
    """由学校承担: the card was lost or revoked by then, or is not for paying"""
    UNDER_REVIEW = "under-review"
    """待复核: nothing is posted until a person decides"""
    ALREADY_RECORDED = "already-recorded"
    """联机已记录: the same passage had been decided online"""
    ALREADY_CHARGED = "already-charged"
    """联机已扣款: the same charge had gone through online"""
    SEQUENCE_REUSED = "sequence-reused"
    """序号重复: another item of this device has the number; kept for a person"""


class Refused(StrEnum):
    """Why an item was not taken.  Nothing is kept of it, so it may be sent again."""

    MALFORMED = "malformed"
    """格式错误"""
    ID_REUSED = "id-reused"
    """编号重复: the id came before with other content"""


class Conflict(StrEnum):
    """What stands against an item, the gravest first."""

    SEQUENCE_REUSED = "sequence-reused"
    """序号重复"""
    FORGED = "forged"
    """验签不符: the code was not good at the time that the terminal tells"""
    CARD_UNKNOWN = "card-unknown"
    """无此卡: a genuine code of a card that we do not know"""
    DOUBLE_USE = "double-use"
    """一码多用: another decision has used the code"""
    DECLINED_ONLINE = "declined-online"
    """联机已拒绝: the server had refused the same id, or the till had given it up"""
    OFFLINE_NOT_ALLOWED = "offline-not-allowed"
    """当时不许脱机收款"""
    AMOUNT_OUT_OF_BOUNDS = "amount-out-of-bounds"
    """金额超出系统上限"""
    OUT_OF_WINDOW = "out-of-window"
    """超出上送时限: the device's time is further from ours than a bundle lives"""
    AFTER_LOSS = "after-loss"
    """挂失后使用"""
    REVOKED = "revoked-at-the-time"
    """当时已撤销"""
    NOT_PERMITTED = "not-permitted"
    """无此用途权限: the card is not for this"""
    CHARGED_ONLINE = "charged-online"
    """联机已扣款而终端告知未扣"""
    OVER_CAP = "over-cap"
    """超出脱机限额"""
    CLOCK = "clock"
    """终端时钟有误"""
    SHORTFALL = "shortfall"
    """余额不足"""


HOLDS = frozenset(
    {
        Conflict.SEQUENCE_REUSED,
        Conflict.FORGED,
        Conflict.CARD_UNKNOWN,
        Conflict.DOUBLE_USE,
        Conflict.DECLINED_ONLINE,
        Conflict.OFFLINE_NOT_ALLOWED,
        Conflict.AMOUNT_OUT_OF_BOUNDS,
        Conflict.OUT_OF_WINDOW,
    }
)
"""A charge with one of these is not posted before a person decides."""
NOT_THE_HOLDERS = frozenset({Conflict.AFTER_LOSS, Conflict.REVOKED, Conflict.NOT_PERMITTED})
"""A charge with one of these is never borne by the holder (L4)."""


def in_order(conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Return conflicts with the gravest first, each once.

    >>> [str(word) for word in in_order([Conflict.CLOCK, Conflict.FORGED, Conflict.CLOCK])]
    ['forged', 'clock']
    """
    found = set(conflicts)
    return [conflict for conflict in Conflict if conflict in found]


def needs_person(conflicts: Iterable[str]) -> bool:
    """Say whether a person has to look; arrears collect themselves.

    >>> needs_person([Conflict.SHORTFALL]), needs_person([Conflict.SHORTFALL, Conflict.CLOCK])
    (False, True)
    """
    return bool(set(conflicts) - {Conflict.SHORTFALL})


def clock_conflicts(
    *, decided_at: datetime, received_at: datetime, window: timedelta
) -> list[Conflict]:
    """Return what is wrong with a device's time (F4, F5): a claim, never believed without bounds.

    `window` is how long a scanner may work on its own.
    """
    if decided_at < received_at - window or decided_at > received_at + window:
        return [Conflict.OUT_OF_WINDOW, Conflict.CLOCK]
    return [Conflict.CLOCK] if decided_at > received_at + CLOCK_TOLERANCE else []
