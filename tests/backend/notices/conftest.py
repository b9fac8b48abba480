"""Both ends of a message, and somebody to write to."""

from collections.abc import Iterator

import pytest
from factories import Bound
from post import Post

from backend.http.parts import Parts


@pytest.fixture
def post(parts: Parts, platform_sandbox: str) -> Iterator[Post]:
    """Both ends; the sandbox forgets its faults after each test."""
    ends = Post(parts, platform_sandbox)
    yield ends
    ends.faults()


@pytest.fixture
def holder(post: Post) -> Bound:
    """Somebody, the only one for whom anything is due."""
    somebody = post.holder()
    post.waiting(somebody.id)
    return somebody
