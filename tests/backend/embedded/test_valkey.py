"""The embedded Valkey speaks Redis and never forgets on its own."""

from pathlib import Path

import redis

from backend.embedded import EmbeddedValkey


class TestEmbeddedValkey:
    def test_speaks_redis_through_its_url(self, state: Path) -> None:
        with EmbeddedValkey(state) as server, redis.Redis.from_url(server.url) as client:
            assert client.set("code", "used", nx=True, get=True, ex=60) is None
            assert client.set("code", "again", nx=True, get=True, ex=60) == b"used"

    def test_refuses_rather_than_evicts_and_syncs_each_second(self, state: Path) -> None:
        with EmbeddedValkey(state) as server, redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert client.config_get("port") == {"port": "0"}

    def test_writes_no_file_when_not_durable(self, state: Path) -> None:
        with EmbeddedValkey(state, durable=False) as server:
            with redis.Redis.from_url(server.url) as client:
                client.set("k", "v")
            assert not (server.state / "appendonlydir").exists()
