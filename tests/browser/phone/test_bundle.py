"""The committed bundle is what its sources make."""

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "miniprogram-mock"
BUNDLE = PROGRAM / "phone" / "bundle.js"
FIRST_LOAD_BYTES = 127_400
"""Some 10 kB of it sign codes without network.  They are not left for later: a phone that needs
them has no network to fetch them with.  The inbox, and the sheet that asks whether we may write,
cost 2.7 kB; asking for a new card (补卡) 1.5 kB."""
LATER_BYTES = 8_000
"""Of each page that is loaded when it is opened: they need the network anyway."""
COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.DOTALL | re.MULTILINE)


def source_hash() -> str:
    """Hash the sources as runtime/build.mjs does."""
    found = [
        path.relative_to(PROGRAM).as_posix()
        for folder in ("miniprogram", "runtime")
        for path in (PROGRAM / folder).rglob("*")
        if path.is_file()
    ]
    digest = hashlib.sha256()
    for name in sorted([*found, "package.json"]):
        content = (PROGRAM / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class TestBundle:
    def test_says_the_hash_of_its_sources(self):
        first_line = BUNDLE.read_text().partition("\n")[0]
        assert first_line == f"/* sources sha256:{source_hash()} */", (
            "the phone is stale: run `npm run build` in miniprogram-mock/"
        )

    def test_is_what_a_build_makes_now(self, tmp_path):
        if not shutil.which("node") or not (PROGRAM / "node_modules").is_dir():
            pytest.skip("no node, or no miniprogram-mock/node_modules: only the hash was compared")
        command = ["node", "runtime/build.mjs", "--out", str(tmp_path / "phone")]
        subprocess.run(command, cwd=PROGRAM, check=True)
        built = {p.relative_to(tmp_path / "phone"): p for p in (tmp_path / "phone").rglob("*")}
        kept = {p.relative_to(PROGRAM / "phone"): p for p in (PROGRAM / "phone").rglob("*")}
        assert built.keys() == kept.keys()
        for name, path in built.items():
            if path.is_file():
                assert path.read_bytes() == kept[name].read_bytes(), name

    def test_makes_no_code_at_run_time(self):
        assert not re.search(r"\bnew Function\s*\(|\beval\s*\(", BUNDLE.read_text())

    def test_is_light_enough_for_a_first_load(self):
        files = [BUNDLE, PROGRAM / "phone" / "phone.css", PROGRAM / "phone" / "index.html"]
        assert sum(len(gzip.compress(one.read_bytes())) for one in files) < FIRST_LOAD_BYTES

    def test_loads_later_what_needs_the_network_anyway(self):
        later = [path for path in BUNDLE.parent.glob("*.js") if path != BUNDLE]
        assert {path.name for path in later} == {
            "pages-closing.js",
            "pages-data.js",
            "pages-refund.js",
            "pages-sponsored.js",
        }
        assert max(len(gzip.compress(path.read_bytes())) for path in later) < LATER_BYTES

    def test_leaves_out_what_no_browser_needs(self):
        assert "setPRNG" in (PROGRAM / "miniprogram" / "lib" / "nacl.js").read_text()
        assert "setPRNG" not in BUNDLE.read_text()

    def test_the_native_package_stays_far_below_the_platforms_two_megabytes(self):
        sizes = [p.stat().st_size for p in (PROGRAM / "miniprogram").rglob("*") if p.is_file()]
        assert sum(sizes) < 430_000


class TestLibraries:
    def test_are_what_their_packages_make_now(self, tmp_path):
        if not shutil.which("node") or not (PROGRAM / "node_modules").is_dir():
            pytest.skip("no node, or no miniprogram-mock/node_modules: nothing was compared")
        command = ["node", "runtime/vendor.mjs", "--out", str(tmp_path)]
        subprocess.run(command, cwd=PROGRAM, check=True)
        assert {path.name for path in tmp_path.iterdir()} == {"ed25519.js", "nacl.js"}
        for path in tmp_path.iterdir():
            kept = PROGRAM / "miniprogram" / "lib" / path.name
            assert path.read_text() == kept.read_text(), path.name

    def test_can_be_read_by_an_engine_without_bigint(self):
        # One file that cannot be read takes the whole program with it, used or not.
        for path in (PROGRAM / "miniprogram").rglob("*.js"):
            code = COMMENT.sub("", path.read_text())
            assert not re.search(r"\b(?:0x[0-9a-fA-F]+|\d+)n\b", code), path.name

    def test_raise_no_bigint_to_a_power(self):
        # DevTools rewrites a ** b as Math.pow(a, b), which takes plain numbers only.
        for path in (PROGRAM / "miniprogram").rglob("*.js"):
            for base in re.findall(r"(\S+) \*\* ", COMMENT.sub("", path.read_text())):
                assert base.lstrip("(").isdigit() or base == "BigInt(2", (path.name, base)
