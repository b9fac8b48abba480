"""python -m payments.sandbox --port 8001 --state DIR [--time-scale 60]"""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from payments.sandbox.app import create_app, create_world

HOST = "127.0.0.1"


class _QuietHandler(WSGIRequestHandler):
    """Logs no request line: a login's address holds the AppSecret and the code."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main() -> None:
    """Serve until interrupted."""
    arguments = argparse.ArgumentParser(prog="python -m payments.sandbox", description=__doc__)
    arguments.add_argument("--port", type=int, default=8001, help="on the loopback address")
    arguments.add_argument("--state", type=Path, required=True, help="directory of keys and orders")
    arguments.add_argument(
        "--time-scale", type=float, default=1.0, help="how many times faster notices are repeated"
    )
    given = arguments.parse_args()
    if not given.time_scale > 0:
        arguments.error("--time-scale is more than 0")
    logging.basicConfig(level=logging.WARNING)
    world = create_world(given.state, time_scale=given.time_scale, environment=os.environ)
    server = make_server(
        HOST, given.port, create_app(world), threaded=True, request_handler=_QuietHandler
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    world.courier.start()
    print(f"sandbox of WeChat and Alipay on http://{HOST}:{server.port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        world.courier.stop()
        world.state.close()
        world.messages.close()


if __name__ == "__main__":
    main()
