"""HTTP for holders: log in, read one's statement and events, set one's limits."""

from datetime import date
from typing import Any
from uuid import UUID

from flask import Response, json
from flask_smorest import Blueprint

from backend import clock
from backend.clock import business_date, rfc3339
from backend.db import transaction
from backend.errors import ServiceUnavailable
from backend.holders import identity, limits, login
from backend.holders.identity import IdentityNotMatched, TooManyTries
from backend.holders.login import (
    HolderCaller,
    LoginCodeRefused,
    NotBound,
    StepUpRequired,
    must_be_fresh,
)
from backend.holders.schemas import (
    EventsQuery,
    EventsReply,
    LimitsReply,
    LimitsRequest,
    SessionReply,
    SessionRequest,
    StatementQuery,
    StatementReply,
)
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.paging import CursorUnknown, page, place_of
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.ledger import service as ledger
from backend.ledger.service import StatementLine
from backend.notices import service as notices
from backend.operation_log.refusals import logged
from backend.policies.service import policies_at
from payments import LoginRefused, PlatformUnavailable

LOGINS_A_MINUTE = 60
"""Per login code: enough for a phone that retries, too little for a guesser."""
EVENTS_AT_ONCE = 50
POLL_QUICK_MS, POLL_MS = 1000, 2000
NEVER = UUID(int=2**128 - 1)

public = guard(
    Blueprint("sessions", __name__, url_prefix="/sessions", description="Log in (登录)"),
    "nobody",
    None,
)
own_session = guard(
    Blueprint("own-session", __name__, url_prefix="/sessions", description="Log out (退出)"),
    "holder",
    login.authenticate,
)
blueprint = guard(
    Blueprint("me", __name__, url_prefix="/me", description="The holder's own (我的)"),
    "holder",
    login.authenticate,
)


@public.route("", methods=["POST"])
@public.arguments(SessionRequest)
@raises(public, LoginCodeRefused, TooManyRequests, ServiceUnavailable)
@public.response(201, SessionReply)
def create_session(request: dict[str, Any]) -> dict[str, Any]:
    """Log in with a platform's login code.

    The platform says which account it is; nothing of the account is needed to be known before.
    """
    now, own = clock.now(), parts()
    own.rates.count(
        f"login:{own.sealer.index('login-code', request['code']).hex()[:32]}",
        most=LOGINS_A_MINUTE,
        seconds=60,
    )
    try:
        account = own.platforms[request["platform"]].login(request["code"])
    except LoginRefused as error:
        raise LoginCodeRefused from error
    except PlatformUnavailable as error:
        raise ServiceUnavailable from error
    with transaction() as session:
        token, opened = login.log_in(
            session, platform=request["platform"], account=account, sealer=own.sealer, now=now
        )
        session.flush()
        who = login.authenticate(session, token, now)
    return {"token": token, "expires_at": opened.created_at + login.LONGEST, "binding": who.binding}


@own_session.route("/current", methods=["DELETE"])
@raises(own_session, Unauthenticated)
@own_session.response(204)
def delete_session() -> None:
    """Log out: the token is dead at once."""
    who: HolderCaller = caller()
    with transaction() as session:
        login.log_out(session, session_id=who.session_id, now=clock.now())


@blueprint.route("/statement", methods=["GET"])
@blueprint.arguments(StatementQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound, CursorUnknown)
@blueprint.response(200, StatementReply)
def read_statement(query: dict[str, Any]) -> dict[str, Any]:
    """List what came in and went out in one month (账单), newest first."""
    holder_id = caller().holder_id
    month = query.get("month") or f"{business_date(clock.now()):%Y-%m}"
    first = date.fromisoformat(f"{month}-01")
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    with transaction() as session:
        lines = ledger.statement(
            session,
            holder_id=holder_id,
            first=first,
            after=after,
            before=place_of(query.get("cursor")),
            limit=query["limit"] + 1,
        )
        in_fen, out_fen = ledger.totals(session, holder_id=holder_id, first=first, after=after)
    found = page(lines, limit=query["limit"])
    return {
        "items": [_line(line) for line in found["items"]],
        "next_cursor": found["next_cursor"],
        "month": month,
        "in_fen": in_fen,
        "out_fen": out_fen,
    }


def _line(line: StatementLine) -> dict[str, Any]:
    charged = line.kind.startswith("charge")
    return {
        "id": line.id,
        "kind": {"charge_reversal": "reversal"}.get(line.kind, line.kind),
        "amount_fen": line.amount_fen,
        "purse": line.purse,
        "place": line.facts.get("place"),
        "channel": line.facts.get("channel"),
        "at": line.at,
        "business_date": line.business_date,
        "decided_at": line.facts.get("decided_at"),
        "reference": line.facts.get("reference"),
        "receipt_number": line.facts.get("receipt_number"),
        "amount_parts": {
            "price_fen": abs(line.amount_fen) - line.surcharge_fen,
            "surcharge_fen": line.surcharge_fen,
        }
        if charged
        else None,
    }


@blueprint.route("/events", methods=["GET"])
@blueprint.arguments(EventsQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.alt_response(204, description="Nothing new.  `Next-Poll-Ms` says when to ask again.")
@blueprint.response(200, EventsReply)
def read_events(query: dict[str, Any]) -> Response:
    """Tell what happened to the holder's codes and money since `after`.

    Without `after`: nothing but the place from which everything is new.  The server sets the pace
    by `Next-Poll-Ms`.
    """
    holder_id, now = caller().holder_id, clock.now()
    with transaction() as session:
        if "after" not in query:
            start = notices.newest_place(session) - 1
            return _events([], f"{start}.{NEVER.hex}", POLL_MS)
        found = notices.read_after(
            session,
            holder_id=holder_id,
            after=notices.place_named(query["after"]),
            limit=EVENTS_AT_ONCE,
        )
    if not found:
        return Response(status=204, headers={"Next-Poll-Ms": str(POLL_MS)})
    items = [{"id": str(n.id), "kind": n.kind, "at": rfc3339(n.at), **n.facts} for n in found]
    last = found[-1]
    quick = (now - last.at).total_seconds() < POLL_QUICK_MS / 100
    return _events(items, notices.place_name(last), POLL_QUICK_MS if quick else POLL_MS)


def _events(items: list[dict[str, Any]], place: str, poll_ms: int) -> Response:
    body = json.dumps({"items": items, "next": place})
    return Response(body, 200, {"Next-Poll-Ms": str(poll_ms)}, content_type="application/json")


@blueprint.route("/limits", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, LimitsReply)
def read_limits() -> dict[str, Any]:
    """Show the holder's own limits (消费限额)."""
    with transaction() as session:
        return limits.limits_of(
            limits.holder_of(session, holder_id=caller().holder_id), now=clock.now()
        )


@blueprint.route("/limits", methods=["PATCH"])
@blueprint.arguments(LimitsRequest)
@raises(blueprint, Unauthenticated, NotBound, StepUpRequired, IdentityNotMatched, TooManyTries)
@blueprint.response(200, LimitsReply)
@logged("holder.change_limits")
def change_limits(request: dict[str, Any]) -> dict[str, Any]:
    """Change the holder's own limits: lower at once, higher from tomorrow.

    Who resumes payments (恢复付款) shows, as for a lost card, a fresh login and the document's last
    six characters: a thief who holds the phone has paused nothing.
    """
    who: HolderCaller = caller()
    now, sealer = clock.now(), parts().sealer
    paused, last_six = request.pop("paused", None), request.pop("document_last_six", "")
    used: list[UUID] = []
    with transaction() as session:
        holder = limits.holder_of(session, holder_id=who.holder_id)
        resumes = paused is False and holder.payment_paused
        if resumes:
            policies = policies_at(session, now)
            used = must_be_fresh(policies, logged_in_at=who.logged_in_at, now=now)
            identity.count_try(
                session,
                account_index=who.account_index,
                holder_number=holder.holder_number,
                sealer=sealer,
                now=now,
            )
    with transaction() as session:
        if resumes:
            identity.check_document_tail(
                session, holder_id=who.holder_id, last_six=last_six, sealer=sealer
            )
            identity.forget_tries(
                session,
                account_index=who.account_index,
                holder_number=holder.holder_number,
                sealer=sealer,
            )
        holder = limits.change_limits(
            session,
            holder_id=who.holder_id,
            wanted=request,
            paused=paused,
            may_resume=resumes,
            policy_ids=used,
            actor=who.actor,
            now=now,
        )
        return limits.limits_of(holder, now=now)
