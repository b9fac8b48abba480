"""The way from an empty database to the present one."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

HERE = Path(__file__).parent
APP_ROLE = "campus_card_app"
"""The role that serves: `functions.sql` grants it what it needs, and no more."""


def configuration(url: str) -> Config:
    """Return Alembic's settings for one database."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring a database up to the newest revision and re-apply the functions."""
    command.upgrade(configuration(url), "head")


def create_app_role(url: str) -> None:
    """Create the role that serves, able to log in without a password, where it is not there yet.

    For servers of our own, on a closed socket; elsewhere an administrator creates it (README).
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        known = text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if connection.execute(known, {"name": APP_ROLE}).first() is None:
            connection.execute(text(f"CREATE ROLE {APP_ROLE} LOGIN"))
    engine.dispose()
