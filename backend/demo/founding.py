"""What only the first start of the demo needs: its payments file, its tables, its college."""

import base64
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from backend import app, db
from backend.demo.sandbox import tell_history
from backend.demo.seed import Demo, describe, is_seeded, lay_down_rules, seed
from backend.migrations import create_app_role, upgrade
from backend.settings import Settings
from payments.sandbox.keys import prepare


def payments_file(directory: Path, base_url: str, sandbox_url: str) -> str:
    """Return the payments file that points the channels and mini programs at the sandbox."""
    keys = prepare(directory)
    configs: dict[str, Any] = {
        "wechat_pay": keys.wechat_pay_config(sandbox_url, f"{base_url}/callbacks/wechat-pay"),
        "alipay": keys.alipay_config(sandbox_url, f"{base_url}/callbacks/alipay"),
        "wechat_mini_program": keys.wechat_mini_program_config(sandbox_url),
        "alipay_mini_program": keys.alipay_mini_program_config(sandbox_url),
    }
    return json.dumps({name: asdict(config) for name, config in configs.items()})


def found(environment: dict[str, str], addresses: dict[str, str], now: datetime) -> dict[str, Any]:
    """Migrate the database, found the college if it is not there, and return the demo file."""
    settings = Settings.from_environment(environment)
    if settings.owner_database_url:
        create_app_role(settings.owner_database_url)
    owner_url = settings.owner_database_url or settings.database_url
    upgrade(owner_url)
    engine = db.connect(owner_url)
    with db.transaction() as session:
        seeded = is_seeded(session)
        if not seeded:
            lay_down_rules(session, now=now)
    engine.dispose()
    engine = db.connect(settings.database_url)
    demo = Demo(base64.b64decode(environment["CAMPUS_CARD_ROOT_KEY"]))
    if not seeded:
        seed(app.wire(settings), demo, sandbox_url=addresses["sandbox_url"], now=now)
    with db.transaction() as session:
        tell_history(session, sandbox_url=addresses["sandbox_url"], base_url=addresses["base_url"])
        said = describe(session, demo, addresses=addresses)
    engine.dispose()
    return said
