"""What a log line says of an error, and what it withholds."""

import json
import logging
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from backend.db import transaction
from backend.http.parts import Parts
from backend.logs import WITHHELD, JsonLines

NAME = "王小明"


def line_of(error: BaseException) -> Any:
    """Return the log line of an error that is being handled."""
    told = (type(error), error, error.__traceback__)
    record = logging.LogRecord("test", logging.ERROR, "", 0, "failed", (), told)
    return json.loads(JsonLines().format(record))


class TestDatabaseErrors:
    @pytest.mark.parametrize("name", [NAME, "两行\n的名字"])
    def test_quote_no_row(self, parts: Parts, name: str) -> None:
        insert = text("INSERT INTO holders (id, name) VALUES (uuidv7(), :name)")
        with pytest.raises(IntegrityError) as caught, transaction() as session:
            session.execute(insert, {"name": name})
        assert name in str(caught.value.orig)
        line = line_of(caught.value)
        assert name.splitlines()[0] not in line["exception"]
        assert WITHHELD in line["exception"]
        assert "violates not-null constraint" in line["exception"]

    def test_that_others_come_of_are_found_too(self, parts: Parts) -> None:
        insert = text("INSERT INTO holders (id, name) VALUES (uuidv7(), :name)")
        try:
            with transaction() as session:
                session.execute(insert, {"name": NAME})
        except IntegrityError as error:
            later = ValueError("no such holder")
            later.__cause__ = error
        assert NAME not in line_of(later)["exception"]


class TestOtherErrors:
    def test_are_told_whole(self) -> None:
        assert line_of(ValueError("a till"))["exception"].endswith("ValueError: a till")
