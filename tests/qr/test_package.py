import re
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import qr

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
        for error in qr.CodeError.__subclasses__():
            assert error.code in readme
