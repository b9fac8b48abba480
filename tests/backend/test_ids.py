"""Names for things."""

import time
from uuid import RFC_4122

from backend.ids import new_id


class TestNewId:
    def test_is_a_uuid_of_version_7_that_tells_its_millisecond(self) -> None:
        earliest = time.time_ns() // 1_000_000
        made = new_id()
        assert (made.version, made.variant) == (7, RFC_4122)
        assert earliest <= made.int >> 80 <= time.time_ns() // 1_000_000

    def test_sorts_within_a_millisecond_as_it_was_made(self) -> None:
        made = [new_id() for _ in range(1000)]
        assert made == sorted(made)
        assert len({each.int >> 80 for each in made}) < len(made) // 2
