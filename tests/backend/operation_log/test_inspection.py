"""Searching, verifying and exporting the operation log, over HTTP and from the command line."""

import csv
import io
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chains import NOW, Log
from factories import keys_of, make_holder, sign_in
from flask import Flask
from sqlalchemy import select

from backend import clock
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id, new_reference
from backend.inspections import export, service
from backend.operation_log import seals
from backend.operation_log.models import LogChannel, LogEntry
from backend.operation_log.service import SYSTEM, Actor, record
from backend.operators.models import Role
from backend.settings import Settings

PATH = "/api/v1/staff/operation-log"
CAMPUS_CARD = Path(sys.executable).with_name("campus-card")


def entries(**wanted: object) -> list[LogEntry]:
    """Return the entries with these values."""
    query = select(LogEntry)
    for name, value in wanted.items():
        query = query.where(getattr(LogEntry, name) == value)
    with transaction() as session:
        return list(session.scalars(query))


def rows_of(text: str) -> list[list[str]]:
    """Return the lines of an exported file; the byte order mark has to be there."""
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:])))


class TestSearch:
    def ask(self, app: Flask, parts: Parts, role: Role = Role.AUDITOR, **said: object) -> Any:
        """Search as a member of staff."""
        headers = sign_in(parts, role)
        return app.test_client().post(f"{PATH}/searches", json=said, headers=headers)

    def test_finds_a_refusal_by_the_reference_that_was_shown(
        self, app: Flask, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        client, id_ = app.test_client(), new_id()
        refused = client.delete(f"/api/v1/me/delegations/{id_}", headers=holder.headers)
        reference = refused.get_json(force=True)["reference"]
        [item] = self.ask(app, parts, reference=reference).get_json()["items"]
        assert (item["holder_number"], item["outcome"]) == (holder.number, "not-found")
        assert (item["subject_id"], item["operator"]) == (str(id_), None)

    def test_narrows_down_by_everything(self, app: Flask, parts: Parts) -> None:
        holder = make_holder(parts)
        for outcome in ("done", "not-found"):
            with transaction() as session:
                record(
                    session, actor=SYSTEM, action="card.extend", now=clock.now(), outcome=outcome,
                    holder_id=holder.id,
                )  # fmt: skip
        own = {"holder_number": holder.number, "action": "card.extend"}
        found = {
            outcome: [item["outcome"] for item in
                      self.ask(app, parts, outcome=outcome, **own).get_json()["items"]]
            for outcome in ("all", "done", "refused")
        }  # fmt: skip
        assert found == {
            "all": ["not-found", "done"], "done": ["done"], "refused": ["not-found"],
        }  # fmt: skip
        later = (clock.now() + timedelta(hours=1)).isoformat()
        for nothing in ({"from_at": later}, {"until_at": "2020-01-01T00:00:00Z"},
                        {"holder_number": "nobody"}, {"operator": "nobody"}):  # fmt: skip
            assert self.ask(app, parts, **own | nothing).get_json()["items"] == []

    def test_leads_from_page_to_page(self, app: Flask, parts: Parts) -> None:
        holder, seen, cursor = make_holder(parts), [], {}
        while cursor is not None:
            page = self.ask(
                app, parts, holder_number=holder.number, limit=1, **cursor
            ).get_json()  # fmt: skip
            seen += [item["id"] for item in page["items"]]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
        assert len(seen) == len(set(seen)) == len(entries(holder_id=holder.id)) > 1

    @pytest.mark.parametrize("role", [role for role in Role if role not in service.MAY_LOOK])
    @pytest.mark.parametrize("path", ["searches", "verifications", "exports"])
    def test_is_for_the_card_centre_and_the_auditor(
        self, app: Flask, parts: Parts, role: Role, path: str
    ) -> None:
        said = {"from_at": "2026-01-01T00:00:00Z", "until_at": "2026-01-02T00:00:00Z"}
        answer = app.test_client().post(
            f"{PATH}/{path}",
            json=said if path == "exports" else {},
            headers=sign_in(parts, role),
        )
        assert answer.status_code == 403


class TestVerification:
    def test_is_told_and_needs_head_and_number_together(self, app: Flask, parts: Parts) -> None:
        headers, client = sign_in(parts, Role.AUDITOR), app.test_client()
        with transaction() as session:
            seals.seal(session, now=clock.now())
        head = client.get(f"{PATH}/seals", headers=headers).get_json()["head"]
        told = client.post(f"{PATH}/verifications", json={}, headers=headers).get_json()
        assert told["head"]["number"] >= head["number"] > 0
        other = {"number": head["number"], "head": "0" * 64}
        told = client.post(f"{PATH}/verifications", json=other, headers=headers).get_json()
        assert not told["holds"]
        assert told["difference"]["fault"] in ("head-differs", "entry-backdated")
        for half in ({"number": 1}, {"head": "0" * 64}):
            answer = client.post(f"{PATH}/verifications", json=half, headers=headers)
            assert answer.status_code == 422


class TestExport:
    def take(self, app: Flask, parts: Parts, **said: object) -> Any:
        """Take the last hour, or what is said."""
        now = clock.now()
        period = {
            "from_at": (now - timedelta(hours=1)).isoformat(),
            "until_at": (now + timedelta(hours=1)).isoformat(),
        }
        return app.test_client().post(
            f"{PATH}/exports", json=period | said, headers=sign_in(parts, Role.AUDITOR)
        )

    def test_is_a_table_with_a_watermark_and_a_row_of_its_own(
        self, app: Flask, parts: Parts
    ) -> None:
        holder = make_holder(parts)
        answer = self.take(app, parts, holder_number=holder.number)
        [watermark], headings, *rows, [end] = rows_of(answer.get_data(as_text=True))
        assert answer.mimetype == "text/csv"
        assert tuple(headings) == export.HEADINGS
        assert {row[5] for row in rows} == {holder.number}
        assert len(rows) == len(entries(holder_id=holder.id)) - 1  # the export itself is in the log
        reference = re.search("导出编号 ([2-9A-Z]{8}) · 链头 [0-9]+ [0-9a-f]{64}", watermark)
        assert reference is not None
        assert end == f"共 {len(rows)} 行 · 导出编号 {reference[1]}"
        [entry] = entries(reference=reference[1])
        assert (entry.action, entry.outcome) == ("log.export", "done")
        with transaction() as session:
            assert keys_of(session, entry.policy_ids or []) == {"operator.daily_exports"}
        assert entry.facts["rows"] == len(rows)
        assert entry.actor.startswith("operator:")
        assert holder.number not in repr(entry.facts)

    def test_holds_every_channel_and_whatever_the_role_that_serves_can_forge(
        self, app: Flask, parts: Parts
    ) -> None:
        reference = new_reference()
        for channel in LogChannel:
            with transaction() as session:
                record(
                    session, actor=Actor(channel, "operator:x"), action="x", now=clock.now(),
                    outcome="access-outside-hours", reference=reference, before=[], after="x",
                    documents=["x"], opens_at="x", amount_fen=[], balance_fen=2**70,
                )  # fmt: skip
        answer = self.take(app, parts, reference=reference)
        rows = rows_of(answer.get_data(as_text=True))[2:-1]
        assert len({row[3] for row in rows}) == len(LogChannel)
        found = app.test_client().post(
            f"{PATH}/searches", json={"reference": reference}, headers=sign_in(parts, Role.AUDITOR)
        )
        assert len(found.get_json()["items"]) == len(LogChannel)

    def test_without_its_row_in_the_log_nothing_is_handed_out(
        self, app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object, **__: object) -> None:
            raise RuntimeError

        headers = sign_in(parts, Role.AUDITOR)
        monkeypatch.setattr(service.operation_log, "record", fails)
        said = {"from_at": "2026-01-01T00:00:00Z", "until_at": "2046-01-01T00:00:00Z"}
        answer = app.test_client().post(f"{PATH}/exports", json=said, headers=headers)
        assert answer.status_code == 500
        assert export.HEADINGS[0] not in answer.get_data(as_text=True)

    def test_that_is_too_large_is_refused_and_on_record(
        self, app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_holder(parts)
        monkeypatch.setattr(service, "MOST_EXPORTED", 1)
        said = self.take(app, parts).get_json(force=True)
        assert (said["code"], said["most"]) == ("export-too-large", 1)
        [entry] = entries(reference=said["reference"])
        assert (entry.action, entry.outcome) == ("log.export", "export-too-large")

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "＝", " ="])
    def test_holds_no_formula(self, app: Flask, parts: Parts, start: str) -> None:
        reference = new_reference()
        with transaction() as session:
            record(
                session, actor=SYSTEM, action="card.extend", now=clock.now(), reference=reference,
                receipt_number=f'{start}HYPERLINK("x")',
            )  # fmt: skip
        text = self.take(app, parts, reference=reference).get_data(as_text=True)
        row = rows_of(text)[2]
        assert row[11] == f'\'{start}HYPERLINK("x")'

    def test_goes_on_over_many_pages(
        self, app: Flask, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        holder, now = make_holder(parts), clock.now()
        for _ in range(7):
            with transaction() as session:
                record(session, actor=SYSTEM, action="card.extend", now=now, holder_id=holder.id)
        monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
        said = {"holder_number": holder.number, "action": "card.extend"}
        rows = rows_of(self.take(app, parts, **said).get_data(as_text=True))
        assert len(rows) == 2 + 7 + 1


class TestMetrics:
    def test_tell_what_is_not_sealed(self, app: Flask) -> None:
        with transaction() as session:
            record(session, actor=SYSTEM, action="card.extend", now=clock.now())
        text = app.test_client().get("/metrics").get_data(as_text=True)
        figures = dict(re.findall(r"^campus_card_log_(\w+) (\d+)$", text, re.MULTILINE))
        assert set(figures) == {"seals", "unsealed_entries", "unsealed_seconds"}
        assert int(figures["unsealed_entries"]) >= 1


class TestCommands:
    @pytest.fixture
    def run(self, settings: Settings, log: Log, tmp_path: Path) -> Any:
        """Run a command of `campus-card` on a log of its own."""
        environment = os.environ | {
            "CAMPUS_CARD_DATABASE_URL": log.app_url,
            "CAMPUS_CARD_OWNER_DATABASE_URL": log.owner_url,
            "CAMPUS_CARD_REDIS_URL": settings.redis_url,
            "CAMPUS_CARD_ROOT_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "CAMPUS_CARD_CODE_KEYS": str(settings.code_keys),
            "CAMPUS_CARD_ISSUER": settings.issuer,
            "CAMPUS_CARD_BASE_URL": "https://card.example",
            "CAMPUS_CARD_PAYMENTS": str(settings.payments),
            "CAMPUS_CARD_LOG_HEADS": str(tmp_path / "heads"),
        }

        def run(*arguments: str) -> tuple[int, str]:
            done = subprocess.run(
                [CAMPUS_CARD, *arguments], env=environment, cwd=tmp_path, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        return run

    def test_tell_the_head_and_verify_it(self, run: Any, log: Log) -> None:
        log.write("a", "b")
        log.seal()
        head = log.head()
        status, said = run("log-head")
        assert status == 0
        assert (
            f"number    1\nhead      {head.head.hex()}\nsealed    2026-09-01T04:00:00.000Z" in said
        )
        kept = ("--number", "1", "--head", head.head.hex())
        assert run("verify-log", *kept)[0] == 0
        entry = log.entry("b")
        log.tamper("UPDATE operation_log SET actor = 'x' WHERE action = 'b'")
        status, said = run("verify-log")
        assert status == 1
        assert f"THE LOG DOES NOT HOLD: entry-changed, seal 1, entry {entry}" in said

    def test_find_a_tail_that_was_cut_off(self, run: Any, log: Log, tmp_path: Path) -> None:
        from backend.operation_log import heads

        log.write("a")
        log.seal()
        head = log.head()
        log.tamper("DELETE FROM operation_log", "DELETE FROM operation_log_seals")
        status, said = run("verify-log", "--number", "1", "--head", head.head.hex())
        assert (status, "seal-missing, seal 1" in said) == (1, True)
        heads.keep(tmp_path / "heads", head, now=NOW)
        status, said = run("verify-log")
        assert (status, "seal-missing, seal 1" in said) == (1, True)

    @pytest.mark.parametrize("kept", [None, "", "\n", "x\n", "\udcff"])
    def test_say_loudly_that_nothing_outside_was_compared(
        self, run: Any, log: Log, tmp_path: Path, kept: str | None
    ) -> None:
        """With rules and an empty log, all of it was cut off; without its heads, nobody can say."""
        path = tmp_path / "heads"
        if kept is not None:
            path.write_bytes(kept.encode(errors="surrogateescape"))
        assert run("verify-log")[0] == 0  # nothing has happened here yet
        assert run("adopt-preset", "regulation", "--document", "图文〔2026〕1号")[0] == 0
        status, said = run("verify-log")
        assert (status, "NOTHING IS SEALED" in said) == (3, True)
        log.seal(datetime.now(UTC))
        status, said = run("verify-log")
        assert (status, "the log holds\n" in said) == (3, True)
        assert f"NOTHING OUTSIDE THE DATABASE WAS COMPARED: {'no' if not kept else 'not'}" in said
        head = log.head()
        status, said = run("verify-log", "--number", "1", "--head", head.head.hex())
        assert (status, "NOTHING OUTSIDE" in said) == (0, True)
        log.tamper("DELETE FROM operation_log", "DELETE FROM operation_log_seals")
        status, said = run("verify-log")
        assert (status, "NOTHING IS SEALED" in said, "NOTHING OUTSIDE" in said) == (3, True, True)

    @pytest.mark.parametrize(
        "wrong",
        [("--number", "1"), ("--head", "0" * 64), ("--number", "0", "--head", "0" * 64),
         ("--number", "1", "--head", "xyz"), ("--heads", "nowhere")],
    )  # fmt: skip
    def test_say_how_they_are_used(self, run: Any, wrong: tuple[str, ...]) -> None:
        assert run("verify-log", *wrong)[0] == 2

    def test_take_a_copy_once_and_into_a_new_file(self, run: Any, log: Log, tmp_path: Path) -> None:
        log.write("card.extend", now=NOW)
        days = ("--from", "2026-09-01", "--to", "2026-09-01")
        status, said = run("export-log", *days, "--out", "log.csv")
        assert (status, said[:6]) == (0, "1 rows")
        _, _, row, _ = rows_of((tmp_path / "log.csv").read_text("utf-8"))
        assert row[:5] == ["2026-09-01 12:00:00", "延期", "成功", "批处理", "system"]
        with log.session() as session:
            entry = session.scalars(select(LogEntry).where(LogEntry.action == "log.export")).one()
        assert entry.reference in said
        assert run("export-log", *days, "--out", "log.csv")[0] != 0
