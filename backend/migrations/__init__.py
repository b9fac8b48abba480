"""The way from an empty database to the present one."""

from pathlib import Path

from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent


def configuration(url: str) -> Config:
    """Return Alembic's settings for one database."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring a database up to the newest revision and re-apply the functions."""
    command.upgrade(configuration(url), "head")
