"""The timetable: what runs by itself, and when.

Jobs are idempotent and may be killed at any point: what is due is a row, claimed for a while.
A worker that stood still for long, or lost the database, begins anew.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta

import procrastinate
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status

from backend import clock
from backend.applications import ending, opening
from backend.cards import categories
from backend.cards.service import expire_cards
from backend.cases import lending
from backend.charges import paying_back
from backend.closings import deadlines, departures, emptying
from backend.closings import service as closings
from backend.db import transaction
from backend.gates import emergencies
from backend.gates import retention as passages
from backend.holders import permissions
from backend.holders.identity import forget_old_identity_steps
from backend.http.parts import Parts
from backend.issues import exchanges
from backend.notices import messages, relay
from backend.notices import service as notices
from backend.operation_log import heads, seals
from backend.operation_log import retention as log_retention
from backend.operation_log import service as operation_log
from backend.policies.service import policies_at
from backend.reconciliation import fetching as bills
from backend.refunds import asking as refunds
from backend.subsidies import paying as subsidies
from backend.topups import figures
from backend.topups.asking import ask_due

STALLED_SECONDS = 30
"""A worker that was not heard of for so long is dead: three heartbeats."""
SWEEP = ("sweep-jobs", "* * * * * */10")
PAUSE_SECONDS = (1, 2, 5, 10, 30)
"""Before a worker begins anew, the first time and the next ones."""
STEADY_SECONDS = 60
"""A worker that ran for so long begins anew as the first time."""

log = logging.getLogger(__name__)


def ask_channels(parts: Parts, now: datetime) -> int:
    """Ask the channels about top-ups that are due."""
    return ask_due(channels=parts.channels, sealer=parts.sealer, now=now)


def send_refunds(parts: Parts, now: datetime) -> int:
    """Send the refunds that are due, and ask the channels how others stand."""
    return refunds.ask_due(channels=parts.channels, now=now)


def return_surcharges(_: Parts, now: datetime) -> int:
    """Pay back the meal surcharge that approved re-ratings found too much."""
    return paying_back.pay_due(now=now)


def pay_subsidies(_: Parts, now: datetime) -> int:
    """Pay the subsidies of approved batches whose day has come."""
    return subsidies.pay_due(now=now)


def report_top_ups(_: Parts, now: datetime) -> int:
    """Tell the operations, once a day, which top-ups somebody has to look at."""
    with transaction() as session:
        found = figures.unresolved(session, now=now)
    if found.frozen or found.overdue:
        log.error("top-ups: %s frozen, %s open too long", found.frozen, found.overdue)
    return found.frozen + found.overdue


def fetch_bills(parts: Parts, now: datetime) -> int:
    """Fetch the channels' bills that are due: yesterday's, and those that were missed."""
    return bills.fetch_due(channels=parts.channels, sealer=parts.sealer, now=now)


def send_messages(parts: Parts, now: datetime) -> int:
    """Send the messages that are due; those that have become old news are dropped."""
    with transaction() as session:
        minutes = policies_at(session, now)["notice.stale_minutes"]
    return relay.send_due(
        messengers=parts.messengers,
        sealer=parts.sealer,
        stale_after=timedelta(minutes=minutes),
        now=now,
    )


def forget_notices(_: Parts, now: datetime) -> int:
    """Delete notices and messages that were kept for long enough."""
    with transaction() as session:
        policies = policies_at(session, now)
        before = now - timedelta(days=policies["notice.keep_days"])
        sent = messages.forget_old(session, before=before)
        told = notices.forget_old(session, before=before)
        if sent or told:
            operation_log.record(
                session,
                actor=operation_log.SYSTEM,
                action="notice.forget",
                now=now,
                policy_ids=policies.used("notice.keep_days"),
                notices=told,
                messages=sent,
            )
        return told


def forget_passages(_: Parts, now: datetime) -> int:
    """Delete passages that were kept for long enough, all of them."""
    gone = 0
    while True:
        with transaction() as session:
            policies = policies_at(session, now)
            before = now - timedelta(days=policies["passage.keep_days"])
            used = policies.used("passage.keep_days")
            done = passages.forget_old(session, before=before, policy_ids=used, now=now)
        gone += done
        if done < passages.AT_ONCE:
            return gone


def dispose_log(_: Parts, now: datetime) -> int:
    """Delete entries of the operation log that were kept for long enough, whole seals of them."""
    gone = 0
    while True:
        with transaction() as session:
            seals.read_slowly(session)
            policies = policies_at(session, now)
            done = log_retention.dispose(
                session,
                before=now - timedelta(days=policies["log.keep_days"]),
                policy_ids=policies.used("log.keep_days"),
            )
        gone += done
        if not done:
            return gone


def expire(_: Parts, now: datetime) -> int:
    """Expire the cards whose last day is over."""
    with transaction() as session:
        return expire_cards(session, now=now)


def change_categories(_: Parts, now: datetime) -> int:
    """Make people the kind of holder that was noted for today, and end exceptions that are over.

    The jobs that end cards and accounts leave to this whoever is another kind from today on.
    """
    with transaction() as session:
        changed = categories.apply_due(session, now=now)
        policies = policies_at(session, now)
        return changed + permissions.work_out(session, policies=policies, now=now)


def apply_departures(_: Parts, now: datetime) -> int:
    """Let those leave whose day has come."""
    with transaction() as session:
        return departures.apply_due(session, now=now)


def close_expired(_: Parts, now: datetime) -> int:
    """Start to close the temporary accounts whose cards have expired."""
    with transaction() as session:
        return closings.close_expired(session, now=now)


def advance_closings(parts: Parts, now: datetime) -> int:
    """Take closings a step further: what has waited, is clear, or has reached its holder."""
    return emptying.advance_due(channels=parts.channels, now=now)


def find_lending(_: Parts, now: datetime) -> int:
    """List what looks as if a card were lent."""
    with transaction() as session:
        return lending.find_due(session, now=now)


def end_emergencies(_: Parts, now: datetime) -> int:
    """Write down which emergencies have ended by themselves."""
    with transaction() as session:
        return emergencies.note_ends(session, now=now)


def remind_graduates(_: Parts, now: datetime) -> int:
    """Tell graduates whose accounts are open that the deadline is near."""
    with transaction() as session:
        return deadlines.remind(session, now=now)


def close_graduates(_: Parts, now: datetime) -> int:
    """Gather the graduates whom nobody put into a batch, and run the batches that are due."""
    with transaction() as session:
        done = deadlines.gather(session, now=now)
    while True:
        with transaction() as session:
            started = deadlines.run_due(session, now=now)
        if not started:
            return done
        done += started


def forget(_: Parts, now: datetime) -> int:
    """Forget the identities of bindings that were not finished."""
    with transaction() as session:
        return forget_old_identity_steps(session, now=now)


def propose_exchanges(_: Parts, now: datetime) -> int:
    """Propose the exchange of new-student cards (换卡) for the classes that are due."""
    return exchanges.propose_due(now=now)


def begin_temporary_cards(_: Parts, now: datetime) -> int:
    """Make temporary cards active that were opened ahead and begin today."""
    return opening.begin_due(now=now)


def remind_of_ends(_: Parts, now: datetime) -> int:
    """Remind holders and sponsors of temporary cards that end soon."""
    return ending.remind_due(now=now)


def rotate_code_keys(parts: Parts, now: datetime) -> int:
    """Prepare the next key for card codes; harmless while one waits."""
    parts.code_keys.rotate(now)
    return 1


def seal_log(_: Parts, now: datetime) -> int:
    """Seal what the operation log holds by now, all of it: a seal is a transaction of its own."""
    sealed = 0
    while True:
        with transaction() as session:
            seals.read_slowly(session)
            done = seals.seal(session, now=now)
        sealed += done
        if done < seals.ENTRIES_A_SEAL:
            return sealed


def keep_log_head(parts: Parts, now: datetime) -> int:
    """Append today's head of the operation log to the file that leaves the database, once a day."""
    if parts.settings.log_heads is None:
        return 0
    with transaction() as session:
        head = seals.head(session)
    return int(heads.keep(parts.settings.log_heads, head, now=now))


Job = Callable[[Parts, datetime], int]
"""Does what is due at a moment, and returns how much that was."""
Timetable = tuple[tuple[str, str, Job], ...]
TIMETABLE: Timetable = (
    ("ask-channels", "* * * * * */5", ask_channels),
    ("send-refunds", "* * * * * */5", send_refunds),
    ("return-surcharges", "* * * * * */10", return_surcharges),
    ("pay-subsidies", "* * * * * */10", pay_subsidies),
    ("report-top-ups", "0 1 * * *", report_top_ups),  # 09:00 in Shanghai
    ("fetch-bills", "*/10 2-12 * * *", fetch_bills),  # 10:00 to 20:50 in Shanghai
    ("send-messages", "* * * * * */5", send_messages),
    ("apply-departures", "* * * * *", apply_departures),
    ("expire-cards", "* * * * *", expire),
    ("change-categories", "*/5 * * * *", change_categories),  # midnight in Shanghai is one of them
    ("close-expired", "* * * * *", close_expired),
    ("advance-closings", "* * * * *", advance_closings),
    ("find-lending", "15 * * * *", find_lending),
    ("end-emergencies", "* * * * *", end_emergencies),
    ("remind-graduates", "0 1 * * *", remind_graduates),
    ("close-graduates", "2 * * * *", close_graduates),
    ("propose-exchanges", "5 * * * *", propose_exchanges),
    ("begin-temporary-cards", "* * * * *", begin_temporary_cards),
    ("remind-of-ends", "0 1 * * *", remind_of_ends),  # 09:00 in Shanghai
    ("forget-identity-steps", "*/5 * * * *", forget),
    ("forget-notices", "*/10 * * * *", forget_notices),
    ("forget-passages", "20 18 * * *", forget_passages),  # 02:20 in Shanghai
    ("dispose-log", "40 18 * * *", dispose_log),
    ("seal-log", "* * * * * */10", seal_log),
    ("keep-log-head", "*/5 * * * *", keep_log_head),
    ("rotate-code-keys", "0 18 1 * *", rotate_code_keys),  # 02:00 in Shanghai, monthly
)
"""Name, when (cron in UTC, seconds last where given), and what."""
BY_THE_DAY = (
    "change-categories", "begin-temporary-cards", "propose-exchanges", "apply-departures",
    "expire-cards", "close-expired", "close-graduates", "send-refunds", "advance-closings",
    "remind-graduates", "remind-of-ends", "pay-subsidies", "forget-identity-steps",
    "forget-notices", "forget-passages",
)  # fmt: skip
"""What happens because a day has come, in this order; what closings owe is sent on its way.  The
others ask somebody outside, or go by the real clock as the seals of the operation log do."""


def pass_day(parts: Parts, day: date) -> dict[str, int]:
    """Do what a day brings, one second into it by the school's clock; return how much each did.

    The same day again changes nothing.
    """
    at = clock.start_of_day(day) + timedelta(seconds=1)
    works = {name: work for name, _, work in TIMETABLE}
    return {name: works[name](parts, at) for name in BY_THE_DAY}


def build(
    connector: procrastinate.BaseConnector, parts: Parts, timetable: Timetable = TIMETABLE
) -> procrastinate.App:
    """Return the job application with the whole timetable on it, and the sweep of dead jobs."""
    app = procrastinate.App(connector=connector)
    for name, cron, work in timetable:

        def run(timestamp: int, name: str = name, work: Job = work) -> None:
            done = work(parts, clock.now())
            log.debug("job %s of %s: %s", name, timestamp, done)

        task = app.task(name=name, queueing_lock=name)(run)
        app.periodic(cron=cron)(task)

    async def sweep_jobs(timestamp: int) -> None:
        log.debug("job %s of %s: %s", SWEEP[0], timestamp, await sweep(app))

    name, cron = SWEEP
    app.periodic(cron=cron)(app.task(name=name, queueing_lock=name)(sweep_jobs))
    return app


async def sweep(app: procrastinate.App) -> int:
    """Have the jobs of dead workers done again; return how many there were.

    Such a job keeps none of its successors waiting: only two that *wait* exclude each other.  So
    where a successor waits already, that one does the work, and the dead one is forgotten.
    """
    stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS)
    found = 0
    for job in stalled:
        assert job.id is not None  # noqa: S101 - it comes from the database
        with suppress(ConnectorException):  # its worker woke up, or another sweep was first
            try:
                await app.job_manager.retry_job(job)
            except UniqueViolation:
                await app.job_manager.finish_job_by_id_async(
                    job_id=job.id, status=Status.ABORTED, delete_job=True
                )
            log.warning("job %s of a dead worker is done again", job.task_name)
            found += 1
    return found


async def work(app: procrastinate.App) -> None:
    """Do the jobs until SIGINT or SIGTERM.

    Whatever else ends the worker ends one turn of it: it stood still for so long that others took
    it for dead (SIGSTOP, a paused machine), or the database went away.
    """
    loop, turns = asyncio.get_running_loop(), 0
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    while not stop.is_set():
        began = loop.time()
        turn = asyncio.create_task(_turn(app))
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait((turn, asked), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            turn.cancel()
        with suppress(asyncio.CancelledError):
            try:
                await turn
            except ConnectorException as error:
                log.warning("the worker lost its place: %s", error.__cause__ or error)
        turns = 0 if loop.time() - began > STEADY_SECONDS else turns
        if not stop.is_set():
            pause = PAUSE_SECONDS[min(turns, len(PAUSE_SECONDS) - 1)]
            log.warning("the worker begins anew in %s s", pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
        asked.cancel()
        turns += 1


async def _turn(app: procrastinate.App) -> None:
    async with app.open_async():
        await app.run_worker_async(
            concurrency=2,
            delete_jobs="successful",
            shutdown_graceful_timeout=2,
            stalled_worker_timeout=STALLED_SECONDS,
            install_signal_handlers=False,
        )
