"""One demo for all journeys of a test process, in a checkout of its own."""

from collections.abc import Iterator

import pytest
from journeys.outsider import Demo, the_demo


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Demo:
    """The demo college, running."""
    return the_demo(request.session)


@pytest.fixture
def sandbox(demo: Demo) -> Iterator[Demo]:
    """The demo, in whose sandbox something may go wrong: afterwards all is well there again."""
    yield demo
    demo.play("faults", {})
