"""The application as WSGI has it: settings from the environment, then everything."""

import gc

gc.disable()  # what loading makes is kept: looking for garbage in it only takes time

from flask import Flask  # noqa: E402

from backend.app import create_app  # noqa: E402
from backend.logs import configure  # noqa: E402
from backend.settings import Settings  # noqa: E402


def create() -> Flask:
    """Return the application of one worker process."""
    configure()
    app = create_app(Settings.from_environment())
    gc.freeze()
    gc.enable()
    return app
