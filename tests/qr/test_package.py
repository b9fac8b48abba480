import os
import re
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import qr
from qr.bundle import SECTIONS, BundleError
from qr.jose import from_b64url
from qr.rules import Reason

STRANGERS = ("flask", "sqlalchemy", "redis", "segno", "backend", "payments")


class TestPackage:
    def test_exports_all_its_public_names(self):
        public = {
            name
            for name, value in vars(qr).items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType)
        }
        assert set(qr.__all__) == public
        assert len(qr.__all__) == len(public)

    def test_stands_alone(self):
        script = (
            f"import sys\nfor name in {STRANGERS}: sys.modules[name] = None\n"
            "import qr, qr.__main__\n"
            "assert 'qr.image' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)

    def test_documents_all_its_public_names(self):
        for name in qr.__all__:
            assert name.isupper() or getattr(qr, name).__doc__, name

    def test_does_what_the_readme_shows(self, tmp_path, monkeypatch):
        readme = Path(qr.__file__).with_name("README.md").read_text("utf-8")
        (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        now = datetime.now(UTC)
        qr.KeyRing.create(tmp_path / "ring.json", now=now)
        monkeypatch.chdir(tmp_path)
        told = {"now": now, "alias": b"\x0a\x1b\x2c\x3d\x4e\x5f"}
        exec(example, told)
        assert told["code"].alias == told["alias"]

    def test_tells_of_every_reason_in_the_readme(self):
        readme = Path(qr.__file__).with_name("README.md").read_text("utf-8")
        errors = [*qr.CodeError.__subclasses__(), BundleError, *BundleError.__subclasses__()]
        for reason in [*(error.code for error in errors), *Reason]:
            assert f"`{reason}`" in readme

    def test_tells_of_every_file_and_section_in_the_readme(self):
        folder = Path(qr.__file__).parent
        readme = (folder / "README.md").read_text("utf-8")
        files = {path.name for path in folder.iterdir() if path.suffix in (".py", ".json")}
        for name in (files - {"__init__.py"}) | set(SECTIONS):
            assert f"`{name}`" in readme, name

    def test_shows_the_tokens_of_the_vectors_in_the_readme(self, vectors):
        readme = Path(qr.__file__).with_name("README.md").read_text("utf-8")
        shown = vectors["valid"]["signed"][0], vectors["valid"]["device"][0]
        tokens = [shown[0]["jwt"], shown[1]["delegation_jwt"], shown[1]["proof_jwt"]]
        for token in tokens:
            for segment in token.split(".")[:2]:
                assert from_b64url(segment).decode() in readme.splitlines()

    def test_runs_the_kitchen_table_of_the_readme(self, tmp_path):
        readme = Path(qr.__file__).with_name("README.md").read_text("utf-8")
        (block,) = re.findall(r"## On a kitchen table\n.*?```console\n(.*?)```", readme, re.DOTALL)
        lines = [line for line in block.splitlines() if line]
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        script = "\n".join(['set -eu; python() { "$INTERPRETER" "$@"; }', *commands])
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            check=False,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"INTERPRETER": sys.executable},
        )
        assert (done.returncode, done.stderr) == (0, "")
        expected = [line for line in lines if not line.startswith("$ ")]
        printed = done.stdout.splitlines()
        assert len(printed) == len(expected) > 5
        for found, shown in zip(printed, expected, strict=True):
            pattern = ".*".join(map(re.escape, shown.split("…")))
            assert re.fullmatch(pattern, found), (shown, found)
