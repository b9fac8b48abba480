"""An application that comes to the card centre's desk."""

import pytest
from applicants import Case
from flask import Flask

from backend.http.parts import Parts


@pytest.fixture
def case(app: Flask, parts: Parts) -> Case:
    """An application that nobody has recorded yet."""
    return Case(parts)
