"""What a password must be, and who may decide on whom: pure rules."""

from collections.abc import Mapping
from datetime import timedelta

from backend.operators.models import ChangeKind, OperatorState, Role

SHORTEST, LONGEST = 15, 128
"""Of a password, in characters: length is what counts (ASVS 6.2.1), no mixture is asked for."""
FEWEST_DIFFERENT = 5
ENROLMENT = timedelta(minutes=15)
CONFIRMED_FOR = timedelta(minutes=5)

MAY_LOOK = (Role.SYSTEM_ADMINISTRATOR, Role.CARD_CENTRE, Role.AUDITOR)
MAY_APPROVE = (Role.SYSTEM_ADMINISTRATOR, Role.CARD_CENTRE)
MAY_MAKE: Mapping[ChangeKind, tuple[Role, ...]] = {
    ChangeKind.APPOINT: (Role.SYSTEM_ADMINISTRATOR,),
    ChangeKind.CHANGE_ROLE: (Role.SYSTEM_ADMINISTRATOR,),
    ChangeKind.SUSPEND: (Role.SYSTEM_ADMINISTRATOR,),
    ChangeKind.RESUME: (Role.SYSTEM_ADMINISTRATOR,),
    # Two others, so that the only administrator who lost a phone gets back in.
    ChangeKind.RECOVER: (Role.SYSTEM_ADMINISTRATOR, Role.CARD_CENTRE),
}
FROM: Mapping[ChangeKind, frozenset[OperatorState]] = {
    ChangeKind.CHANGE_ROLE: frozenset({OperatorState.ACTIVE, OperatorState.INVITED}),
    ChangeKind.SUSPEND: frozenset({OperatorState.ACTIVE, OperatorState.INVITED}),
    ChangeKind.RESUME: frozenset({OperatorState.SUSPENDED}),
    ChangeKind.RECOVER: frozenset({OperatorState.ACTIVE}),
}
"""The states in which a change of somebody who is there is possible."""
TO: Mapping[ChangeKind, OperatorState] = {
    ChangeKind.SUSPEND: OperatorState.SUSPENDED,
    ChangeKind.RESUME: OperatorState.INVITED,  # whoever comes back proves anew who it is
    ChangeKind.RECOVER: OperatorState.INVITED,
}
KNOWN = frozenset(
    {
        "passwordpassword", "password12345678", "password123456789", "passw0rdpassw0rd",
        "mypasswordisgood", "thisismypassword", "iloveyouiloveyou", "iloveyou12345678",
        "letmeinletmeinletmein", "qwertyuiopasdfgh", "qwertyuiopasdfghjkl",
        "qwertyuiop123456", "1qaz2wsx3edc4rfv", "1q2w3e4r5t6y7u8i", "qazwsxedcrfvtgb",
        "qazwsxedcrfvtgbyhn", "zaq12wsxcde34rfv", "abcdefghijklmno", "abcdefghijklmnop",
        "123456789012345", "1234567890123456", "0123456789012345", "0123456789abcdef",
        "123456789abcdefg", "987654321098765", "1234567890qwertyuiop", "administrator123",
        "administrator1234", "changemechangeme", "correcthorsebatterystaple",
        "trustno1trustno1", "welcome123456789", "woaini1314woaini1314", "woaini5201314520",
        "woaiwojia1314520", "aini13145201314", "asdfghjklzxcvbnm", "asdfghjkl123456789",
        "zxcvbnmasdfghjkl", "5201314520131452", "1314520131452013", "iamthebestintheworld",
        "sunshinesunshine", "princessprincess", "footballfootball", "superman12345678",
        "dragon1234567890",
    }
)  # fmt: skip
"""Long passwords that many people chose and that were made public, in lower case."""
HERE = ("campuscard", "campus-card", "xiaoyuanka", "yikatong", "校园卡", "一卡通")
"""Words that everybody here thinks of first."""


def password_fault(password: str, *, username: str) -> str | None:
    """Return what is wrong with a password: short, long, repeated, known, about_you; or None.

    >>> password_fault("abcabcabcabcabcabc", username="li.na")
    'repeated'
    >>> password_fault("li.na-2026-spring", username="li.na")
    'about_you'
    """
    folded = password.casefold()
    if len(password) < SHORTEST:
        return "short"
    if len(password) > LONGEST:
        return "long"
    if len(set(folded)) < FEWEST_DIFFERENT or folded in (folded + folded)[1:-1]:
        return "repeated"
    if folded in KNOWN:
        return "known"
    if username.casefold() in folded or any(word in folded for word in HERE):
        return "about_you"
    return None
