"""Sending what is in the outbox: every call to a platform, always between transactions."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from backend.db import transaction
from backend.notices import messages
from backend.notices.messages import Sending
from backend.notices.rules import WORDINGS, FieldUnfit, fill_template
from backend.sealing import Sealer
from payments import MessageRefused, MessageUnknown, Messenger

BATCH = 50

log = logging.getLogger(__name__)


def send_due(
    *,
    messengers: Mapping[str, Messenger],
    sealer: Sealer,
    stale_after: timedelta,
    now: datetime,
    limit: int = BATCH,
) -> int:
    """Send the messages that are due, one after the other; return how many were tried.

    Two relays at a time never have the same message.  The round ends at the first call without an
    answer: while a platform is away, one message in each round may be lost to that, not all.
    """
    with transaction() as session:
        messages.give_up_interrupted(session, now=now)
    for tried in range(limit):
        with transaction() as session:
            sending = messages.claim(
                session, platforms=list(messengers), stale_after=stale_after, now=now
            )
        if sending is None:
            return tried
        if not _send(sending, messengers[sending.platform], sealer=sealer, now=now):
            return tried + 1
    return limit


def _send(sending: Sending, messenger: Messenger, *, sealer: Sealer, now: datetime) -> bool:
    """Send one message and note what became of it; say whether the platform is there."""
    account_id = sealer.unseal("platform-account", sending.account_sealed)
    template = messenger.templates.get(sending.kind)
    if account_id is None or template is None or template.id != sending.template_id:
        with transaction() as session:
            messages.drop(session, message_id=sending.id, code="not-configured")
        return True
    try:
        messenger.send_message(
            account_id=account_id,
            template_id=template.id,
            page=WORDINGS[sending.kind].page,
            data=fill_template(
                template.fields, kind=sending.kind, facts=sending.facts, at=sending.written_at
            ),
        )
    except FieldUnfit as unfit:
        log.error("message %s of %s cannot fill %s", sending.id, sending.kind, unfit.field)
        with transaction() as session:
            messages.drop(session, message_id=sending.id, code="field-unfit")
    except MessageRefused as refused:
        log.warning("message %s refused: %s", sending.id, refused.code)
        with transaction() as session:
            messages.note_refused(
                session,
                message_id=sending.id,
                code=refused.code,
                passing=refused.passing,
                now=now,
            )
        return not refused.passing
    except MessageUnknown as unknown:
        log.warning("message %s not answered: %s", sending.id, unknown.reason)
        with transaction() as session:
            messages.note_unknown(session, message_id=sending.id, code=unknown.reason)
        return False
    else:
        with transaction() as session:
            messages.note_sent(session, message_id=sending.id)
    return True
