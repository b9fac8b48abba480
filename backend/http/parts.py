"""What `create_app` wired together, for the routes to hand to services."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import current_app
from redis import Redis

from backend.http.rates import Rates
from backend.sealing import Sealer
from backend.settings import Settings
from payments import Channel, Messenger, Platform
from qr import KeyRing


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one process."""

    settings: Settings
    sealer: Sealer
    redis: Redis
    rates: Rates
    code_keys: KeyRing
    channels: Mapping[str, Channel]
    platforms: Mapping[str, Platform]
    messengers: Mapping[str, Messenger]
    """The platforms through which holders may be written to."""


def parts() -> Parts:
    """Return the parts of the application that answers this request."""
    found: Parts = current_app.extensions["campus_card"]
    return found
