"""The timetable: what runs by itself, and when.

Jobs are idempotent and may be killed at any point: what is due is a row, claimed for a while.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

import procrastinate

from backend import clock
from backend.applications import ending, opening
from backend.cards.service import expire_cards
from backend.charges import rerating
from backend.db import transaction
from backend.holders import category_changes, permissions
from backend.holders.identity import forget_old_identity_steps
from backend.http.parts import Parts
from backend.issues import exchanges
from backend.notices import messages, relay
from backend.notices import service as notices
from backend.operation_log import heads, seals
from backend.policies.service import policies_at
from backend.reconciliation import fetching as bills
from backend.refunds import asking as refunds
from backend.topups import service as topups
from backend.topups.asking import ask_due

STALE_MINUTES = 30
"""Where no policy says otherwise."""

log = logging.getLogger(__name__)


def ask_channels(parts: Parts) -> int:
    """Ask the channels about top-ups that are due."""
    return ask_due(channels=parts.channels, sealer=parts.sealer, now=clock.now())


def send_refunds(parts: Parts) -> int:
    """Send the refunds that are due, and ask the channels how others stand."""
    return refunds.ask_due(channels=parts.channels, now=clock.now())


def return_surcharges(_: Parts) -> int:
    """Pay back the meal surcharge that approved re-ratings found too much."""
    return rerating.pay_due(now=clock.now())


def report_top_ups(_: Parts) -> int:
    """Tell the operations, once a day, which top-ups somebody has to look at."""
    with transaction() as session:
        found = topups.unresolved(session, now=clock.now())
    if found.frozen or found.overdue:
        log.error("top-ups: %s frozen, %s open too long", found.frozen, found.overdue)
    return found.frozen + found.overdue


def fetch_bills(parts: Parts) -> int:
    """Fetch the channels' bills that are due: yesterday's, and those that were missed."""
    return bills.fetch_due(channels=parts.channels, sealer=parts.sealer, now=clock.now())


def send_messages(parts: Parts) -> int:
    """Send the messages that are due; those that have become old news are dropped."""
    now = clock.now()
    with transaction() as session:
        minutes = policies_at(session, now).values.get("notice.stale_minutes", STALE_MINUTES)
    return relay.send_due(
        messengers=parts.messengers,
        sealer=parts.sealer,
        stale_after=timedelta(minutes=minutes),
        now=now,
    )


def forget_notices(_: Parts) -> int:
    """Delete notices and messages that were kept for long enough."""
    now = clock.now()
    with transaction() as session:
        days = policies_at(session, now).values.get("notice.keep_days")
        if days is None:
            return 0
        before = now - timedelta(days=days)
        messages.forget_old(session, before=before)
        return notices.forget_old(session, before=before)


def expire(_: Parts) -> int:
    """Expire the cards whose last day is over."""
    with transaction() as session:
        return expire_cards(session, now=clock.now())


def change_categories(_: Parts) -> int:
    """Make people the kind of holder that was noted for today, and end exceptions that are over."""
    now = clock.now()
    with transaction() as session:
        changed = category_changes.apply_due(session, now=now)
        policies = policies_at(session, now)
        return changed + permissions.work_out(session, policies=policies, now=now)


def forget(_: Parts) -> int:
    """Forget the identities of bindings that were not finished."""
    with transaction() as session:
        return forget_old_identity_steps(session, now=clock.now())


def propose_exchanges(_: Parts) -> int:
    """Propose the exchange of new-student cards (换卡) for the classes that are due."""
    return exchanges.propose_due(now=clock.now())


def begin_temporary_cards(_: Parts) -> int:
    """Make temporary cards active that were opened ahead and begin today."""
    return opening.begin_due(now=clock.now())


def remind_of_ends(_: Parts) -> int:
    """Remind holders and sponsors of temporary cards that end soon."""
    return ending.remind_due(now=clock.now())


def rotate_code_keys(parts: Parts) -> int:
    """Prepare the next key for card codes; harmless while one waits."""
    parts.code_keys.rotate(clock.now())
    return 1


def seal_log(_: Parts) -> int:
    """Seal what the operation log holds by now, all of it: a seal is a transaction of its own."""
    sealed = 0
    while True:
        with transaction() as session:
            seals.read_slowly(session)
            done = seals.seal(session, now=clock.now())
        sealed += done
        if done < seals.ENTRIES_A_SEAL:
            return sealed


def keep_log_head(parts: Parts) -> int:
    """Append today's head of the operation log to the file that leaves the database, once a day."""
    if parts.settings.log_heads is None:
        return 0
    with transaction() as session:
        head = seals.head(session)
    return int(heads.keep(parts.settings.log_heads, head, now=clock.now()))


TIMETABLE: tuple[tuple[str, str, Callable[[Parts], int]], ...] = (
    ("ask-channels", "* * * * * */5", ask_channels),
    ("send-refunds", "* * * * * */5", send_refunds),
    ("return-surcharges", "* * * * * */10", return_surcharges),
    ("report-top-ups", "0 1 * * *", report_top_ups),  # 09:00 in Shanghai
    ("fetch-bills", "*/10 2-12 * * *", fetch_bills),  # 10:00 to 20:50 in Shanghai
    ("send-messages", "* * * * * */5", send_messages),
    ("expire-cards", "* * * * *", expire),
    ("change-categories", "*/5 * * * *", change_categories),  # midnight in Shanghai is one of them
    ("propose-exchanges", "5 16 * * *", propose_exchanges),  # 00:05 in Shanghai
    ("begin-temporary-cards", "0 16 * * *", begin_temporary_cards),  # 00:00 in Shanghai
    ("remind-of-ends", "0 1 * * *", remind_of_ends),  # 09:00 in Shanghai
    ("forget-identity-steps", "*/5 * * * *", forget),
    ("forget-notices", "*/10 * * * *", forget_notices),
    ("seal-log", "* * * * * */10", seal_log),
    ("keep-log-head", "*/5 * * * *", keep_log_head),
    ("rotate-code-keys", "0 18 1 * *", rotate_code_keys),  # 02:00 in Shanghai, monthly
)
"""Name, when (cron in UTC, seconds last where given), and what."""


def build(connector: procrastinate.BaseConnector, parts: Parts) -> procrastinate.App:
    """Return the job application with the whole timetable on it."""
    app = procrastinate.App(connector=connector)
    for name, cron, work in TIMETABLE:

        def run(timestamp: int, name: str = name, work: Callable[[Parts], int] = work) -> None:
            done = work(parts)
            log.debug("job %s of %s: %s", name, timestamp, done)

        task = app.task(name=name, queueing_lock=name)(run)
        app.periodic(cron=cron)(task)
    return app
