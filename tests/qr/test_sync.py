import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.error import HTTPError

import pytest

from qr.sync import Server, bearer, synchronise

PATIENCE = 5
"""How many uploads the server below lets itself be told."""


class Stranger(BaseHTTPRequestHandler):
    """A server that confirms what nobody told it."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/heartbeat"):
            self._answer(200, {"server_time": datetime.now(UTC).isoformat()})
            return
        self.server.uploads += 1
        known = self.server.uploads <= PATIENCE
        self._answer(200 if known else 500, {"items": [{"id": "another"}]})

    def do_GET(self):
        self._answer(304, None)

    def log_message(self, *_):
        """Keep the test's output clean."""

    def _answer(self, status, content):
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def stranger():
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    server.uploads = 0
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestSynchronise:
    def test_believes_no_confirmation_of_what_it_did_not_tell(self, school, store, stranger):
        now = datetime.now(UTC)
        scanner = school.scanner(store)
        scanner.learn(school.gate_bundle(issued_at=now))
        assert scanner.decide_passage(school.card(now), direction="in", now=now).accepted
        server = Server(f"http://127.0.0.1:{stranger.server_port}", bearer("secret"))
        done = synchronise(scanner, store, server, now=lambda: datetime.now(UTC))
        assert (done.uploaded, done.waiting) == (0, 1)
        assert stranger.uploads == 1

    def test_fails_when_the_server_does_and_keeps_everything(self, school, store, stranger):
        now = datetime.now(UTC)
        scanner = school.scanner(store)
        scanner.learn(school.gate_bundle(issued_at=now))
        assert scanner.decide_passage(school.card(now), direction="in", now=now).accepted
        stranger.uploads = PATIENCE
        server = Server(f"http://127.0.0.1:{stranger.server_port}", bearer("secret"))
        with pytest.raises(HTTPError) as failure:
            synchronise(scanner, store, server, now=lambda: datetime.now(UTC))
        failure.value.close()
        assert store.queue_length == 1
