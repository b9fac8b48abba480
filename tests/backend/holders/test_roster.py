"""The roster: any feed is read row by row, or refused with a reason."""

import csv
import io
import os
import secrets
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from factories import WEIGHTS, make_document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import app as wiring
from backend import cli, clock, db
from backend.cards.counter import wake_all
from backend.cards.models import Card, CardKind, CardState
from backend.cards.rules import CardEvent
from backend.cards.service import change_state, ended_accounts, open_accounts
from backend.db import transaction
from backend.errors import IdReused
from backend.holders import identity, roster
from backend.holders.identity import IdentityNotMatched
from backend.holders.models import (
    Category,
    DocumentKind,
    Employment,
    Holder,
    Identity,
    RosterBatch,
    RosterConflict,
    RosterSource,
)
from backend.holders.roster import RosterReport, RosterUnreadable, RowFault, RowRemark
from backend.holders.roster_reports import Remark
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.notices.models import HolderNotice
from backend.operation_log.models import LogEntry
from backend.operation_log.service import SYSTEM

pytestmark = pytest.mark.usefixtures("app")
CHINESE = tuple(roster.COLUMNS.values())
ENGLISH = tuple(roster.COLUMNS)
Row = list[str]


def new_row(**changed: str) -> Row:
    """Return a row about somebody new, in the order of the columns."""
    row = {
        "holder_number": secrets.token_hex(5),
        "name": "王小明",
        "category": "学生",
        "unit": "软件2401班",
        "document_number": make_document(),
        "valid_until": "2029-07-01",
        "pays_surcharge": "否",
    }
    return list((row | changed).values())


def document_of(day: date, order: str = "001") -> str:
    """Return a valid number of somebody who was born on a day."""
    body = f"{secrets.randbelow(900_000) + 100_000}{day:%Y%m%d}{order}"
    total = sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True))
    return body + "10X98765432"[total % 11]


def born_tomorrow() -> str:
    """Return a number that nobody can have yet."""
    return document_of(clock.business_date(clock.now()) + timedelta(days=2))


def as_csv(
    *rows: Sequence[str], heading: Sequence[str] = CHINESE, encoding: str = "utf-8"
) -> bytes:
    """Return a CSV file."""
    text = io.StringIO()
    csv.writer(text).writerows([heading, *rows])
    return text.getvalue().encode(encoding)


def as_xlsx(*rows: Sequence[object], heading: Sequence[str] = CHINESE) -> bytes:
    """Return an XLSX file."""
    book, file = Workbook(), io.BytesIO()
    for row in (heading, *rows):
        book.active.append(list(row))
    book.save(file)
    book.close()
    return file.getvalue()


def test_two_numbers_differ_in_more_than_upper_and_lower_case(parts: Parts, owner: Engine) -> None:
    """Neither against who is known, nor in one file, nor past the roster into the database."""
    number = f"o{secrets.token_hex(4)}x"
    assert load(parts, as_csv(new_row(holder_number=number))).faults == []
    other = number.upper()
    (fault,) = load(parts, as_csv(new_row(holder_number=other))).faults
    assert (fault.column, "upper and lower case" in fault.fault) == ("holder_number", True)
    fresh = f"o{secrets.token_hex(4)}x"
    rows = [new_row(holder_number=fresh), new_row(holder_number=fresh.upper())]
    (fault,) = load(parts, as_csv(*rows)).faults
    assert fault.row == 3
    with pytest.raises(IntegrityError, match="somebody else's"), owner.begin() as connection:
        connection.execute(
            text("UPDATE holders SET holder_number = :other WHERE holder_number = :fresh"),
            {"other": other, "fresh": fresh},
        )


def load(
    parts: Parts,
    content: bytes,
    *,
    dry_run: bool = False,
    source: RosterSource = RosterSource.CARD_CENTRE,
    **options: Any,
) -> RosterReport:
    """Import a feed as the route does."""
    with transaction() as session:
        return roster.import_roster(
            session,
            content=content,
            source=source,
            sealer=parts.sealer,
            actor=SYSTEM,
            now=clock.now(),
            dry_run=dry_run,
            open_accounts=open_accounts,
            ended_accounts=ended_accounts,
            wake_cards=wake_all,
            **options,
        )


def counts(report: RosterReport) -> tuple[int, int, int, int]:
    """Return what a report counts: added, changed, unchanged, at fault."""
    return report.added, report.changed, report.unchanged, len(report.faults)


def card_of(session: Session, row: Row) -> Card:
    """Return the physical card of the person of a row."""
    return session.scalars(
        select(Card)
        .join(Holder, Holder.id == Card.holder_id)
        .where(Holder.holder_number == row[0], Card.kind == CardKind.PHYSICAL)
    ).one()


def find(number: str) -> Holder | None:
    """Return whoever has a holder number."""
    with transaction() as session:
        return session.scalars(select(Holder).where(Holder.holder_number == number)).one_or_none()


def unpacked_size(size: int) -> bytes:
    """Return an XLSX file whose sheet is that long unpacked, and short packed."""
    file, good = io.BytesIO(), io.BytesIO(as_xlsx(new_row()))
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                content += b" " * size
            new.writestr(name, content)
    return file.getvalue()


class TestFormats:
    @pytest.mark.parametrize("heading", [CHINESE, ENGLISH, tuple(c.upper() for c in ENGLISH)])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
    def test_reads_csv(self, parts: Parts, heading: Sequence[str], encoding: str) -> None:
        row = new_row(name="龙䶮")
        assert counts(load(parts, as_csv(row, heading=heading, encoding=encoding))) == (1, 0, 0, 0)
        found = find(row[0])
        assert found is not None
        assert (found.name, found.category, found.unit, found.pays_surcharge) == (
            "龙䶮", Category.STUDENT, "软件2401班", False,
        )  # fmt: skip
        assert found.valid_until == date(2029, 7, 1)

    @pytest.mark.parametrize("heading", [CHINESE, ENGLISH])
    def test_reads_xlsx(self, parts: Parts, heading: Sequence[str]) -> None:
        row: list[object] = list(new_row(holder_number=str(secrets.randbelow(10**9) + 10**9)))
        number = str(row[0])
        row[0], row[5], row[6] = int(number), datetime(2029, 7, 1), 1  # noqa: DTZ001 - as Excel has them
        assert counts(load(parts, as_xlsx(row, heading=heading))) == (1, 0, 0, 0)
        found = find(number)
        assert found is not None
        assert (found.valid_until, found.pays_surcharge) == (date(2029, 7, 1), True)

    def test_takes_columns_in_any_order_and_more_of_them(self, parts: Parts) -> None:
        row = new_row()
        content = as_csv([*row[::-1], "x"], heading=[*CHINESE[::-1], "备注"])
        assert counts(load(parts, content)) == (1, 0, 0, 0)

    def test_can_do_without_the_surcharge_column(self, parts: Parts) -> None:
        content = as_csv(new_row()[:-1], heading=CHINESE[:-1])
        assert counts(load(parts, content)) == (1, 0, 0, 0)

    @pytest.mark.parametrize("heading", [CHINESE, CHINESE[:-1]])
    @pytest.mark.parametrize(("word", "flag"), [("校外", None), ("退休", None), ("学生", False)])
    def test_leaves_open_whether_a_temporary_holder_pays_where_it_does_not_say(
        self, parts: Parts, heading: Sequence[str], word: str, flag: bool | None
    ) -> None:
        row = new_row(category=word, pays_surcharge="")
        content = as_csv(row[: len(heading)], heading=heading)
        assert counts(load(parts, content)) == (1, 0, 0, 0)
        found = find(row[0])
        assert found is not None
        assert found.pays_surcharge is flag
        assert counts(load(parts, content)) == (0, 0, 1, 0)

    def test_where_it_does_not_say_what_was_decided_stays(self, parts: Parts) -> None:
        row = new_row(category="校外", pays_surcharge="是")
        load(parts, as_csv(row))
        assert counts(load(parts, as_csv([*row[:-1], ""]))) == (0, 0, 1, 0)
        found = find(row[0])
        assert found is not None
        assert found.pays_surcharge is True
        assert counts(load(parts, as_csv([*row[:-1], "否"]))) == (0, 1, 0, 0)

    def test_whoever_becomes_a_temporary_holder_is_undecided(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        row[2], row[-1] = "培训", ""
        assert counts(load(parts, as_csv(row))) == (0, 1, 0, 0)
        found = find(row[0])
        assert found is not None
        assert (found.category, found.pays_surcharge) == (Category.TEMPORARY_TRAINEE, None)

    @pytest.mark.parametrize(
        ("word", "category"), [*roster.CATEGORY_WORDS.items(), ("staff", Category.STAFF)]
    )
    def test_knows_the_words_for_categories(
        self, parts: Parts, word: str, category: Category
    ) -> None:
        row = new_row(category=word)
        load(parts, as_csv(row))
        found = find(row[0])
        assert found is not None
        assert found.category is category

    def test_skips_empty_lines_and_counts_as_the_file_does(self, parts: Parts) -> None:
        report = load(parts, as_csv(new_row(), [""] * 7, [], new_row(name="")))
        assert (report.rows, counts(report)) == (2, (1, 0, 0, 1))
        assert report.faults == [RowFault(5, "name", "missing")]

    def test_refuses_a_document_that_a_spreadsheet_rounded(self, parts: Parts) -> None:
        row: list[object] = list(new_row())
        for rounded in (110105194912310000, 1.1010519491231e17):
            row[4] = rounded
            report = load(parts, as_xlsx(row))
            assert report.faults == [RowFault(2, "document_number", "not a document number")]

    @pytest.mark.parametrize(
        "said",
        ["2028/2/29", "2028-2-29", "2028/02/29", "2028年2月29日", "20280229", "2028/2/29 0:00"],
    )
    def test_reads_days_as_spreadsheets_write_them(self, parts: Parts, said: str) -> None:
        row = new_row(valid_until=said)
        assert load(parts, as_csv(row)).faults == []
        [found] = find_all(row[0])
        assert found.valid_until == date(2028, 2, 29)

    def test_reads_a_number_as_its_cell_shows_it(self, parts: Parts) -> None:
        number = secrets.randbelow(10**9) + 10**9
        rows = [[value, *new_row()[1:]] for value in (number, number + 1)]
        book, file = Workbook(), io.BytesIO()
        for row in (CHINESE, *rows):
            book.active.append(list(row))
        book.active["A2"].number_format = "0" * 12
        book.active["A3"].number_format = "#,##0"
        book.save(file)
        report = load(parts, file.getvalue())
        assert report.faults == [
            RowFault(3, "holder_number", "a number that its format shows otherwise")
        ]
        assert find(f"00{number}") is not None
        assert find(str(number)) is None

    def test_takes_no_error_and_no_yes_of_a_spreadsheet_for_a_word(self, parts: Parts) -> None:
        class_, number = list[object](new_row()), list[object](new_row())
        class_[3], number[0] = "#N/A", True
        report = load(parts, as_xlsx(class_, number))
        assert report.faults == [
            RowFault(2, "unit", "an error of the spreadsheet"),
            RowFault(3, "holder_number", "a yes or no of the spreadsheet"),
        ]
        surcharge: list[object] = [*new_row(category="校外")[:-1], True]
        assert load(parts, as_xlsx(surcharge)).faults == []

    def test_says_which_other_sheets_hold_something(self, parts: Parts) -> None:
        book, file = Workbook(), io.BytesIO()
        for row in (CHINESE, new_row()):
            book.active.append(row)
        book.create_sheet("空白")
        book.create_sheet("二年级").append(new_row())
        book.save(file)
        batch_id = new_id()
        for _ in range(2):
            report = load(parts, file.getvalue(), batch_id=batch_id)
            assert (counts(report), report.unread_sheets) == ((1, 0, 0, 0), ["二年级"])
        assert load(parts, as_csv(new_row())).unread_sheets == []


class TestImport:
    def test_opens_purses_and_a_card_for_who_is_new(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        found = find(row[0])
        assert found is not None
        with transaction() as session:
            cards = session.scalars(select(Card).where(Card.holder_id == found.id)).all()
            purses = ledger.purses_of(session, holder_id=found.id)
        assert [(card.kind, card.state) for card in cards] == [("physical", "active")]
        assert len(purses) == 2

    def test_the_same_again_changes_nothing(self, parts: Parts) -> None:
        content = as_csv(*(new_row() for _ in range(20)))
        assert counts(load(parts, content)) == (20, 0, 0, 0)
        assert counts(load(parts, content)) == (0, 0, 20, 0)

    def test_the_same_as_xlsx_changes_nothing(self, parts: Parts) -> None:
        rows = [new_row() for _ in range(3)]
        load(parts, as_csv(*rows))
        assert counts(load(parts, as_xlsx(*rows))) == (0, 0, 3, 0)

    def test_changes_what_differs(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        row[3] = "软件2402班"
        assert counts(load(parts, as_csv(row))) == (0, 1, 0, 0)
        found = find(row[0])
        assert found is not None
        assert found.unit == "软件2402班"

    def test_a_later_last_day_wakes_the_cards_of_who_had_expired(self, parts: Parts) -> None:
        away, back, lost = (new_row(valid_until="2020-07-01") for _ in range(3))
        load(parts, as_csv(away, back, lost))
        with transaction() as session:
            for row, before in ((away, "active"), (back, "active"), (lost, "lost")):
                card = card_of(session, row)
                card.state = CardState(before)
                session.flush()
                change_state(
                    session, card=card, event=CardEvent.EXPIRE, actor=SYSTEM, now=clock.now()
                )
        away[5], back[5], lost[5] = "2020-12-31", "2099-07-01", "2099-07-01"
        batch_id = new_id()
        load(parts, as_csv(away, back, lost), dry_run=True)
        load(parts, as_csv(away, back, lost), batch_id=batch_id)
        with transaction() as session:
            cards = [card_of(session, row) for row in (away, back, lost)]
            assert [card.state for card in cards] == ["expired", "active", "lost"]
            [woken] = session.scalars(
                select(LogEntry).where(
                    LogEntry.card_id == cards[1].id, LogEntry.action == "card.extend"
                )
            )
            told = session.scalars(
                select(HolderNotice.kind).where(HolderNotice.holder_id == cards[1].holder_id)
            ).all()
        assert (woken.before, woken.after) == ("expired", "active")
        assert woken.facts["roster_batch"] == str(batch_id)
        assert "card-extended" in told

    def test_each_change_is_in_the_log_and_names_nobody(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        row[1], row[3], row[5] = "王改名", "软件2402班", "2030-07-01"
        load(parts, as_csv(row), dry_run=True)
        load(parts, as_csv(row))
        found = find(row[0])
        assert found is not None
        query = select(LogEntry).where(
            LogEntry.holder_id == found.id, LogEntry.action == "roster.change"
        )
        with transaction() as session:
            entry = session.scalars(query).one()
        assert entry.before == {"unit": "软件2401班", "valid_until": "2029-07-01"}
        assert entry.after == {"unit": "软件2402班", "valid_until": "2030-07-01"}
        assert entry.facts["fields"] == ["name", "unit", "valid_until"]

    def test_without_the_surcharge_column_the_flag_stays(self, parts: Parts) -> None:
        row = new_row(category="校外", pays_surcharge="是")
        load(parts, as_csv(row))
        assert counts(load(parts, as_csv(row[:-1], heading=CHINESE[:-1]))) == (0, 0, 1, 0)
        found = find(row[0])
        assert found is not None
        assert found.pays_surcharge

    def test_a_dry_run_reports_the_same_and_writes_nothing(self, parts: Parts) -> None:
        old, new, broken = new_row(), new_row(), new_row(category="老师")
        load(parts, as_csv(old))
        old[1] = "王大明"
        content = as_csv(old, new, broken)
        with transaction() as session:
            before = session.scalar(select(func.count()).select_from(LogEntry))
        said = load(parts, content, dry_run=True)
        with transaction() as session:
            assert session.scalar(select(func.count()).select_from(LogEntry)) == before
        assert find(new[0]) is None
        unchanged = find(old[0])
        assert unchanged is not None
        assert unchanged.name == "王小明"
        assert said == load(parts, content)
        assert counts(said) == (1, 1, 0, 1)

    def test_leaves_out_the_one_in_a_hundred_that_is_broken(self, parts: Parts) -> None:
        rows = [new_row() for _ in range(2000)]
        for row in rows[::100]:
            row[4] = row[4][:17] + ("1" if row[4][17] == "0" else "0")
        report = load(parts, as_csv(*rows))
        assert counts(report) == (1980, 0, 0, 20)
        assert [fault.row for fault in report.faults] == list(range(2, 2002, 100))
        assert {(fault.column, fault.fault) for fault in report.faults} == {
            ("document_number", "the check digit is wrong")
        }


def find_all(*numbers: str) -> list[Holder]:
    """Return holders by number, in that order."""
    found = [find(number) for number in numbers]
    return [holder for holder in found if holder is not None]


FURTHER = (*CHINESE, *roster.FURTHER_COLUMNS.values())


class TestFurtherColumns:
    def test_tell_employment_identity_and_days(self, parts: Parts) -> None:
        staff = [*new_row(category="教工"), "派遣制", "实名", "身份证", "2019-09-01", ""]
        student = [*new_row(valid_until=""), "", "", "", "2026-09-01", "2030-07-01"]
        assert load(parts, as_csv(staff, student, heading=FURTHER)).faults == []
        one, other = find_all(staff[0], student[0])
        assert (one.employment, one.document_kind) == (
            Employment.DISPATCHED, DocumentKind.RESIDENT_ID,
        )  # fmt: skip
        assert one.entered_on == date(2019, 9, 1)
        assert (other.programme_ends_on, other.valid_until) == (date(2030, 7, 1), date(2030, 7, 1))

    def test_what_a_feed_is_silent_about_stays(self, parts: Parts) -> None:
        row = new_row(category="教工")
        load(parts, as_csv([*row, "院编", "", "", "2019-09-01", ""], heading=FURTHER))
        assert counts(load(parts, as_csv(row))) == (0, 0, 1, 0)
        [found] = find_all(row[0])
        assert (found.employment, found.entered_on) == (Employment.COLLEGE, date(2019, 9, 1))

    def test_a_registered_person_has_no_document_and_matches_none(self, parts: Parts) -> None:
        row = [*new_row(category="校外", document_number=""), "", "记名", "", "", ""]
        assert counts(load(parts, as_csv(row, heading=FURTHER))) == (1, 0, 0, 0)
        [found] = find_all(row[0])
        assert (found.identity, found.document_index) == (Identity.REGISTERED, None)
        for document in (make_document(), "", "000000"):
            with transaction() as session, pytest.raises(IdentityNotMatched):
                identity.match_document(
                    session, holder_number=row[0], document_number=document, sealer=parts.sealer
                )
        with transaction() as session, pytest.raises(IdentityNotMatched):
            identity.check_document_tail(
                session, holder_id=found.id, last_six="000000", sealer=parts.sealer
            )
        now_real = [*row[:4], make_document(), *row[5:8], "实名", "", "", ""]
        assert counts(load(parts, as_csv(now_real, heading=FURTHER))) == (0, 1, 0, 0)

    @pytest.mark.parametrize(
        ("changed", "further", "column", "fault"),
        [
            ({}, ["院编", "", "", "", ""], "employment", "is for staff only"),
            ({}, ["", "匿名", "", "", ""], "identity", "unknown"),
            ({}, ["", "记名", "", "", ""], "document_number",
             "is for people with a real name only"),
            ({}, ["", "", "驾照", "", ""], "document_kind", "unknown"),
            ({}, ["", "", "", "去年", ""], "entered_on", "not a day such as 2029-07-01"),
            ({"valid_until": ""}, [""] * 5, "valid_until", "missing"),
            ({"category": "教工", "valid_until": "", "document_number": "E12345678"}, [""] * 5,
             "valid_until", "missing"),
        ],
    )  # fmt: skip
    def test_are_read_as_strictly(
        self, parts: Parts, changed: dict[str, str], further: Row, column: str, fault: str
    ) -> None:
        report = load(parts, as_csv([*new_row(**changed), *further], heading=FURTHER))
        assert report.faults == [RowFault(2, column, fault)]

    def test_a_passport_is_known_by_kind_and_number(self, parts: Parts) -> None:
        number = "E" + secrets.token_hex(4).upper()
        bare, kinded = new_row(document_number=number), new_row(document_number=number)
        load(parts, as_csv(bare))
        said = load(parts, as_csv([*kinded, "", "", "护照", "", ""], heading=FURTHER))
        assert said.faults == [RowFault(2, "document_number", "belongs to another holder number")]
        told = [*bare, "", "", "护照", "", ""]
        assert counts(load(parts, as_csv(told, heading=FURTHER))) == (0, 1, 0, 0)
        assert counts(load(parts, as_csv(bare))) == (0, 0, 1, 0)
        with transaction() as session:
            matched = identity.match_document(
                session, holder_number=bare[0], document_number=number, sealer=parts.sealer
            )
        assert matched.document_kind is DocumentKind.PASSPORT

    def test_staff_are_valid_until_they_retire(self, parts: Parts) -> None:
        rows = []
        for sex in (1, 2):
            body = f"{secrets.randbelow(900_000) + 100_000}19900531{secrets.randbelow(99):02d}{sex}"
            total = sum(int(d) * w for d, w in zip(body, WEIGHTS, strict=True))
            document = body + "10X98765432"[total % 11]
            rows.append(new_row(category="教工", valid_until="", document_number=document))
        load(parts, as_csv(*rows))
        man, woman = find_all(*(row[0] for row in rows))
        assert (man.valid_until, woman.valid_until) == (date(2053, 5, 31), date(2048, 5, 31))


class TestSources:
    @pytest.mark.parametrize(
        ("source", "category"),
        [(RosterSource.ACADEMIC, "教工"), (RosterSource.ACADEMIC, "校外"),
         (RosterSource.PERSONNEL, "学生"), (RosterSource.PERSONNEL, "退休")],
    )  # fmt: skip
    def test_have_their_own_people_only(
        self, parts: Parts, source: RosterSource, category: str
    ) -> None:
        report = load(parts, as_csv(new_row(category=category)), source=source)
        assert report.faults == [RowFault(2, "category", "is not for this source")]

    def test_cannot_take_somebody_elses_people(self, parts: Parts) -> None:
        row = new_row(category="教工")
        load(parts, as_csv(row), source=RosterSource.PERSONNEL)
        row[2] = "学生"
        report = load(parts, as_csv(row), source=RosterSource.ACADEMIC)
        assert report.faults == [RowFault(2, "category", "is another kind of holder by now")]

    def test_a_whole_list_names_who_is_missing_and_leaves_them(self, parts: Parts) -> None:
        kept, gone = new_row(), new_row()
        outsider, over = new_row(category="校外"), new_row(valid_until="2020-01-01")
        load(parts, as_csv(kept, gone, outsider, over))
        report = load(parts, as_csv(kept), source=RosterSource.ACADEMIC, whole=True)
        assert gone[0] in report.absent
        assert not {kept[0], outsider[0], over[0]} & set(report.absent)
        [still] = find_all(gone[0])
        assert still.valid_until == date(2029, 7, 1)
        assert load(parts, as_csv(kept), source=RosterSource.ACADEMIC).absent == []

    def test_a_whole_list_misses_nobody_whose_row_is_at_fault(self, parts: Parts) -> None:
        faulty, twice, moved = new_row(), new_row(), new_row()
        load(parts, as_csv(faulty, twice, moved))
        number = secrets.token_hex(5)
        with transaction() as session:
            session.execute(
                update(Holder)
                .where(Holder.holder_number == moved[0])
                .values(holder_number=number, document_tail_number=moved[0])
            )
        faulty[5], twice[2] = "很久", "教工"
        content = as_csv(faulty, twice, moved)
        report = load(parts, content, source=RosterSource.ACADEMIC, whole=True, dry_run=True)
        assert [fault.row for fault in report.faults] == [2, 3, 4]
        assert not {faulty[0], twice[0], number} & set(report.absent)


class TestRemarks:
    def test_name_who_is_here_by_the_feed_and_has_no_account(self, parts: Parts) -> None:
        rows = [new_row(valid_until=day) for day in ("2099-07-01",) * 3 + ("2020-07-01",)]
        load(parts, as_csv(*rows))
        gone, going, open_, over = (found for row in rows if (found := find(row[0])))
        with transaction() as session:
            for holder, state in ((gone, "closed"), (over, "closed"), (going, "closing")):
                session.execute(
                    update(Card).where(Card.holder_id == holder.id).values(state=CardState(state))
                )
        rows[0][3] = "软件2402班"
        said = load(parts, as_csv(*rows), dry_run=True)
        assert counts(said) == (0, 1, 3, 0)
        assert said.remarks == [
            RowRemark(2, gone.holder_number, Remark.ACCOUNT_CLOSED),
            RowRemark(3, going.holder_number, Remark.ACCOUNT_CLOSING),
        ]
        assert open_.holder_number not in str(said.remarks)
        batch_id = new_id()
        assert load(parts, as_csv(*rows), batch_id=batch_id) == said
        assert load(parts, as_csv(*rows), batch_id=batch_id) == said
        again = load(parts, as_csv(*rows))
        assert (counts(again), again.remarks) == ((0, 0, 4, 0), said.remarks)


class TestBatches:
    def test_a_retry_gets_the_report_again(self, parts: Parts) -> None:
        batch_id, broken = new_id(), new_row(name="")
        content = as_csv(new_row(), broken)
        first = load(parts, content, batch_id=batch_id)
        assert counts(first) == (1, 0, 0, 1)
        assert load(parts, content, batch_id=batch_id) == first

    def test_another_file_under_the_same_id_is_refused(self, parts: Parts) -> None:
        batch_id, row = new_id(), new_row()
        load(parts, as_csv(new_row()), batch_id=batch_id)
        with pytest.raises(IdReused):
            load(parts, as_csv(row), batch_id=batch_id)
        assert find(row[0]) is None

    def test_what_is_kept_of_a_file_tells_nothing(self, parts: Parts) -> None:
        batch_id, row = new_id(), new_row()
        load(parts, as_csv(row), batch_id=batch_id)
        with transaction() as session:
            batch = session.get_one(RosterBatch, batch_id)
        assert row[4] not in repr((batch.content_index, batch.report))

    def test_two_at_once_make_one_person_one_card(self, parts: Parts) -> None:
        rows = [new_row() for _ in range(30)]
        twins = [new_row(document_number=row[4]) for row in rows]
        with ThreadPoolExecutor(4) as pool:
            waiting = [
                pool.submit(load, parts, as_csv(*some)) for some in (rows, twins, rows, twins)
            ]
            said = [one.result() for one in waiting]
        assert sum(report.added for report in said) == len(rows)
        indexes = [parts.sealer.index("document", row[4]) for row in rows]
        with transaction() as session:
            live = session.scalars(
                select(func.count(Card.id))
                .join(Holder, Card.holder_id == Holder.id)
                .where(Holder.document_index.in_(indexes))
                .group_by(Holder.id)
            ).all()
        assert live == [1] * len(rows)


class TestProven:
    def test_is_not_overwritten_and_told_until_staff_have_settled_it(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        with transaction() as session:
            [holder] = session.scalars(select(Holder).where(Holder.holder_number == row[0]))
            holder.name, holder.proven = "王大明", ["name"]
        row[3] = "软件2402班"
        report = load(parts, as_csv(row))
        told = [RowFault(2, "name", "differs from the proven value")]
        assert (counts(report), report.conflicts) == ((0, 1, 0, 0), told)
        [now] = find_all(row[0])
        assert (now.name, now.unit) == ("王大明", "软件2402班")
        again = load(parts, as_csv(row))
        assert (counts(again), again.conflicts) == ((0, 0, 1, 0), told)
        with transaction() as session:
            [conflict] = session.scalars(
                select(RosterConflict).where(RosterConflict.holder_id == now.id)
            )
            assert (conflict.field, conflict.value) == ("name", "王小明")
            conflict.settled_at, conflict.settled_by, conflict.accepted = clock.now(), "x", False
        assert load(parts, as_csv(row)).conflicts == []
        row[1] = "王中明"
        assert load(parts, as_csv(row)).conflicts == told
        row[1] = "王少明"
        assert load(parts, as_csv(row)).conflicts == told
        with transaction() as session:
            said = select(RosterConflict.value, RosterConflict.settled_at.is_(None)).where(
                RosterConflict.holder_id == now.id
            )
            assert set(session.execute(said)) == {("王小明", False), ("王少明", True)}

    def test_a_document_differs_and_the_rest_is_still_read(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        with transaction() as session:
            [holder] = session.scalars(select(Holder).where(Holder.holder_number == row[0]))
            holder.document_index, holder.proven = secrets.token_bytes(32), ["document"]
            kept = holder.document_index
        row[1] = "王大明"
        report = load(parts, as_csv(row))
        assert [fault.column for fault in report.conflicts] == ["document_number"]
        [now] = find_all(row[0])
        assert (now.name, now.document_index) == ("王大明", kept)


class TestCommand:
    """`make roster` runs it with 20,000 rows; here it is 2,000."""

    ROWS = int(os.environ.get("ROSTER_ROWS", "2000"))

    @pytest.fixture(autouse=True)
    def as_here(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the command work on this test's database."""
        monkeypatch.setattr(cli, "_settings", lambda: parts.settings)
        monkeypatch.setattr(wiring, "wire", lambda _: parts)
        monkeypatch.setattr(db, "connect", lambda _: None)

    def test_imports_all_but_the_broken_rows_and_again_changes_nothing(
        self, tmp_path: Path
    ) -> None:
        rows = [new_row() for _ in range(self.ROWS)]
        breaks = {0: "x y", 2: "老师", 4: "110105194912310021", 5: "2029-02-30"}
        columns = list(roster.COLUMNS)
        expected = []
        for place, at in enumerate(range(0, self.ROWS, 100)):
            column = list(breaks)[place % len(breaks)]
            rows[at][column] = breaks[column]
            expected.append((str(at + 2), columns[column]))
        feed, out = tmp_path / "feed.csv", tmp_path / "report.csv"
        feed.write_bytes(as_csv(*rows))
        good = self.ROWS - len(expected)
        for added, unchanged in ((good, 0), (0, good)):
            began = time.monotonic()
            ran = CliRunner().invoke(cli.main, ["import-roster", str(feed), "--report", str(out)])
            print(f"{time.monotonic() - began:.1f} s: {ran.output.strip()}")  # noqa: T201 - make roster
            assert ran.exit_code == cli.ROWS_LEFT_OUT, ran.output
            assert f"{added} added, 0 changed, {unchanged} unchanged" in ran.output
            with out.open(encoding="utf-8") as file:
                said = list(csv.DictReader(file))
            assert [(line["row"], line["column"]) for line in said] == expected
            assert not any(value in out.read_text() for value in breaks.values())

    def test_leaves_nothing_out_of_a_good_file(self, tmp_path: Path) -> None:
        row = new_row()
        feed = tmp_path / "feed.csv"
        feed.write_bytes(as_csv(row))
        ran = CliRunner().invoke(cli.main, ["import-roster", str(feed), "--dry-run"])
        assert ran.exit_code == 0
        assert find(row[0]) is None
        feed.write_bytes(b"hello")
        broken = CliRunner().invoke(cli.main, ["import-roster", str(feed)])
        assert broken.exit_code == 1
        assert "missing columns" in broken.output


class TestFaults:
    @pytest.mark.parametrize(
        ("column", "value", "fault"),
        [
            ("holder_number", "", "missing"),
            ("holder_number", "2024 001", "not letters and digits"),
            ("holder_number", "２０２４", "not letters and digits"),
            ("holder_number", "'; DROP TABLE holders; --", "not letters and digits"),
            ("name", "", "missing"),
            ("name", "x" * 101, "longer than 100 characters"),
            ("name", "王\x07明", "not plain text: no control or direction characters"),
            ("name", "王\u202e明", "not plain text: no control or direction characters"),
            ("category", "老师", "unknown"),
            ("unit", "", "missing"),
            ("document_number", "", "missing"),
            ("document_number", "1.10105E+17", "not a document number"),
            ("document_number", "110105194912310021", "the check digit is wrong"),
            ("document_number", "፩" * 18, "not a document number"),
            ("valid_until", "2029-02-30", "not a day such as 2029-07-01"),
            ("valid_until", "1/7/2029", "not a day such as 2029-07-01"),
            ("valid_until", "29-7-1", "not a day such as 2029-07-01"),
            ("valid_until", "2029-7/1", "not a day such as 2029-07-01"),
            ("valid_until", "2029/7/1 12:30", "not a day such as 2029-07-01"),
            ("unit", "#N/A", "an error of the spreadsheet"),
            ("holder_number", "TRUE", "a yes or no of the spreadsheet"),
            ("valid_until", "45000", "not a day such as 2029-07-01"),
            ("valid_until", "9999-12-31", "not a day such as 2029-07-01"),
            ("valid_until", "0029-07-01", "not a day such as 2029-07-01"),
            ("valid_until", "0000-01-01", "not a day such as 2029-07-01"),
            ("pays_surcharge", "也许", "neither yes nor no"),
        ],
    )
    def test_name_the_column_and_never_the_value(
        self, parts: Parts, column: str, value: str, fault: str
    ) -> None:
        row, good = new_row(**{column: value}), new_row()
        report = load(parts, as_csv(row, good))
        assert counts(report) == (1, 0, 0, 1)
        assert report.faults == [RowFault(2, column, fault)]
        if len(value) > 3:
            assert value not in repr(report)

    def test_a_birth_to_come_is_nobodys(self, parts: Parts) -> None:
        number = born_tomorrow()
        report = load(parts, as_csv(new_row(document_number=number)))
        told = [RowFault(2, "document_number", "a day of birth in the future")]
        assert (report.added, report.faults) == (0, told)
        assert number not in repr(report)

    @pytest.mark.parametrize("name", ["王𱍐", "王𮯱", "王\ue82d", "买买提·艾力", "王　明"])
    def test_is_no_name_that_people_have(self, parts: Parts, name: str) -> None:
        assert load(parts, as_csv(new_row(name=name))).faults == []

    def test_the_same_number_twice_in_a_file(self, parts: Parts) -> None:
        row = new_row()
        again = new_row(holder_number=row[0])
        report = load(parts, as_csv(row, again))
        assert report.faults == [RowFault(3, "holder_number", "appears twice in this file")]

    def test_the_same_document_twice_in_a_file(self, parts: Parts) -> None:
        row = new_row()
        again = new_row(document_number=row[4].lower())
        report = load(parts, as_csv(row, again))
        fault = RowFault(3, "document_number", "belongs to another holder number")
        assert report.faults == [fault]

    def test_a_document_that_is_somebody_elses(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        report = load(parts, as_csv(new_row(document_number=row[4])))
        fault = RowFault(2, "document_number", "belongs to another holder number")
        assert report.faults == [fault]

    def test_a_number_that_is_somebody_elses(self, parts: Parts) -> None:
        row = new_row()
        load(parts, as_csv(row))
        report = load(parts, as_csv(new_row(holder_number=row[0])))
        assert report.faults == [RowFault(2, "document_number", "differs from the one on record")]

    def test_a_row_that_is_too_short(self, parts: Parts) -> None:
        report = load(parts, as_csv(new_row()[:3]))
        assert report.faults == [RowFault(2, "unit", "missing")]


class TestUnreadable:
    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", "the file is empty"),
            (b"\xef\xbb\xbf", "the file is empty"),
            (b"\xff\xfe\xff\xff", "neither UTF-8 nor GB 18030"),
            (b"PK\x03\x04", "not XLSX"),
            (b"PK" + bytes(1000), "not XLSX"),
            (b"hello", f"missing columns: {', '.join(ENGLISH[:-1])}"),
            (as_csv(heading=CHINESE[1:]), "missing columns: holder_number"),
            (as_csv(heading=CHINESE) + b'"never closed', "not CSV"),
            (as_csv(["x" * 200_000]), "not CSV"),
            (as_csv(heading=[*CHINESE, "姓名"]), "columns given twice: name"),
            (as_csv(heading=[*CHINESE, "name", "Unit"]), "columns given twice: name, unit"),
        ],
    )  # fmt: skip
    def test_says_why(self, parts: Parts, content: bytes, fault: str) -> None:
        with pytest.raises(RosterUnreadable) as refused:
            load(parts, content)
        assert refused.value.facts == {"fault": fault}

    def test_a_heading_alone_is_a_roster_of_nobody(self, parts: Parts) -> None:
        for content in (as_csv(), as_xlsx()):
            report = load(parts, content)
            assert (report.rows, counts(report)) == (0, (0, 0, 0, 0))

    def test_an_xlsx_file_that_unpacks_to_too_much(self, parts: Parts) -> None:
        content = unpacked_size(roster.MOST_UNPACKED_BYTES)
        assert len(content) < 200_000
        with pytest.raises(RosterUnreadable) as refused:
            load(parts, content)
        assert refused.value.facts == {"fault": "too large unpacked"}

    def test_a_cell_in_the_last_corner_costs_nothing(self, parts: Parts) -> None:
        book, file = Workbook(), io.BytesIO()
        for row in (CHINESE, new_row()):
            book.active.append(list(row))
        book.active["XFD90000"] = "x"
        book.save(file)
        book.close()
        assert counts(load(parts, file.getvalue())) == (1, 0, 0, 0)

    def test_more_rows_than_a_school_has(self, parts: Parts) -> None:
        with pytest.raises(RosterUnreadable) as refused:
            load(parts, as_csv() + b"\n" * roster.MOST_ROWS)
        assert refused.value.facts == {"fault": "more than 100000 rows"}

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.binary(max_size=300))
    def test_garbage_is_refused_and_nothing_worse(self, parts: Parts, content: bytes) -> None:
        for start in (b"", b"PK"):
            with pytest.raises(RosterUnreadable):
                load(parts, start + content, dry_run=True)

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), min_size=1))
    def test_a_damaged_file_is_refused_or_read(
        self, parts: Parts, damage: list[tuple[int, bytes]]
    ) -> None:
        content = bytearray(GOOD_XLSX)
        for place, change in damage:
            at = place % len(content)
            content[at : at + len(change)] = change
        with suppress(RosterUnreadable):
            load(parts, bytes(content), dry_run=True)

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.sampled_from(["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml",
                            "xl/styles.xml", "xl/_rels/workbook.xml.rels"]),
           st.integers(0), st.binary(max_size=20))  # fmt: skip
    def test_a_damaged_part_is_refused_or_read(
        self, parts: Parts, damaged: str, place: int, change: bytes
    ) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(GOOD_XLSX)) as old, zipfile.ZipFile(file, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == damaged:
                    at = place % len(content)
                    content = content[:at] + change + content[at + len(change) + 1 :]
                new.writestr(name, content)
        with suppress(RosterUnreadable):
            load(parts, file.getvalue(), dry_run=True)


GOOD_XLSX = as_xlsx(new_row(), new_row())
