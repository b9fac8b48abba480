"""HTTP for the holder's inbox (消息), and for what they let us send to their platform account."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, json
from flask_smorest import Blueprint

from backend import clock
from backend.clock import rfc3339
from backend.db import transaction
from backend.errors import IdReused, NotFound
from backend.holders import login
from backend.holders.login import HolderCaller, NotBound
from backend.holders.schemas import (
    ConsentReply,
    ConsentRequest,
    MessageTopicsReply,
    NoticesQuery,
    NoticesReply,
    ReadReply,
    ReadRequest,
)
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.notices import messages
from backend.notices import service as notices
from backend.notices.messages import TemplateUnknown
from backend.notices.models import SubscriptionCredit
from payments import MessageTemplate

blueprint = guard(
    Blueprint("inbox", __name__, url_prefix="/me", description="What the holder was told (消息)"),
    "holder",
    login.authenticate,
)


@blueprint.route("/notices", methods=["GET"])
@blueprint.arguments(NoticesQuery, location="query")
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, NoticesReply)
def list_notices(query: dict[str, Any]) -> Response:
    """List what the holder was told, newest first, with what each kind tells of.

    `unread` counts to a hundred.  `newest` is the place to read up to once the list is shown; null
    on an empty list, and on all pages but the first.
    """
    holder_id, cursor, limit = caller().holder_id, query.get("cursor"), query["limit"]
    with transaction() as session:
        rows = notices.list_notices(
            session,
            holder_id=holder_id,
            before=notices.place_named(cursor) if cursor else None,
            limit=limit + 1,
        )
        mark = notices.mark_of(session, holder_id=holder_id)
        unread = notices.count_unread(session, holder_id=holder_id)
    shown = rows[:limit]
    body = {
        "items": [
            row.facts
            | {
                "id": str(row.id),
                "kind": row.kind,
                "at": rfc3339(row.at),
                "read": (row.written_by, row.id) <= mark,
            }
            for row in shown
        ],
        "next_cursor": notices.place_name(shown[-1]) if len(rows) > limit else None,
        "unread": unread,
        "newest": notices.place_name(shown[0]) if shown and not cursor else None,
    }
    return Response(json.dumps(body), content_type="application/json")


@blueprint.route("/notices/read", methods=["PUT"])
@blueprint.arguments(ReadRequest)
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, ReadReply)
def read_notices(body: dict[str, Any]) -> dict[str, int]:
    """Note that the holder has read up to a place.  It never goes back; a retry changes nothing."""
    holder_id = caller().holder_id
    with transaction() as session:
        notices.mark_read(session, holder_id=holder_id, up_to=notices.place_named(body["up_to"]))
        return {"unread": notices.count_unread(session, holder_id=holder_id)}


@blueprint.route("/message-topics", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound)
@blueprint.response(200, MessageTopicsReply)
def list_message_topics() -> dict[str, Any]:
    """List what may also be sent to the caller's platform account, if they agree.

    Empty on a platform through which the school sends nothing.  `credits` is our own count of
    messages that they still let us send; a long-term consent has 1 for as long as it holds.
    """
    who: HolderCaller = caller()
    templates = _templates(who.platform)
    with transaction() as session:
        agreed = messages.credits_of(session, holder_id=who.holder_id)
    return {
        "items": [
            {
                "template_id": template.id,
                "kinds": messages.kinds_of(templates, template.id),
                "long_term": template.long_term,
                "credits": _credits(agreed.get(template.id)),
            }
            for template in {template.id: template for template in templates.values()}.values()
        ]
    }


def _credits(agreed: SubscriptionCredit | None) -> int:
    if agreed is None:
        return 0
    return min(agreed.credits, 1) if agreed.long_term else agreed.credits


@blueprint.route("/message-consents/<uuid:consent_id>", methods=["PUT"])
@blueprint.arguments(ConsentRequest)
@raises(blueprint, Unauthenticated, NotBound, NotFound, IdReused, TemplateUnknown)
@blueprint.alt_response(201, schema=ConsentReply, description="Noted now.")
@blueprint.response(200, ConsentReply)
def put_message_consent(body: dict[str, Any], consent_id: UUID) -> Any:
    """Note what the holder answered when their platform asked whether we may write to them.

    The phone makes the id when it has the answer, and sends it until it is noted.
    """
    who: HolderCaller = caller()
    with transaction() as session:
        consent, first = messages.agree(
            session,
            consent_id=consent_id,
            holder_id=who.holder_id,
            platform=who.platform,
            account_index=who.account_index,
            account_sealed=who.account_sealed,
            accepted=body["accepted"],
            rejected=body["rejected"],
            templates=_templates(who.platform),
            now=clock.now(),
        )
    return consent, 201 if first else 200


def _templates(platform: str) -> Mapping[str, MessageTemplate]:
    messenger = parts().messengers.get(platform)
    return messenger.templates if messenger else {}
