"""What the operator may set: read once from the environment, checked whole, never changed."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OF_PAYMENTS: Final = ("CAMPUS_CARD_WECHAT_", "CAMPUS_CARD_ALIPAY_")
"""What the settings begin with that are for `payments.environment`."""


class SettingsWrong(Exception):
    """Some settings are missing or wrong; the text names every fault at once."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's settings.  Secrets are left out of `repr`."""

    database_url: str = field(repr=False)
    """CAMPUS_CARD_DATABASE_URL or DATABASE_URL: PostgreSQL 18 or newer."""
    redis_url: str = field(repr=False)
    """CAMPUS_CARD_REDIS_URL or REDIS_URL: Redis 7.2 or Valkey; short codes and rate limits only."""
    root_key: bytes = field(repr=False)
    """CAMPUS_CARD_ROOT_KEY: 32 bytes in base64; every key for personal data is derived from it."""
    code_keys: Path
    """CAMPUS_CARD_CODE_KEYS: the file with the private keys that sign card codes, mode 0600."""
    issuer: str
    """CAMPUS_CARD_ISSUER: the `iss` of card codes, the school's name in the network."""
    base_url: str
    """CAMPUS_CARD_BASE_URL: where platforms and browsers reach this server."""
    payments: Path
    """CAMPUS_CARD_PAYMENTS: the file that configures the channels and mini programs, mode 0600."""
    payments_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """CAMPUS_CARD_WECHAT_…, CAMPUS_CARD_ALIPAY_…: single values that win over that file."""
    demo: Path | None = None
    """CAMPUS_CARD_DEMO: the demo file; set only by `campus-card demo`.  Switches the stage on."""
    owner_database_url: str | None = field(default=None, repr=False)
    """CAMPUS_CARD_OWNER_DATABASE_URL: the same database as the role that owns the tables, for
    `campus-card migrate` and `adopt-preset` alone; unset, the role that serves owns them too."""
    log_heads: Path | None = None
    """CAMPUS_CARD_LOG_HEADS: the file to which the head of the operation log is appended daily; on
    another machine's disk, or shipped there."""
    sandbox_url: str | None = None
    """CAMPUS_CARD_SANDBOX_URL: the platform sandbox; set only by `campus-card demo`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings.

        Raises:
            SettingsWrong: naming every fault at once.
        """
        faults: list[str] = []

        def need(*names: str) -> str:
            for name in names:
                if environment.get(name):
                    return environment[name]
            faults.append(f"{names[0]} is not set")
            return ""

        try:
            root_key = base64.b64decode(need("CAMPUS_CARD_ROOT_KEY"), validate=True)
        except ValueError:
            root_key = b""
            faults.append("CAMPUS_CARD_ROOT_KEY is not base64")
        if root_key and len(root_key) != 32:  # noqa: PLR2004 - AES-256
            faults.append("CAMPUS_CARD_ROOT_KEY is not 32 bytes long")
        base_url = need("CAMPUS_CARD_BASE_URL").rstrip("/")
        demo = environment.get("CAMPUS_CARD_DEMO")
        log_heads = environment.get("CAMPUS_CARD_LOG_HEADS")
        if base_url and not base_url.startswith("https://") and not demo:
            faults.append("CAMPUS_CARD_BASE_URL must be https outside the demo")
        settings = cls(
            database_url=need("CAMPUS_CARD_DATABASE_URL", "DATABASE_URL"),
            redis_url=need("CAMPUS_CARD_REDIS_URL", "REDIS_URL"),
            root_key=root_key,
            code_keys=Path(need("CAMPUS_CARD_CODE_KEYS")),
            issuer=need("CAMPUS_CARD_ISSUER"),
            base_url=base_url,
            payments=Path(need("CAMPUS_CARD_PAYMENTS")),
            payments_environment={
                name: value for name, value in environment.items() if name.startswith(OF_PAYMENTS)
            },
            demo=Path(demo) if demo else None,
            owner_database_url=environment.get("CAMPUS_CARD_OWNER_DATABASE_URL") or None,
            log_heads=Path(log_heads) if log_heads else None,
            sandbox_url=environment.get("CAMPUS_CARD_SANDBOX_URL") or None,
        )
        if faults:
            raise SettingsWrong("; ".join(faults))
        return settings
