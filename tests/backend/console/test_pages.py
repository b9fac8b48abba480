"""What the pages show, and that nothing brings them down."""

import io
import re
import secrets
from datetime import timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from factories import Device, make_document, make_gate, make_holder, make_person, make_till, present
from sqlalchemy import select

from backend import clock
from backend.charges import service as charges
from backend.db import transaction
from backend.gates import service as gates
from backend.gates.models import Direction
from backend.holders.models import Holder
from backend.holders.roster import COLUMNS
from backend.http.signatures import key_name
from backend.ids import new_id
from backend.money import Fen
from backend.notices.models import MessageState, NoticeMessage
from backend.operation_log.models import LogEntry
from backend.operators.models import Role
from backend.terminals import heartbeats
from backend.terminals.models import Terminal

SCRIPT = "<script>alert(1)</script>"
NONSENSE = ["", "x", "%00", "\x00", "' OR 1=1 --", "%ff", "中" * 200, "../../etc", "{{7*7}}", "-1"]


def looks(holder_id: UUID, action: str) -> list[LogEntry]:
    """Return who looked at a holder."""
    with transaction() as session:
        return list(
            session.scalars(
                select(LogEntry).where(LogEntry.holder_id == holder_id, LogEntry.action == action)
            )
        )


def pay(holder_id: UUID, till, amount_fen: int = 1200) -> charges.Charge:
    """Let a holder pay."""
    with transaction() as session:
        charged, _ = charges.charge(
            session,
            charge_id=new_id(),
            terminal=till.caller,
            code=present(holder_id),
            code_text="",
            amount_fen=Fen(amount_fen),
            note=None,
            now=clock.now(),
        )
    return charged


def feed(*rows: str) -> bytes:
    """Return a roster file."""
    return "\n".join([",".join(COLUMNS.values()), *rows]).encode()


class TestHolder:
    def test_is_masked_and_every_look_is_on_record(self, staff, parts) -> None:
        holder, person = make_holder(parts, name="欧阳晓明", balance_fen=5000), staff()
        page = person.get(f"/console/holders/{holder.id}").text
        assert "欧***" in page
        assert holder.name not in page
        assert "¥50.00" in page
        [entry] = looks(holder.id, "holder.view")
        assert entry.actor == f"operator:{person.id}"

    def test_shows_name_and_card_number_for_a_reason(self, staff, parts) -> None:
        holder, person = make_holder(parts, name="欧阳晓明"), staff()
        path = f"/console/holders/{holder.id}/reveal"
        assert person.post(path, {"reason": "curiosity"}).status_code == 422
        assert looks(holder.id, "holder.reveal") == []
        page = person.post(path, {"reason": "present"}).text
        assert holder.name in page
        [entry] = looks(holder.id, "holder.reveal")
        assert entry.facts == {"reason": "present"}

    def test_finance_sees_money_only(self, staff, parts) -> None:
        holder, gate = make_holder(parts, balance_fen=5000), make_gate()
        with transaction() as session:
            gates.decide(
                session, passage_id=new_id(), terminal=gate.caller, code=present(holder.id),
                code_text="", direction=Direction.IN, now=clock.now(),
            )  # fmt: skip
        path = f"/console/holders/{holder.id}"
        place = gate.caller.place
        assert place in staff(Role.AUDITOR).get(path).text
        page = staff(Role.FINANCE).get(path).text
        assert "¥50.00" in page
        assert place not in page
        assert "操作台账" not in page

    def test_escapes_a_name_that_is_a_script(self, staff, parts) -> None:
        holder, person = make_holder(parts, name=SCRIPT), staff()
        masked = person.get(f"/console/holders/{holder.id}").text
        full = person.post(f"/console/holders/{holder.id}/reveal", {"reason": "called"}).text
        found = person.post("/console/search", {"wanted": SCRIPT}).text
        for page in (masked, full, found):
            assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in full
        assert 'value="&lt;script&gt;' in found

    @pytest.mark.parametrize("month", [*NONSENSE, "2026-13", "2026-12", "2099-01", "1999-01"])
    def test_any_month_is_a_page(self, staff, parts, month) -> None:
        path = f"/console/holders/{make_person(parts).id}"
        assert staff().get(path, query_string={"month": month}).status_code == 200


class TestSearch:
    def test_finds_by_number_and_by_the_beginning_of_a_name(self, staff, parts) -> None:
        name = f"查{secrets.token_hex(3)}"
        person, holder = staff(), make_person(parts, name=name)
        for wanted in (holder.number, name, name[:4], f" {name}\x00 "):
            page = person.post("/console/search", {"wanted": wanted}).text
            assert f"/console/holders/{holder.id}" in page
        assert (
            f"/console/holders/{holder.id}"
            not in person.post("/console/search", {"wanted": "%"}).text
        )

    def test_finds_decisions_by_reference(self, staff, parts) -> None:
        holder, till, gate = make_holder(parts, balance_fen=5000), make_till(), make_gate()
        charged = pay(holder.id, till)
        with transaction() as session:
            reversal, _ = charges.reverse(
                session, charge_id=charged.id, reversal_id=new_id(), terminal=till.caller,
                amount_fen=Fen(100), now=clock.now(),
            )  # fmt: skip
            passage, _ = gates.decide(
                session, passage_id=new_id(), terminal=gate.caller, code=present(holder.id),
                code_text="", direction=Direction.IN, now=clock.now(),
            )  # fmt: skip
        person, finance = staff(), staff(Role.FINANCE)
        assert (
            till.caller.place
            in person.post("/console/search", {"wanted": charged.reference.lower()}).text
        )
        assert "冲正" in finance.post("/console/search", {"wanted": reversal.reference}).text
        wanted = {"wanted": passage.reference}
        assert gate.caller.place in person.post("/console/search", wanted).text
        assert gate.caller.place not in finance.post("/console/search", wanted).text

    @pytest.mark.parametrize("wanted", NONSENSE)
    def test_any_text_is_a_page(self, staff, wanted) -> None:
        assert staff().post("/console/search", {"wanted": wanted}).status_code == 200


class TestOverview:
    def test_counts_today(self, staff, parts) -> None:
        holder, till, person = make_holder(parts, balance_fen=2000), make_till(), staff()

        def counted() -> tuple[int, int]:
            page = person.get("/console/").text
            found = [re.search(rf"{word}</dt><dd>(\d+)", page) for word in ("消费笔数", "拒绝笔数")]
            assert all(found)
            return int(found[0][1]), int(found[1][1])

        approved, declined = counted()
        pay(holder.id, till, 1500)
        with pytest.raises(Exception, match="insufficient-balance"):
            _decline(pay(holder.id, till, 1500))
        assert counted() == (approved + 1, declined + 1)

    def test_counts_messages_and_names_nobody(self, staff, parts) -> None:
        holder, person = make_holder(parts), staff()

        def refused() -> int:
            row = person.get("/console/").text.partition("被拒绝")[2].partition("</tr>")[0]
            return int(re.search(r'class="number">(\d+)', row)[1])

        before, now = refused(), clock.now()
        with transaction() as session:
            session.add(
                NoticeMessage(
                    id=new_id(), holder_id=holder.id, platform="wechat", account_index=b"x",
                    account_sealed=None, template_id="t", kind="card-lost", facts={"place": SCRIPT},
                    state=MessageState.REFUSED, code="43101", tries=1, due_at=now, written_at=now,
                    tried_at=now,
                )
            )  # fmt: skip
        page = person.get("/console/").text
        assert refused() == before + 1
        assert "43101" in page
        assert not [text for text in (holder.name, holder.number, SCRIPT) if text in page]


def _decline(charged: charges.Charge) -> None:
    assert charged.reason == "insufficient-balance"
    raise RuntimeError(charged.reason)


def row_of(device: Device, page: str) -> str:
    """Return what the list of terminals, the last table of the page, says of one."""
    return page.rpartition("<table")[2].partition(device.caller.place)[2].partition("</tr>")[0]


class TestTerminals:
    def test_makes_a_token_that_is_shown_once(self, staff) -> None:
        till, person = make_till(), staff()
        page = person.post(f"/console/terminals/{till.id}/enrolment-token").text
        token = re.search(r'class="token"><code>([\w-]{32})<', page)
        assert token is not None
        assert token[1] not in person.get("/console/terminals").text

    def test_says_how_a_device_enrols(self, staff) -> None:
        page = staff().post(f"/console/terminals/{make_till().id}/enrolment-token").text
        for said in (
            "POST /api/v1/terminals/enrolments",
            "public_key",
            "openapi/examples/device.py",
        ):
            assert said in page

    def test_shows_what_each_tells_and_what_is_wrong(self, staff) -> None:
        key, person = Ed25519PrivateKey.generate(), staff()
        gate, long_ago = make_gate(key=key), clock.now() - timedelta(hours=1)
        name = key_name(key.public_key().public_bytes_raw())
        with transaction() as session:
            heartbeats.note_heartbeat(
                session, caller=gate.caller, now=long_ago, queue_length=23, bundle_sequence=41,
                clock=long_ago - timedelta(seconds=77),
            )  # fmt: skip
            heartbeats.note_bundle(session, terminal_id=gate.id, sequence=42, issued_at=long_ago)
            heartbeats.note_gap(session, gate.id, missing=[6, 5], now=long_ago)
        row = row_of(gate, person.get("/console/terminals").text)
        for said in (
            "设备密钥", name[:12], "慢 77 秒", ">23<", ">41<", "最新 42",
            "失联", "时钟偏差", "上送积压", "序号缺口",
        ):  # fmt: skip
            assert said in row, said
        assert "正常" not in row
        for path in ("/console/terminals", "/console/"):
            page = person.get(path).text
            for said in ("23 笔待上送", "缺 2 个，首个为 5", gate.caller.place):
                assert said in page, said

    def test_calls_a_terminal_well_that_is(self, staff) -> None:
        till = make_till()
        with transaction() as session:
            heartbeats.note_heartbeat(
                session, caller=till.caller, now=clock.now(), queue_length=0, clock=clock.now()
            )
        row = row_of(till, staff().get("/console/terminals").text)
        for said in ("正常", "令牌", "准确", ">0<", "—"):
            assert said in row, said

    def test_asks_before_it_revokes(self, staff) -> None:
        till, person = make_till(), staff()
        path = f"/console/terminals/{till.id}/revoke"
        assert till.caller.place in person.get(path).text
        with transaction() as session:
            assert session.get_one(Terminal, till.id).revoked_at is None
        assert person.post(path).location == "/console/terminals?revoked=1"
        with transaction() as session:
            assert session.get_one(Terminal, till.id).revoked_at is not None
        assert person.post(f"/console/terminals/{till.id}/enrolment-token").status_code == 404


class TestRoster:
    def test_imports_what_was_checked_and_nothing_else(self, staff) -> None:
        person, number = staff(Role.ACADEMIC), secrets.token_hex(5)
        good = feed(f"{number},赵一,学生,软件2401班,{make_document()},2029-07-01,否")
        checked = person.post("/console/roster/check", {"file": (io.BytesIO(good), "a.csv")}).text
        mark = re.search(r'name="checked" value="([0-9a-f]{64})"', checked)
        assert mark is not None
        assert not known(number)
        other = {"file": (io.BytesIO(good + b"\n"), "a.csv"), "checked": mark[1]}
        assert "不是刚才核对的文件" in person.post("/console/roster/import", other).text
        assert not known(number)
        same = {"file": (io.BytesIO(good), "a.csv"), "checked": mark[1]}
        assert "导入完成" in person.post("/console/roster/import", same).text
        assert known(number)

    def test_the_mark_of_another_session_imports_nothing(self, staff) -> None:
        one, other, number = staff(Role.ACADEMIC), staff(Role.ACADEMIC), secrets.token_hex(5)
        file = feed(f"{number},赵一,学生,软件2401班,{make_document()},2029-07-01,否")
        page = other.post("/console/roster/check", {"file": (io.BytesIO(file), "a.csv")}).text
        mark = re.search(r'name="checked" value="([0-9a-f]{64})"', page)
        assert mark is not None
        one.post("/console/roster/import", {"file": (io.BytesIO(file), "a"), "checked": mark[1]})
        assert not known(number)

    def test_names_row_and_column_never_the_value(self, staff) -> None:
        document = make_document()[:-1] + "?"
        file = feed(f"{secrets.token_hex(5)},赵一,学生,班,{document},2029-07-01,否")
        page = staff().post("/console/roster/check", {"file": (io.BytesIO(file), "a.csv")}).text
        assert "证件号码" in page
        assert document not in page

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"PK\x03\x04x", b"a,b\n1,2", b'"'])
    def test_any_file_is_answered(self, staff, content) -> None:
        answer = staff().post("/console/roster/check", {"file": (io.BytesIO(content), "a")})
        assert answer.status_code == 422
        assert "名册无法读取" in answer.text

    def test_too_large_a_file_is_a_page(self, staff) -> None:
        person, token = staff(), None
        token = person.form_token()
        file = (io.BytesIO(b"x" * (2 * 1024 * 1024 + 1)), "a.csv")
        answer = person.client.post(
            "/console/roster/check", data={"form_token": token, "file": file}
        )
        assert answer.status_code == 413
        assert "内容过大" in answer.text


def known(number: str) -> bool:
    """Say whether a number is on the roster."""
    with transaction() as session:
        return session.scalar(select(Holder.id).where(Holder.holder_number == number)) is not None


class TestLog:
    def test_shows_the_newest_first_and_filters(self, staff) -> None:
        person = staff()
        moments = re.findall(r'<time datetime="([^"]+)"', person.get("/console/log").text)
        assert moments == sorted(moments, reverse=True) != []
        page = person.get("/console/log?action=roster.import").text
        assert "操作员登录</td>" not in page

    def test_names_the_operator_who_acted(self, staff, parts) -> None:
        holder, person = make_person(parts), staff()
        assert f"<td>{person.username}</td>" in person.get(f"/console/holders/{holder.id}").text

    def test_pages_lead_to_older_ones(self, staff, parts) -> None:
        person, holder = staff(), make_person(parts)
        for _ in range(60):
            person.get(f"/console/holders/{holder.id}")
        page = person.get("/console/log?action=holder.view").text
        older = re.search(r'href="(/console/log\?[^"]*cursor=[^"]+)"', page)
        assert older is not None
        assert person.get(older[1].replace("&amp;", "&")).status_code == 200


class TestTopUps:
    @pytest.mark.parametrize("wanted", ["paid", "exception", *NONSENSE])
    def test_any_state_is_a_page(self, staff, wanted) -> None:
        assert staff().get("/console/top-ups", query_string={"state": wanted}).status_code == 200


class TestNonsense:
    @pytest.mark.parametrize("path", NONSENSE)
    @pytest.mark.parametrize("below", ["", "holders/", "terminals/", "static/", "log/"])
    def test_addresses_that_lead_nowhere(self, staff, below, path) -> None:
        assert staff().get(f"/console/{below}{path}").status_code in (200, 308, 404)

    @pytest.mark.parametrize("page", ["log", "top-ups"])
    @pytest.mark.parametrize("cursor", NONSENSE[1:])
    def test_cursors_that_nobody_made(self, staff, page, cursor) -> None:
        answer = staff().get(f"/console/{page}", query_string={"cursor": cursor})
        assert answer.status_code == 422

    def test_a_page_keeps_browsers_careful(self, staff) -> None:
        headers = staff().get("/console/").headers
        policy = headers["Content-Security-Policy"]
        for rule in ("default-src 'self'", "form-action 'self'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
