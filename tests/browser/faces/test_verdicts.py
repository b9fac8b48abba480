"""What a cashier and a student read: refusals in words, with a next step, in two languages."""

import gzip
import re

import pytest
from playwright.sync_api import expect

from backend.uploads.rules import Outcome, Refused

pytestmark = pytest.mark.browser

CODE = "961" + "1618033988" * 19 + "74989484"
ALONE = """
clock-behind bundle-missing bundle-expired bundle-stale bundle-forged offline-closed
offline-not-allowed code-online-only offline-cap-exceeded
""".split()  # noqa: SIM905 - in the order of the scanner
REFUSALS = """
terminal-not-allowed charge-voided id-reused code-malformed code-forged code-unknown-key
code-not-yet-valid code-expired code-wrong-scope code-stale code-revoked code-spent
card-lost card-frozen card-expired account-closed not-permitted payment-paused
limit-exceeded insufficient-balance
access-not-allowed access-outside-hours passback
""".split()  # noqa: SIM905 - as the specification lists them


LATER = ("faces/qr/", "faces/vendor/noble/", "faces/alone", "faces/device.js")


def packed_bytes(folder, paths):
    """What the files of these addresses weigh on their way to the browser."""
    files = [
        folder / path / "index.html" if path.endswith("/") else folder / path for path in paths
    ]
    return sum(len(gzip.compress(file.read_bytes())) for file in files)


class TestTill:
    def test_shows_what_was_paid_by_whom_and_what_is_left(self, till):
        till.keyboard.type("12")
        till.keyboard.press("Enter")
        till.keyboard.type(CODE)
        panel = till.locator("#panel-view")
        expect(panel.locator("[data-field=total]")).to_have_text("¥13.80")
        expect(panel.locator("[data-field=surcharge]")).to_have_text("餐费 ¥12.00 + 搭伙费 ¥1.80")
        expect(panel.locator("[data-field=holder]")).to_have_text("张*明 · 校外临时")
        expect(panel.locator("[data-field=balance]")).to_have_text("余额 ¥128.50")
        expect(panel.locator("[data-field=reference]")).to_have_text("编号 EC-4F7K2")

    def test_says_how_much_is_missing_and_keeps_the_amount_for_another_scan(self, till, script):
        script.on(
            "PUT /charges/.*",
            lambda **_: (
                409,
                {
                    "code": "insufficient-balance",
                    "title": "",
                    "balance_fen": 900,
                    "short_fen": 350,
                    "reference": "EC-77QX1",
                },
            ),
        )
        till.keyboard.type("12.5")
        till.keyboard.press("Enter")
        till.keyboard.type(CODE)
        panel = till.locator("#panel-view")
        expect(panel).to_have_attribute("data-reason", "insufficient-balance")
        expect(panel.locator("[data-field=reason]")).to_have_text("余额不足，还差 ¥3.50")
        expect(panel.locator("[data-field=next]")).to_have_text("请充值后再扫，当前余额 ¥9.00")
        expect(panel.locator("[data-field=reference]")).to_have_text("编号 EC-77QX1")
        till.locator("#again").click()
        expect(panel.locator("[data-field=asked]")).to_have_text("¥12.50")

    def test_says_what_the_server_wrote_for_a_code_it_does_not_know(self, till, script):
        script.on(
            "PUT /charges/.*",
            lambda **_: (409, {"code": "brand-new", "title": "新的拒绝", "detail": "去问问"}),
        )
        till.keyboard.type("6")
        till.keyboard.press("Enter")
        till.keyboard.type(CODE)
        expect(till.locator("[data-field=reason]")).to_have_text("新的拒绝")
        expect(till.locator("[data-field=next]")).to_have_text("去问问")

    def test_is_keyed_by_hand_and_by_mouse_alike(self, till):
        till.locator("[data-key='1']").click()
        till.keyboard.type("2.5")
        expect(till.locator("#amount")).to_have_text("¥12.5")
        till.keyboard.press("Backspace")
        till.locator("#erase").click()
        expect(till.locator("#amount")).to_have_attribute("data-fen", "1200")
        till.keyboard.press("Escape")
        expect(till.locator("#amount")).to_have_text("¥0")


class TestGate:
    def test_allows_with_an_arrow_that_can_be_seen_from_afar(self, gate):
        gate.locator("#direction label").nth(1).click()
        gate.keyboard.type(CODE)
        expect(gate.locator("body")).to_have_attribute("data-state", "allow")
        expect(gate.locator("[data-field=reason]")).to_have_text("请慢走")
        assert gate.locator(".glyph").bounding_box()["width"] >= 96

    def test_denies_with_a_reason_and_a_next_step(self, gate, script):
        script.on(
            "PUT /passages/(?P<passage_id>.*)",
            lambda passage_id, body, **_: (
                201,
                {
                    "id": passage_id,
                    "decision": "deny",
                    "reason": "code-wrong-scope",
                    "direction": body["direction"],
                    "holder": None,
                    "display": {},
                    "reference": "EC-2M3PL",
                },
            ),
        )
        gate.keyboard.type(CODE)
        verdict = gate.locator("#verdict")
        expect(verdict).to_have_attribute("data-reason", "code-wrong-scope")
        expect(verdict.locator("[data-field=next]")).to_contain_text("通行")
        expect(verdict.locator("[data-field=reference]")).to_have_text("编号 EC-2M3PL")
        gate.locator("#drawer-open").click()
        expect(gate.locator("#log [data-decision=deny]")).to_have_count(1)

    def test_says_the_opening_hours_that_the_server_knows(self, gate, script):
        script.on(
            "PUT /passages/(?P<passage_id>.*)",
            lambda passage_id, body, **_: (
                201,
                {
                    "id": passage_id,
                    "decision": "deny",
                    "reason": "access-outside-hours",
                    "direction": body["direction"],
                    "holder": None,
                    "display": {
                        "line1": "不在开放时间",
                        "line2": "今日开放时间 06:00–23:00",
                        "voice": "",
                    },
                    "reference": "EC-2M3PL",
                },
            ),
        )
        gate.keyboard.type(CODE)
        expect(gate.locator("[data-field=next]")).to_have_text("今日开放时间 06:00–23:00")


class TestWords:
    @pytest.mark.parametrize("language", ["zh-CN", "en"])
    def test_know_every_refusal_of_charges_and_passages(self, till, language):
        for code in REFUSALS:
            words = till.evaluate(
                """async ([code, language]) => {
                  const { refusalWords } = await import("/stage/faces/words.js");
                  document.documentElement.lang = language;
                  const facts = { limit_fen: 1, short_fen: 1, balance_fen: 1 };
                  return refusalWords({ code, title: "?", ...facts });
                }""",
                [code, language],
            )
            assert words["reason"] not in {"", "?"}
            assert words["next"], code
            assert bool(re.search(r"[\u4e00-\u9fff]", "".join(words.values()))) is (
                language == "zh-CN"
            )

    @pytest.mark.parametrize("language", ["zh-CN", "en"])
    def test_know_every_refusal_without_a_server(self, till, language):
        caps = [("offline-cap-exceeded", cap) for cap in ("per_sale", "per_card_count", "per_card")]
        caps.append(("offline-cap-exceeded", "terminal"))
        found = till.evaluate(
            """async ([codes, language]) => {
              await import("/stage/faces/alone-words.js");
              const { refusalWords } = await import("/stage/faces/words.js");
              document.documentElement.lang = language;
              const limits = { limit_fen: 1500, limit: 3 };
              return codes.map(([code, cap]) => refusalWords({ code, cap, ...limits }));
            }""",
            [[*((code, None) for code in ALONE), *caps], language],
        )
        assert all(words["reason"] and words["next"] for words in found)
        assert len({words["reason"] for words in found}) == len(ALONE) + 4
        for words in found:
            chinese = bool(re.search(r"[\u4e00-\u9fff]", "".join(words.values())))
            assert chinese is (language == "zh-CN")
            assert "{" not in "".join(words.values())

    def test_know_every_unusual_outcome_of_an_upload(self, faces):
        usual = re.search(r"ORDINARY = \[(.*)\]", (faces / "faces" / "alone.js").read_text())[1]
        later = (faces / "faces" / "alone-words.js").read_text()
        later = later.partition("const OUTCOMES")[2].partition("};")[0]
        known = set(re.findall(r"^  \"?([a-z-]+)\"?: \[\"", later, re.MULTILINE))
        assert {*Outcome, *Refused} - known == set(re.findall(r"\"([a-z-]+)\"", usual))

    def test_exist_for_every_key_that_a_page_uses(self, faces):
        dictionaries = ("words.js", "alone-words.js", "first-use.js")
        texts = [(faces / "faces" / name).read_text() for name in dictionaries]
        texts.append((faces / "stage" / "words.js").read_text())
        defined = set(re.findall(r"^ {2,4}(\w+): \[", "\n".join(texts), re.MULTILINE))
        used = set()
        for page in [
            *faces.glob("faces/*.js"),
            *(p for f in ("till", "gate", "stage") for p in faces.glob(f"{f}/*")),
        ]:
            text = page.read_text()
            used |= set(re.findall(r"""(?:\bword|notice|caption)\("(\w+)\"""", text))
            used |= set(re.findall(r"""data-(?:word|label|hint|title)="(\w+)\"""", text))
            used |= {f"fact_{name}" for name in re.findall(r"yield \[\"(\w+)\",", text)}
        assert used - defined == set()

    def test_of_what_is_loaded_later_are_not_said_before(self, faces):
        early = [p for f in ("till", "gate") for p in faces.glob(f"{f}/*.html")]
        early += [faces / "till" / "recent.js", faces / "faces" / "identity.js"]
        used = set(
            re.findall(
                r"""(?:word\(|data-\w+=)"(\w+)\"""", "\n".join(page.read_text() for page in early)
            )
        )
        later = (faces / "faces" / "alone-words.js").read_text()
        assert used & set(re.findall(r"^  (\w+): \[", later, re.MULTILINE)) == set()

    def test_turn_to_english_at_a_press(self, till):
        till.locator("#language").click()
        expect(till.locator("html")).to_have_attribute("lang", "en")
        expect(till.locator("#charge")).to_contain_text("Charge")
        expect(till.locator("#panel-view")).to_contain_text("Enter an amount")


class TestWeight:
    @pytest.mark.parametrize("face", ["till", "gate"])
    def test_is_at_most_30_kb_packed_until_it_can_do_without_a_server(self, request, face):
        """What decides alone comes after the first code could be taken, the camera when opened."""
        loaded: list[str] = []
        page = request.getfixturevalue("page")
        page.on("response", lambda r: loaded.append(r.url) if "/stage/" in r.url else None)
        request.getfixturevalue(face)
        folder = request.getfixturevalue("faces")
        paths = {url.partition("/stage/")[2].partition("?")[0] for url in loaded} - {"demo.json"}
        page.wait_for_load_state("networkidle")
        later = {path for path in paths if path.startswith(LATER)}
        assert len(paths - later) > 10
        assert packed_bytes(folder, paths - later) <= 30 * 1024
        assert packed_bytes(folder, later) <= 50 * 1024
