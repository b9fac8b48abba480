"""What both pages, the payer's and the merchant's, are made of.

No script and nothing of another origin; a form counts only from a page that the sandbox itself
served, for any page in the browser can post to this machine.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as WebResponse

from payments._yuan import yuan_from_fen
from payments._zone import SHANGHAI
from payments.sandbox.problems import Problem
from payments.sandbox.words import LANGUAGES, say
from payments.sandbox.world import World

OWN_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_COOKIE: Final = "sandbox_language"
_YEAR_SECONDS: Final = 365 * 86400


def install(app: Flask, world: World) -> None:
    """Give the templates their words, and the pages the switch of languages."""
    app.jinja_env.filters |= {"yuan": yuan, "moment": moment, "ahead": ahead}
    app.jinja_options = {**app.jinja_options, "trim_blocks": True}

    @app.context_processor
    def words() -> dict[str, object]:
        return {
            "language": language(),
            "other_language": _other_language(),
            "say": lambda section, key, **facts: say(language(), section, key, **facts),
            "form_token": form_token(world),
            "here": request.full_path.rstrip("?"),
        }

    @app.post("/language")
    def choose() -> WebResponse:
        require_own_form(world)
        path = request.form.get("to", "/")
        own = path.startswith("/") and not path.startswith(("//", "/\\"))
        answer = redirect(path if own else "/", 303)
        if (chosen := request.form.get("language")) in LANGUAGES:
            answer.set_cookie(
                _COOKIE, str(chosen), max_age=_YEAR_SECONDS, httponly=True, samesite="Strict"
            )
        return answer


def guard(routes: Blueprint, world: World) -> None:
    """Protect the pages of a blueprint, and let them say in words what they refuse."""

    @routes.before_request
    def check() -> None:
        if request.method == "POST":
            require_own_form(world)

    routes.after_request(_protect)

    @routes.errorhandler(Problem)
    def refuse(problem: Problem) -> tuple[str, int]:
        return render_template("refusal.html", code=problem.code), problem.status


def no_page() -> Response:
    """Say that there is no such page."""
    return _protect(Response(render_template("refusal.html", code="page-unknown"), 404))


def _protect(answer: Response) -> Response:
    answer.headers |= {
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return answer


def require_this_machine() -> None:
    """Refuse who calls this machine by a foreign name, or from another site's page.

    Raises:
        Problem: 403 `host-foreign`, `origin-foreign`.
    """
    if urlsplit(f"//{request.host}").hostname not in OWN_HOSTS:
        raise Problem(403, "host-foreign", "the sandbox answers to this machine only")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        raise Problem(403, "origin-foreign", "another site's page sent this")
    if request.method != "GET" and request.headers.get("Sec-Fetch-Site", "none") not in {
        "none",
        "same-origin",
    }:
        raise Problem(403, "origin-foreign", "another site's page sent this")


def require_own_form(world: World) -> None:
    """Refuse a form that no page of ours holds.

    Raises:
        Problem: 403 `form-stale`.
    """
    given = request.form.get("form_token", "")
    if not hmac.compare_digest(given.encode(errors="replace"), form_token(world).encode()):
        raise Problem(403, "form-stale", "the form is not from a page of this sandbox")


def form_token(world: World) -> str:
    """Give the text that only our own pages hold."""
    return world.state.derive("form token")[:32]


def language() -> str:
    """Tell the language of this page: as chosen here, else as the browser prefers."""
    chosen = request.cookies.get(_COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    return "en" if request.accept_languages.best_match(("zh", "zh-CN", "en")) == "en" else "zh-CN"


def _other_language() -> str:
    return next(known for known in LANGUAGES if known != language())


def yuan(amount_fen: int) -> str:
    """Write an amount for a person."""
    return f"¥{yuan_from_fen(amount_fen)}"


def moment(text: str | None) -> str:
    """Write a stored time for a person in China."""
    if not text:
        return "—"
    return datetime.fromisoformat(text).astimezone(SHANGHAI).strftime("%m-%d %H:%M:%S")


def ahead(text: str) -> int:
    """Tell in how many whole seconds a time comes; 0 when it has come."""
    return max(0, round((datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()))


def page_place(given: Mapping[str, Any]) -> int | None:
    """Read where a page of a list begins; None for the first.

    Raises:
        Problem: 422 `field-wrong`.
    """
    text = given.get("before", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 16):  # noqa: PLR2004 - fits SQLite
        raise Problem(422, "field-wrong", "before is the number that a list gave as next")
    return int(text)
