"""What a WSGI server starts: settings from the environment, then everything."""

from flask import Flask

from backend.app import create_app
from backend.logs import configure
from backend.settings import Settings


def create() -> Flask:
    """Return the application of one worker process."""
    configure()
    return create_app(Settings.from_environment())
