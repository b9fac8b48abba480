"""What `var/demo.json` promises, and the month that lies behind it."""

import stat
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from journeys.outsider import Demo, ask, eventually


class TestDemoFile:
    def test_says_all_that_a_client_needs(self, demo: Demo):
        assert {"base_url", "issuer", "sandbox_url", "stage_url", "console_url"} < demo.said.keys()
        for holder in demo.said["holders"]:
            assert holder.keys() == {
                "holder_number",
                "name",
                "document_number",
                "category",
                "platform",
                "login_code",
                "note",
            }
        for terminal in demo.said["terminals"]:
            assert terminal.keys() == {"kind", "place", "terminal_id", "token"}
        for person in demo.said["staff"]:
            assert person.keys() == {"role", "username", "password", "totp_secret"}

    def test_has_every_kind_of_holder(self, demo: Demo):
        holders = demo.said["holders"]
        kinds = Counter(holder["category"] for holder in holders)
        assert kinds["student"] + kinds["new_student"] >= 6
        assert kinds["new_student"] >= 1
        assert kinds["staff"] >= 2
        assert kinds["temporary_outsider"] >= 1
        assert kinds["temporary_retired"] >= 1
        assert {holder["note"] for holder in holders} == {"", "expired", "lost", "short of money"}
        assert {holder["platform"] for holder in holders} == {"wechat", "alipay"}

    def test_has_every_kind_of_terminal(self, demo: Demo):
        kinds = Counter(terminal["kind"] for terminal in demo.said["terminals"])
        assert kinds >= Counter(till=4, gate=2, kiosk=1)
        assert len(demo.said["merchants"]) >= 3

    def test_is_for_its_owner_alone(self, demo: Demo):
        for name in ("demo.json", "environment.json", "payments.json", "root-key"):
            mode = (demo.home / "var" / name).stat().st_mode
            assert stat.S_IMODE(mode) == 0o600, name

    def test_every_terminal_token_works(self, demo: Demo):
        for said in demo.said["terminals"]:
            terminal = demo.terminal(said["place"]).ask("GET", "/terminals/current")
            assert terminal.status == 200
            assert (terminal.body["kind"], terminal.body["terminal_id"]) == (
                said["kind"],
                said["terminal_id"],
            )

    def test_every_address_answers(self, demo: Demo):
        base = demo.said["base_url"]
        for url in (
            demo.said["stage_url"],
            f"{base}/healthz",
            f"{base}/readyz",
            f"{base}/metrics",
            f"{base}/.well-known/jwks.json",
            f"{base}/openapi.json",
            f"{base}/docs",
            f"{demo.said['sandbox_url']}/healthz",
        ):
            assert ask("GET", url).status == 200, url


class TestSeededMonth:
    def test_everybody_bound_has_a_statement(self, demo: Demo):
        bound = 0
        for person in demo.said["holders"]:
            phone = demo.holder(person["holder_number"])
            if phone.binding != "active":
                continue
            today = date.today()  # noqa: DTZ011 - the months around now, whichever zone
            months = {f"{today - timedelta(days=days):%Y-%m}" for days in (-1, 15, 36)}
            items = [
                item
                for month in months
                for item in phone.get(f"/me/statement?month={month}&limit=100")["items"]
            ]
            if not items:  # bound a moment ago, by another journey
                continue
            bound += 1
            kinds = {item["kind"] for item in items}
            assert "top_up" in kinds, person
            assert person["note"] == "short of money" or "charge" in kinds, person
            assert sum(item["amount_fen"] for item in items) == phone.balance_fen, person
        assert bound >= 6

    def test_adds_up(self, demo: Demo):
        proof = demo.campus_card("prove-ledger")
        assert proof.returncode == 0, proof
        assert "the ledger holds" in proof.stdout

    def test_reaches_into_this_week(self, demo: Demo):
        now = datetime.now(UTC)
        months = {f"{now - timedelta(days=days):%Y-%m}" for days in (0, 7)}
        moments = [
            datetime.fromisoformat(item["at"])
            for month in months
            for item in demo.holder("20240102").get(f"/me/statement?month={month}")["items"]
        ]
        assert max(moments) > now - timedelta(days=4)

    def test_was_paid_at_the_platforms_so_it_can_go_back(self, demo: Demo):
        person = next(
            one
            for one in demo.said["holders"]
            if (one["platform"], one["category"], one["note"]) == ("alipay", "student", "")
        )
        phone, refund = demo.holder(person["holder_number"]), f"/me/refunds/{uuid4()}"
        seeded = phone.get("/me/refundable")["parts"][0]
        answer = phone.ask("PUT", refund, {"amount_fen": min(seeded["amount_fen"], 100)})
        assert answer.status in (201, 202), answer
        assert eventually(lambda: phone.get(refund)["state"] not in ("due", "sending")), answer
        assert {part["state"] for part in phone.get(refund)["parts"]} <= {"processing", "succeeded"}
