"""The demo's faces: serves `miniprogram-mock/`, and carries the payer's taps to the sandbox.

Only `campus-card demo` switches it on.  Everything comes from one origin.
"""

from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from flask import Flask, Response, abort, request, send_file, send_from_directory
from werkzeug.exceptions import NotFound

from backend.settings import Settings

FACES = Path(__file__).parents[1] / "miniprogram-mock"
SHOWN = frozenset({"stage", "phone", "faces", "till", "gate"})
SANDBOX_TIMEOUT_SECONDS = 15
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'self';"
    " frame-ancestors 'self'; base-uri 'none'; form-action 'self'; object-src 'none'"
)


def install(app: Flask, settings: Settings) -> None:
    """Serve the stage and the sandbox's controls under this origin."""
    demo, sandbox_url = settings.demo, settings.sandbox_url
    if demo is None or sandbox_url is None:
        return

    @app.get("/stage/demo.json")
    def demo_file() -> Response:
        return send_file(demo, mimetype="application/json", max_age=0)

    @app.get("/stage/")
    @app.get("/stage/<path:path>")
    def face(path: str = "") -> Response:
        answer = send_from_directory(FACES, file_of(path), max_age=0)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Permissions-Policy"] = "camera=(self)"
        return answer

    @app.route("/sandbox/<path:path>", methods=["GET", "POST"])
    def sandbox(path: str) -> Response:
        if not path.startswith("control/"):
            abort(404)
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            abort(403)  # any page in the browser could post here; only the faces may
        return carry(f"{sandbox_url}/{path}")


def file_of(path: str) -> str:
    """Return the file below `miniprogram-mock/` that a path of the stage shows.

    >>> file_of(""), file_of("stage.js"), file_of("till/"), file_of("faces/api.js")
    ('stage/index.html', 'stage/stage.js', 'till/index.html', 'faces/api.js')
    """
    first, _, rest = path.partition("/")
    if not rest and not path.endswith("/"):
        return f"stage/{path or 'index.html'}"
    if first not in SHOWN:
        raise NotFound
    return path + "index.html" if path.endswith("/") else path


def carry(url: str) -> Response:
    """Carry this request to the sandbox and its answer back."""
    asked = Request(  # noqa: S310 - the sandbox of our own launcher, on loopback
        url,
        data=request.get_data() if request.method == "POST" else None,
        headers={"Content-Type": request.content_type or "application/json"},
        method=request.method,
    )
    try:
        with urlopen(asked, timeout=SANDBOX_TIMEOUT_SECONDS) as said:  # noqa: S310
            return Response(said.read(), said.status, content_type=said.headers["Content-Type"])
    except HTTPError as error:
        return Response(error.read(), error.code, content_type=error.headers["Content-Type"])
    except URLError:
        abort(503)
