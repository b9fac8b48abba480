"""Runs migrations, re-applies `functions.sql`, adds policies that are new, in one transaction."""

import importlib
import pkgutil
from pathlib import Path

from alembic import context
from sqlalchemy import create_engine, pool, text

import backend
from backend.db import Base
from backend.policies.service import add_missing

for feature in pkgutil.iter_modules(backend.__path__):
    if feature.ispkg:
        try:
            importlib.import_module(f"backend.{feature.name}.models")
        except ModuleNotFoundError as error:
            if error.name != f"backend.{feature.name}.models":
                raise

HERE = Path(__file__).parent
url = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True)["url"]


def include_name(name, type_, parent_names):
    """Leave the job queue's own tables to their own migration."""
    return not (type_ == "table" and name.startswith("procrastinate_"))


engine = create_engine(url, poolclass=pool.NullPool)
with engine.begin() as connection:
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.configure(
        connection=connection, target_metadata=Base.metadata, include_name=include_name
    )
    context.run_migrations()
    connection.exec_driver_sql((HERE / "functions.sql").read_text().replace("%", "%%"))
    add_missing(connection)
engine.dispose()
