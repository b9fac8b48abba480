"""A job worker whose clock runs fast: it asks the channels about what is due, until it is killed.

    python worker.py BEGIN SCALE

At BEGIN, a moment in RFC 3339, its clock was right; since then it runs SCALE times faster, so that
hours of the ladders pass in seconds.  What it does is what the timetable of `campus-card work` does
about money.
"""

import sys
import time
from datetime import datetime

from backend import app, clock, db
from backend.logs import configure
from backend.refunds import asking as refunds
from backend.settings import Settings
from backend.topups import asking as topups

IDLE_SECONDS = 0.1


def main() -> None:
    """Work for ever."""
    begin, scale = datetime.fromisoformat(sys.argv[1]), float(sys.argv[2])
    configure()
    settings = Settings.from_environment()
    db.connect(settings.database_url)
    parts = app.wire(settings)
    print("ready", flush=True)  # noqa: T201 - for the test that started it
    while True:
        now = begin + (clock.now() - begin) * scale
        asked = topups.ask_due(channels=parts.channels, sealer=parts.sealer, now=now)
        if not asked + refunds.ask_due(channels=parts.channels, now=now):
            time.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    main()
