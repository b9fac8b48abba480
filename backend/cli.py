"""The command `campus-card`."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import TextIO

    from backend.settings import Settings

ROOT = Path(__file__).parents[1]
ROWS_LEFT_OUT = 3
"""Exit status: it is done, but for some rows."""


@click.group()
def main() -> None:
    """Campus Card (校园卡): the open, self-hosted virtual campus card."""


def _settings() -> "Settings":
    """Return the settings of the environment, or of the demo when it runs."""
    from flask import json

    from backend.settings import Settings, SettingsWrong

    try:
        return Settings.from_environment()
    except SettingsWrong as error:
        remembered = ROOT / "var" / "environment.json"
        if remembered.exists():
            return Settings.from_environment(json.loads(remembered.read_text()))
        raise click.ClickException(str(error)) from error


@main.command()
def demo() -> None:
    """Start the demo college: databases, server, worker, platform sandbox."""
    from backend.demo import launcher

    sys.exit(launcher.run())


@main.command()
def migrate() -> None:
    """Bring the database up to the newest revision."""
    from backend.migrations import upgrade

    settings = _settings()
    upgrade(settings.owner_database_url or settings.database_url)


@main.command()
def work() -> None:
    """Run the jobs of the timetable until stopped."""
    import asyncio

    import procrastinate

    from backend import app, db, jobs
    from backend.logs import configure

    configure()
    settings = _settings()
    db.connect(settings.database_url)
    url = settings.database_url.replace("+psycopg", "")
    connector = procrastinate.PsycopgConnector(conninfo=url)
    asyncio.run(jobs.work(jobs.build(connector, app.wire(settings))))


@main.command("prove-ledger")
def prove_ledger() -> None:
    """Recompute every balance and the trial balance; exit 1 if anything differs."""
    from sqlalchemy import text

    from backend import db
    from backend.arrears import service as arrears
    from backend.cash_desk import shifts
    from backend.ledger import service as ledger
    from backend.money import yuan_text
    from backend.refunds import service as refunds

    engine = db.connect(_settings().database_url)
    with db.transaction() as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        session.execute(text("SET LOCAL statement_timeout = 0"))
        proof = ledger.prove(session)
        arrears_fen = arrears.difference(session)
        refunds_fen = refunds.difference(session)
        cash_fen = shifts.difference(session)
    engine.dispose()
    click.echo(f"transfers            {proof.transfers}")
    click.echo(f"purses               {proof.purses}")
    for kind, fen in proof.by_kind.items():
        click.echo(f"{kind:<20} {yuan_text(fen)}")
    click.echo(f"purses that differ   {proof.wrong_purses}")
    click.echo(f"unknown accounts     {proof.strange_accounts}")
    click.echo(f"difference           {yuan_text(proof.difference_fen)}")
    click.echo(f"arrears that differ  {yuan_text(arrears_fen)}")
    click.echo(f"refunds that differ  {yuan_text(refunds_fen)}")
    click.echo(f"cash that differs    {yuan_text(cash_fen)}")
    holds = proof.holds and not any((arrears_fen, refunds_fen, cash_fen))
    click.echo("the ledger holds" if holds else "THE LEDGER DOES NOT HOLD")
    sys.exit(0 if holds else 1)


@main.command("scan-leaks")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--find-from",
    type=click.File("r", encoding="utf-8"),
    help="A file of values, one a line, to be found too; - reads standard input.",
)
def scan_leaks(files: tuple[Path, ...], find_from: "TextIO | None") -> None:
    """Look for ID numbers and tokens in clear in the database, in Redis and in FILES such as logs.

    Values of one's own, such as numbers and tokens that were just used, are looked for with
    --find-from.  Names where something stands and never shows it; exit 1 if there is anything.
    """
    from redis import Redis
    from sqlalchemy import text

    from backend import clock, db
    from backend.leaks import service
    from backend.leaks.rules import LEAST_GIVEN, Recogniser
    from backend.sealing import Sealer

    given = [line.strip() for line in find_from or () if line.strip()]
    if any(len(value) < LEAST_GIVEN for value in given):
        raise click.BadParameter(
            f"values of at least {LEAST_GIVEN} characters", param_hint="--find-from"
        )
    settings, findings = _settings(), service.Findings()
    engine = db.connect(settings.owner_database_url or settings.database_url)
    with db.transaction() as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        session.execute(text("SET LOCAL statement_timeout = 0"))
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        recogniser = Recogniser(
            known=service.known(session),
            sealer=Sealer(settings.root_key),
            given=given,
            today=clock.business_date(clock.now()),
        )
        service.scan_database(session, recogniser, findings)
    engine.dispose()
    service.scan_redis(Redis.from_url(settings.redis_url), recogniser, findings)
    for path in files:
        service.scan_file(path, recogniser, findings)
    for leak in findings.leaks:
        where = f"{leak.where}  {leak.place}".strip()
        click.echo(f"{leak.kind}  {where}" + (f"  and {leak.times - 1} more" * (leak.times > 1)))
    read = findings.read
    click.echo(
        f"read {read['values']} values of {read['tables']} tables and {read['files']} files,"
        f" {read['keys']} keys; looked for {len(given)} given values"
    )
    click.echo("nothing stands in clear" if not findings.leaks else "IN CLEAR, SEE ABOVE")
    sys.exit(1 if findings.leaks else 0)


@main.command("fetch-bills")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="That day; without it what is due.")
@click.option("--channel", "name", type=click.Choice(["wechat", "alipay"]), help="Only this one.")
def fetch_bills(day: datetime | None, name: str | None) -> None:
    """Fetch the channels' bills and import them; exit 1 if one is not there or was refused."""
    from backend import app, clock, db
    from backend.errors import DomainError
    from backend.operation_log.service import SYSTEM
    from backend.reconciliation import fetching

    settings = _settings()
    db.connect(settings.database_url)
    parts = app.wire(settings)
    channels = {known: own for known, own in parts.channels.items() if name in (None, known)}
    now = clock.now()
    if day is None:
        tried = fetching.fetch_due(channels=channels, sealer=parts.sealer, now=now)
        click.echo(f"{tried} bills were due")
        return
    failed = False
    for known, channel in channels.items():
        try:
            bill = fetching.fetch(
                channel, day.date(), sealer=parts.sealer, actor=SYSTEM, now=now
            ).bill
        except DomainError as error:
            why = error.facts.get("answer", error.__cause__)
            click.echo(f"{known} {day:%Y-%m-%d}: {error.code} {why}")
            failed = True
            continue
        failed = failed or bill.fault is not None
        click.echo(
            f"{known} {bill.day}: {bill.state.value}, version {bill.version},"
            f" {bill.payments} payments, {bill.refunds} refunds"
            + (f"; {bill.fault} in line {bill.fault_line}" if bill.fault else "")
        )
    sys.exit(1 if failed else 0)


@main.command("read-bill")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--channel", "name", type=click.Choice(["wechat", "alipay"]), required=True)
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The bill's day.")
def read_bill(file: Path, name: str, day: datetime) -> None:
    """Print the rows of a channel's bill, or what exactly is wrong with it; store nothing."""
    from backend import app, clock
    from backend.money import yuan_text
    from payments import BillMalformed

    channel = app.wire(_settings()).channels.get(name)
    if channel is None:
        raise click.ClickException(f"the school does not use {name}")
    content = file.read_bytes()
    if not content:
        raise click.ClickException(f"no bill of {name} on {day:%Y-%m-%d}: the file is empty")
    try:
        bill = channel.read_bill(content, day.date())
    except BillMalformed as malformed:
        raise click.ClickException(f"no bill of {name} on {day:%Y-%m-%d}: {malformed}") from None
    for row in bill.rows:
        fields = (
            f"{row.line}", clock.rfc3339(row.at), row.kind.value, yuan_text(row.amount_fen),
            yuan_text(row.fee_fen), row.out_trade_no, row.trade_no, row.out_refund_no or "-",
            row.refund_no or "-", row.state,
        )  # fmt: skip
        click.echo("\t".join(fields))
    totals = bill.totals
    click.echo(
        f"{totals.payments} payments {yuan_text(totals.payments_fen)},"
        f" {totals.refunds} refunds {yuan_text(totals.refunds_fen)},"
        f" fees {yuan_text(totals.fee_fen)}"
    )


@main.command("log-head")
def log_head() -> None:
    """Print the head of the operation log, for the monthly sheet and a second system."""
    from backend import clock, db
    from backend.clock import rfc3339
    from backend.operation_log import seals

    engine = db.connect(_settings().database_url)
    with db.transaction() as session:
        head, lag = seals.head(session), seals.lag(session, now=clock.now())
    engine.dispose()
    click.echo(f"number    {head.number}")
    click.echo(f"head      {head.head.hex()}")
    click.echo(f"sealed    {rfc3339(head.sealed_at) if head.sealed_at else 'never'}")
    click.echo(f"entries   {head.total}")
    click.echo(f"unsealed  {lag.entries}, the oldest for {lag.seconds} s")


@main.command("verify-log")
@click.option("--head", help="A head that was kept elsewhere; with --number.")
@click.option("--number", type=click.IntRange(1), help="The number of the seal it is of.")
@click.option(
    "--heads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of heads, one line a day; else the one of CAMPUS_CARD_LOG_HEADS.",
)
def verify_log(head: str | None, number: int | None, heads: Path | None) -> None:
    """Compute the operation log's chain again from its rows, against heads that were kept.

    Exits 1 at the first difference, and 3 where a file of heads is named and holds none: then
    nothing shows a tail that was cut off, or a whole log.
    """
    import re

    from backend import db
    from backend.operation_log import heads as kept_heads
    from backend.operation_log import verification
    from backend.policies.service import are_adopted

    if (head is None) != (number is None):
        raise click.UsageError("--head and --number belong together")
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise click.BadParameter("64 hexadecimal digits, lower case", param_hint="--head")
    settings = _settings()
    path = heads or settings.log_heads
    kept, fault = {}, f"no head in {path}"
    try:
        kept = kept_heads.read(path) if path else {}
    except kept_heads.HeadsUnreadable as error:
        fault = f"not a file of heads: {error}"
    engine = db.connect(settings.database_url)
    with db.transaction() as session:
        verification.read_only(session)
        found = verification.verify(session, heads=kept)
        if found.holds and head is not None and number is not None:
            found = verification.verify(session, heads={number: bytes.fromhex(head)})
        begun = found.seals > 0 or found.unsealed > 0 or are_adopted(session)
    engine.dispose()
    click.echo(f"seals        {found.seals}")
    click.echo(f"entries      {found.entries}")
    click.echo(f"disposed     {found.disposed}")
    click.echo(f"unsealed     {found.unsealed}")
    click.echo(f"head         {found.head.number} {found.head.head.hex()}")
    click.echo(f"heads kept   {len(kept) + (head is not None)}")
    if found.difference is not None:
        where = f"seal {found.difference.seal}"
        if found.difference.entry_id is not None:
            where += f", entry {found.difference.entry_id}"
        click.echo(f"THE LOG DOES NOT HOLD: {found.difference.fault}, {where}")
        sys.exit(1)
    if not begun:
        click.echo("nothing has happened here yet: no rule, no entry, no seal")
        return
    click.echo("the log holds" if found.seals else "the log holds: NOTHING IS SEALED")
    if path and not kept:
        click.echo(f"NOTHING OUTSIDE THE DATABASE WAS COMPARED: {fault}")
        if head is None:
            sys.exit(3)


@main.command("export-log")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True)
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A file that is new.")
def export_log(first: datetime, last: datetime, out: Path) -> None:
    """Take a copy of the days from one to another, both included, for an inspection (CSV).

    That it was taken is in the log before the first row is written.
    """
    import getpass

    from backend import clock, db
    from backend.console.language import LANGUAGES, dictionary
    from backend.ids import new_reference
    from backend.inspections import export, service
    from backend.operation_log.service import SYSTEM, LogFilter

    if last < first:
        raise click.UsageError("--to is before --from")
    now, reference, who = clock.now(), new_reference(), getpass.getuser()
    wanted = LogFilter(
        since=clock.start_of_day(first.date()),
        until=clock.start_of_day(last.date() + timedelta(days=1)),
    )
    engine = db.connect(_settings().database_url)
    with out.open("x", encoding="utf-8", newline="") as file:
        with db.transaction() as session:
            wanted, rows = service.allow_export(
                session,
                wanted=wanted,
                most=service.MOST_EXPORTED_BY_COMMAND,
                actor=SYSTEM,
                reference=reference,
                now=now,
                taken_by=who,
            )
        file.writelines(
            export.lines(
                wanted=wanted,
                taken_by=who,
                reference=reference,
                action_words=dictionary(LANGUAGES[0])["actions"],
                now=now,
            )
        )
    engine.dispose()
    click.echo(f"{rows} rows in {out}, export {reference}")


@main.command("import-roster")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Write nothing; report the same.")
@click.option(
    "--source",
    type=click.Choice(["academic", "personnel", "card_centre"]),
    default="card_centre",
    show_default=True,
    help="Whose list it is: it may only have their people.",
)
@click.option("--whole", is_flag=True, help="It has everybody: list who is missing.")
@click.option(
    "--report",
    "out",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write row, column and fault of every row at fault there, as CSV.",
)
def import_roster(
    file: Path,
    dry_run: bool,  # noqa: FBT001 - click flags
    source: str,
    whole: bool,  # noqa: FBT001
    out: Path | None,
) -> None:
    """Import a roster feed, CSV or XLSX, with a report of every row at fault.

    Exit 0: every row is in.  Exit 3: some were left out; the others are in.
    """
    import csv

    from sqlalchemy import text

    from backend import app, clock, db
    from backend.cards.counter import wake_all
    from backend.cards.service import ended_accounts, open_accounts_to_issue
    from backend.holders.models import RosterSource
    from backend.holders.roster import RosterUnreadable
    from backend.holders.roster import import_roster as read_roster
    from backend.operation_log.service import SYSTEM

    settings = _settings()
    db.connect(settings.database_url)
    parts = app.wire(settings)
    try:
        with db.transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = 0"))
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            report = read_roster(
                session,
                content=file.read_bytes(),
                source=RosterSource(source),
                whole=whole,
                sealer=parts.sealer,
                actor=SYSTEM,
                now=clock.now(),
                dry_run=dry_run,
                open_accounts=open_accounts_to_issue,
                ended_accounts=ended_accounts,
                wake_cards=wake_all,
            )
    except RosterUnreadable as error:
        raise click.ClickException(f"{file.name}: {error.facts['fault']}") from error
    said = [*report.faults, *report.conflicts]
    if out is not None:
        with out.open("w", encoding="utf-8", newline="") as sheet:
            lines = csv.writer(sheet)
            lines.writerow(["row", "column", "fault"])
            lines.writerows([fault.row, fault.column, fault.fault] for fault in said)
    else:
        for fault in said:
            click.echo(f"row {fault.row}: {fault.column}: {fault.fault}")
    for one in report.remarks:
        click.echo(f"row {one.row}: {one.holder_number}: {one.remark}")
    for title in report.unread_sheets:
        click.echo(f"not read, another sheet: {title}")
    for number in report.absent:
        click.echo(f"not in the list: {number}")
    click.echo(
        f"{report.rows} rows: {report.added} added, {report.changed} changed,"
        f" {report.unchanged} unchanged, {len(report.faults)} at fault,"
        f" {len(report.conflicts)} proven otherwise,"
        f" {len(report.remarks)} without an account, {len(report.absent)} not in the list"
    )
    sys.exit(ROWS_LEFT_OUT if report.faults else 0)


@main.command("pass-days")
@click.argument("first", metavar="FROM", type=click.DateTime(["%Y-%m-%d"]))
@click.argument("last", metavar="TO", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--yes", is_flag=True, help="Also where this is no demo.")
def pass_days(first: "datetime", last: "datetime", yes: bool) -> None:  # noqa: FBT001 - a click flag
    """Let days pass, both included: do at each midnight in Shanghai what that day brings.

    Cards expire, people leave, accounts close as if it were that day; nothing brings it back.
    """
    from backend import app, db, jobs

    if last < first:
        raise click.UsageError("TO is before FROM")
    settings = _settings()
    if settings.demo is None and not yes:
        raise click.ClickException("this is no demo: with --yes the days pass all the same")
    db.connect(settings.database_url)
    parts = app.wire(settings)
    for number in range((last - first).days + 1):
        day = (first + timedelta(days=number)).date()
        done = jobs.pass_day(parts, day)
        happened = ", ".join(f"{name} {count}" for name, count in done.items() if count)
        click.echo(f"{day}  {happened or 'nothing'}")


@main.command("adopt-preset")
@click.argument("name")
@click.option("--document", required=True, help="The number of the paper that decided it (文号).")
def adopt_preset(name: str, document: str) -> None:
    """Put a preset of policies in force from now on, such as offline_money or no_offline_money.

    As the role that owns the tables: whoever serves needs a proposal of two people.
    """
    from backend import clock, db
    from backend.operation_log import service as operation_log
    from backend.operation_log.service import SYSTEM
    from backend.policies import service as policies
    from backend.policies.rules import PRESETS

    if name not in PRESETS:
        raise click.BadParameter(f"there are {', '.join(PRESETS)}", param_hint="NAME")
    if not document.strip() or not document.isprintable():
        raise click.BadParameter("a number such as 图文〔2026〕7号", param_hint="--document")
    settings = _settings()
    engine = db.connect(settings.owner_database_url or settings.database_url)
    with db.transaction() as session:
        now = clock.now()
        policies.adopt_preset(session, name, document_number=document, now=now)
        operation_log.record(
            session,
            actor=SYSTEM,
            action="policy.adopt_preset",
            now=now,
            preset=name,
            document_number=document,
        )
    engine.dispose()
    click.echo(f"{name} holds from now on, by {document}")


@main.command("rerate-surcharge")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True)
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True)
@click.option("--permille", type=click.IntRange(0, 500), help="The rate as it should have been.")
@click.option("--flags", is_flag=True, help="Who pays it today should have paid it then.")
@click.option("--pay", is_flag=True, help="Pay what two people have approved, now.")
def rerate_surcharge(
    first: "datetime",
    last: "datetime",
    permille: int | None,
    flags: bool,  # noqa: FBT001 - a click flag
    pay: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Show what re-rating a period's meal surcharge (搭伙费) comes to; proposing is for staff."""
    from backend import clock, db
    from backend.charges import meal_sums, paying_back

    engine = db.connect(_settings().database_url)
    if pay:
        click.echo(f"{paying_back.pay_due(now=clock.now())} charges paid back")
    try:
        with db.transaction() as session:
            found = meal_sums.sums(
                session,
                first_day=first.date(),
                last_day=last.date(),
                permille=permille,
                flags=flags,
            )
    except meal_sums.ReratingPeriodRefused as error:
        raise click.BadParameter("a period of 1 to 366 days", param_hint="--to") from error
    engine.dispose()
    click.echo(f"{found.charges} charges bear {found.taken_fen} fen")
    click.echo(f"too much: {found.return_fen} fen of {found.return_charges}, to be paid back")
    click.echo(f"too little: {found.short_fen} fen of {found.short_charges}, never taken")
    click.echo(f"closed accounts: {found.closed_fen} fen of {found.closed_charges}, by hand")


@main.command("rotate-code-keys")
def rotate_code_keys() -> None:
    """Prepare the next key for card codes; the present one goes on until it is in use."""
    from backend import app, clock

    app.wire(_settings()).code_keys.rotate(clock.now())


@main.command("add-operator")
@click.argument("username")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["system_administrator", "card_centre"]),
    default="system_administrator",
    show_default=True,
)
def add_operator(username: str, name: str, role: str) -> None:
    """Add the first person of a role that appoints or approves others; they add the rest."""
    import marshmallow as ma

    from backend import clock, db
    from backend.operators import enrolment
    from backend.operators.enrolment import AlreadyFounded
    from backend.operators.schemas import AppointmentRequest

    try:
        said = AppointmentRequest().load({"username": username, "name": name, "role": role})
    except ma.ValidationError as error:
        raise click.ClickException(f"not possible: {error}") from error
    settings = _settings()
    engine = db.connect(settings.database_url)
    try:
        with db.transaction() as session:
            token, issued = enrolment.found(session, now=clock.now(), **said)
            until = issued.expires_at
    except AlreadyFounded as error:
        raise click.ClickException("there is somebody of this role; appoint others") from error
    engine.dispose()
    click.echo(f"open   {settings.base_url}/console/enrolment")
    click.echo(f"token  {token}")
    click.echo(f"until  {clock.rfc3339(until)}")


@main.command("authorization-matrix")
def authorization_matrix() -> None:
    """Print who may call what: an address a line, a caller a column (CSV)."""
    from backend import authorization

    for line in authorization.lines(authorization.read()):
        click.echo(line)


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if the files are stale.")
def openapi(check: bool) -> None:  # noqa: FBT001 - a click flag
    """Write openapi/openapi.json and openapi/problems.md."""
    from backend.app import create_app
    from backend.http import document

    stale = document.write(ROOT / "openapi", create_app, check=check)
    for name in stale:
        click.echo(f"{'stale' if check else 'written'}: openapi/{name}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
