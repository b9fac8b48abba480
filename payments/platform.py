"""What a platform (微信, 支付宝) tells about the person in front of the phone.

PlatformError
├── LoginRefused            the login code is wrong, used or too old: ask the phone for another
├── PlatformUnavailable     no trustworthy answer: try again
├── MessageRefused          surely not sent
└── MessageUnknown          may have been sent: never send it again
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from payments.config import MessageTemplate


class PlatformError(Exception):
    """A platform could not say who is there.  Its text holds no secret and no personal data."""


class LoginRefused(PlatformError):
    """The platform refuses the login code.  `reason` is the platform's own error code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PlatformUnavailable(PlatformError):
    """No trustworthy answer.  The code may be spent: ask the phone for a fresh one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MessageRefused(PlatformError):
    """The message was surely not sent.

    Attributes:
        code: the platform's own error code, or a word of ours when it was not even asked.
        passing: whether the same message may be taken later: a limit, or no way to the platform.
    """

    def __init__(self, code: str, *, passing: bool) -> None:
        super().__init__(code)
        self.code = code
        self.passing = passing


class MessageUnknown(PlatformError):
    """No trustworthy answer.  There is no asking, and a repetition would be a second message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PlatformAccount:
    """An account on a platform.

    Attributes:
        account_id: openid on WeChat, open_id (old apps: user_id) on Alipay.  Personal data.
    """

    account_id: str


class RealNameResult(StrEnum):
    """Whether the platform's real-name record (实名) is the given person."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNAVAILABLE = "unavailable"
    """The platform cannot tell: not permitted to us, no record, consent too old, or no answer."""


class Platform(Protocol):
    """A platform on which holders are logged in.  Every call talks to it and blocks."""

    @property
    def name(self) -> str:
        """`wechat` or `alipay`."""

    def login(self, code: str) -> PlatformAccount:
        """Redeem the phone's one-time login code.

        Raises:
            LoginRefused: the platform refuses the code.
            PlatformUnavailable: no trustworthy answer.
        """

    def check_real_name(
        self, *, account_id: str, name: str, document_number: str, grant: str
    ) -> RealNameResult:
        """Ask whether the account belongs to this person.

        Sends name and document number to the platform and keeps neither.  Never raises for
        trouble on the way: that is `UNAVAILABLE`.

        Args:
            grant: the holder's one-time consent, from the phone.
        """


class Messenger(Protocol):
    """A platform through which we write to holders (订阅消息)."""

    @property
    def name(self) -> str:
        """As the platform's."""

    @property
    def templates(self) -> Mapping[str, MessageTemplate]:
        """Kind of notice → the template that tells of it."""

    def send_message(
        self, *, account_id: str, template_id: str, page: str, data: Mapping[str, str]
    ) -> None:
        """Send one message, at most once.

        Args:
            page: of the mini program, opened by a tap on the message; without a leading slash.
            data: the template's fields, each within what the platform takes.

        Raises:
            MessageRefused: surely not sent.
            MessageUnknown: perhaps sent.
        """


class TokenCache(Protocol):
    """Where all processes share the platform's access token.  A `redis.Redis` fits as it is.

    A hint, never a need: whatever it raises, a token is fetched without it.
    """

    def get(self, key: str, /) -> Any:
        """Return the value as str or bytes, or None."""

    def set(self, key: str, value: str, /, *, ex: int, nx: bool = False) -> Any:
        """Store for `ex` seconds; with `nx` only if absent, telling so by a false answer."""

    def delete(self, key: str, /) -> Any:
        """Forget the value."""
