"""The application that a WSGI server loads: settings from the environment, then everything."""

from backend.app import create_app
from backend.logs import configure
from backend.settings import Settings

configure()
app = create_app(Settings.from_environment())
