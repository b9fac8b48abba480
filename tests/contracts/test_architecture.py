"""Rules that hold because a test reads them."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from backend.cards import rules as cards
from backend.cash_desk import rules as cash_desk
from backend.closings import rules as closings
from backend.db import Base
from backend.migrations import configuration, upgrade
from backend.policies.rules import PRESETS
from backend.refunds import rules as refunds
from backend.topups import rules as topups

ROOT = Path(__file__).parents[2]


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the server."""
    for path in sorted((ROOT / "backend").rglob("*.py")):
        yield path, ast.parse(path.read_text())


def tracked() -> list[Path]:
    """Every file that git keeps."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


class TestCode:
    def test_only_db_commits(self) -> None:
        for path, module in modules():
            calls = {
                node.func.attr
                for node in ast.walk(module)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            assert "commit" not in calls, path
            assert path.name in ("db.py", "env.py") or "begin" not in calls, path

    def test_no_drawer_for_odds_and_ends(self) -> None:
        odd = {"utils", "helpers", "common", "manager", "misc"}
        assert not [path for path, _ in modules() if odd & {path.stem, *path.parts}]

    def test_a_scanner_needs_pyjwt_alone(self) -> None:
        code = (
            "import sys\n"
            "for name in ('flask','sqlalchemy','redis','segno','backend','payments'):\n"
            "    sys.modules[name] = None\n"
            "import qr"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    def test_money_is_a_whole_number_in_every_table(self) -> None:
        for table in Base.metadata.tables.values():
            for column in table.columns:
                if column.name.endswith("_fen"):
                    assert column.type.python_type is int, column


@pytest.fixture
def empty_database(database_url: str, worker: int) -> Callable[[str], str]:
    """Create a database of a name without any table, and return its URL."""

    def create(name: str) -> str:
        engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}_{worker}"))
        engine.dispose()
        return re.sub(r"/worker_\d+\?", f"/{name}_{worker}?", database_url)

    return create


class TestMigrations:
    def test_lead_to_the_models(self, empty_database: Callable[[str], str]) -> None:
        url = empty_database("migrated")
        upgrade(url)
        upgrade(url)  # the functions are re-applied each time
        command.check(configuration(url))

    def test_keep_the_answers_of_loss_reports(self, empty_database: Callable[[str], str]) -> None:
        """0004 adds to each answer what a retry gets from now on, and nothing else."""
        url = empty_database("reported")
        command.upgrade(configuration(url), "0003_add_delegations")
        first = [{"place": place, "has_it": True, "since": "x"} for place in ("b", "a")]
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("SET session_replication_role = replica"))  # no holder is there
            for answer in ({"id": "1", "terminals": first}, {"id": "2", "terminals": []}):
                connection.execute(
                    text(
                        "INSERT INTO loss_reports (id, holder_id, credential, stop_virtual_card,"
                        " reported_at, answer) VALUES (gen_random_uuid(), gen_random_uuid(),"
                        " 'phone', false, now(), :answer)"
                    ),
                    {"answer": json.dumps(answer)},
                )
        upgrade(url)
        with engine.connect() as connection:
            found = connection.scalars(text("SELECT answer FROM loss_reports")).all()
        engine.dispose()
        assert sorted(found, key=lambda answer: answer["id"]) == [
            {"id": "1", "terminals": [one | {"offline_since": None} for one in first]},
            {"id": "2", "terminals": []},
        ]

    def test_spell_the_papers_of_old_applications_once_and_keep_each_readable(
        self, empty_database: Callable[[str], str]
    ) -> None:
        url = empty_database("papers")
        command.upgrade(configuration(url), "0033_undo_closings")
        engine = create_engine(url)
        with engine.begin() as connection:
            for key in ("made_by", "sponsor_id"):  # nobody is there
                connection.execute(
                    text(f"ALTER TABLE applications DROP CONSTRAINT fk_applications_{key}")
                )
            for number in (" r-2 ", "R-1", " R-1 ", "r-3", "Ｒ－３", None):
                connection.execute(
                    text(
                        "INSERT INTO applications (id, content_index, state, oa_number,"
                        " sponsor_unit, sponsor_id, purpose, category, permissions,"
                        " pays_surcharge, valid_from, valid_until, made_by, made_at, opening_id,"
                        " opened_at, receipt_number, policy_ids)"
                        " VALUES (uuidv7(), '', 'opened', :oa, 'x', uuidv7(), 'x',"
                        " 'temporary_outsider', '[]', true, now(), now(), uuidv7(),"
                        " clock_timestamp(), uuidv7(), clock_timestamp(), :receipt, '[]')"
                    ),
                    {"oa": f"oa-{number}", "receipt": number},
                )
        upgrade(url)
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT receipt_number, oa_number FROM applications ORDER BY made_at")
            ).all()
        engine.dispose()
        assert [receipt for receipt, _ in found] == ["R-2", "R-1", " R-1 ", "R-3", "Ｒ－３", None]
        assert [oa for _, oa in found] == [
            "OA-R-2", "OA-R-1", "oa- R-1 ", "OA-R-3", "oa-Ｒ－３", "OA-NONE"
        ]  # fmt: skip

    def test_give_a_school_in_operation_its_new_policies(
        self, empty_database: Callable[[str], str]
    ) -> None:
        """0010 adds what the cash desk goes by, where there are policies at all."""
        url = empty_database("operated")
        command.upgrade(configuration(url), "0009_add_stray_payments")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO policies (id, key, value, document_number, valid_from)"
                    " VALUES (uuidv7(), 'top_up.least_fen', '100', '图文〔2026〕1号', now())"
                )
            )
        upgrade(url)
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT key, value, document_number FROM policies WHERE key LIKE 'cash.%'")
            ).all()
        engine.dispose()
        assert {key: value for key, value, _ in found} == {
            key: value for key, value in PRESETS["standard"].items() if key.startswith("cash.")
        }
        assert {document for _, _, document in found} == {"图文〔2026〕1号"}

    def test_are_numbered_and_have_one_head(self) -> None:
        scripts = ScriptDirectory.from_config(configuration(""))
        names = sorted(script.revision for script in scripts.walk_revisions())
        assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
        assert scripts.get_heads() == [names[-1]]


def picture(table: Mapping[tuple[StrEnum, StrEnum], StrEnum]) -> str:
    """Draw a transition table as the README does."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), after in table.items():
        arrows.setdefault((state.value, after.value), []).append(event.value)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


class TestDocuments:
    @pytest.mark.parametrize(
        "table",
        [
            cards.TRANSITIONS,
            topups.TRANSITIONS,
            refunds.TRANSITIONS,
            cash_desk.TRANSITIONS,
            closings.TRANSITIONS,
        ],
    )
    def test_the_readme_draws_the_tables(
        self, table: Mapping[tuple[StrEnum, StrEnum], StrEnum]
    ) -> None:
        assert picture(table) in (ROOT / "README.md").read_text()

    @pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
    def test_readmes_lead_to_files_that_exist(self, name: str) -> None:
        said = (ROOT / name).read_text()
        for link in re.findall(r"\]\(([\w./-]+)\)", said):
            assert (ROOT / link).exists(), link
        for path, thing in re.findall(r"`([\w/]+\.(?:py|sql))(?:::(\w+))?`", said):
            assert (ROOT / path).exists(), path
            assert thing in (ROOT / path).read_text(), thing

    def test_no_file_names_this_machine_or_a_registry(self) -> None:
        told = re.compile(r"/root/|/work/(?:main|shared)|pypi\.org|registry\.npmjs|deb\.debian")
        for path in tracked():
            if path.suffix in (".png", ".wasm", ".js", ".css") or path == Path(__file__):
                continue
            assert not told.search(path.read_text(errors="ignore")), path

    def test_the_lock_holds_names_versions_and_hashes_only(self) -> None:
        line = re.compile(
            r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+( ; .+)? \\|    --hash=\S+( \\)?|    # .*|"
        )
        for said in (ROOT / "requirements.lock").read_text().splitlines():
            assert line.fullmatch(said), said
