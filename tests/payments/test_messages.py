"""Subscribe messages: surely sent, surely refused, or in doubt; and nothing secret is said."""

import json
import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from payments import MessageRefused, MessageTemplate, MessageUnknown, WeChatMiniProgram
from payments.sandbox.messages import account_digest
from payments.sandbox.templates import ARREARS, CARD, TOP_UP

DATA = {"phrase1": "已挂失", "time2": "2026年11月25日 12:05", "thing3": "挂失已生效"}


def consent(sandbox, account_id, *template_ids):
    body = {"account_id": account_id, "template_ids": list(template_ids)}
    assert requests.post(f"{sandbox.url}/control/consents", json=body, timeout=5).ok


def arrived(sandbox, account_id):
    items = requests.get(f"{sandbox.url}/control/messages", timeout=5).json()["items"]
    return [item["data"] for item in items if item["account"] == account_digest(account_id)]


def send(program, account_id, template_id=CARD.id, data=DATA):
    program.send_message(
        account_id=account_id, template_id=template_id, page="pages/card/index", data=data
    )


@pytest.fixture
def account_id(wechat_program, request):
    return wechat_program.login(f"reader of {request.node.name}").account_id


class TestSendMessage:
    def test_arrives_as_often_as_was_agreed_to(self, sandbox, wechat_program, account_id):
        consent(sandbox, account_id, CARD.id, CARD.id)
        for _ in range(2):
            send(wechat_program, account_id)
        with pytest.raises(MessageRefused) as refused:
            send(wechat_program, account_id)
        assert (refused.value.code, refused.value.passing) == ("43101", False)
        assert arrived(sandbox, account_id) == [DATA, DATA]

    def test_long_term_consent_lasts(self, sandbox, wechat_program, account_id):
        consent(sandbox, account_id, ARREARS.id)
        data = {"amount1": "3.80元", "time2": "12:05", "thing3": "脱机消费欠费"}
        for _ in range(3):
            send(wechat_program, account_id, ARREARS.id, data)
        assert len(arrived(sandbox, account_id)) == 3

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"data": {**DATA, "thing3": "一" * 21}}, "47003"),
            ({"data": {**DATA, "phrase1": "card-lost"}}, "47003"),
            ({"data": {**DATA, "time2": "2026-11-25 12:05"}}, "47003"),
            ({"data": {"thing3": "挂失已生效"}}, "47003"),
            ({"data": {**DATA, "phrase1": ""}}, "47003"),
            ({"template_id": "nobody's"}, "40037"),
            ({"account_id": "o" * 28}, "40003"),
            ({"template_id": TOP_UP.id}, "47003"),
        ],
    )
    def test_is_refused_for_good(self, sandbox, wechat_program, account_id, changes, code):
        consent(sandbox, account_id, CARD.id)
        with pytest.raises(MessageRefused) as refused:
            send(wechat_program, **{"account_id": account_id, **changes})
        assert (refused.value.code, refused.value.passing) == (code, False)
        assert arrived(sandbox, account_id) == []

    @pytest.mark.parametrize(
        ("faults", "end"),
        [
            ({"answer_5xx": True}, ("http", 0)),
            ({"lose_answer": True}, ("http", 1)),
            ({"hang_seconds": 1}, ("timeout", 1)),
        ],
    )
    def test_is_in_doubt(self, sandbox, cache, account_id, faults, end):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        program = WeChatMiniProgram(replace(config, timeout_seconds=[1, 0.3]), cache)
        program._token()
        consent(sandbox, account_id, CARD.id)
        sandbox.faults(**faults)
        with pytest.raises(MessageUnknown) as unknown:
            send(program, account_id)
        sandbox.faults()
        assert (unknown.value.reason, len(arrived(sandbox, account_id))) == end

    def test_without_a_token_nothing_was_sent(self, sandbox, cache, account_id):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        for changes in ({"app_secret": "wrong"}, {"base_url": "http://127.0.0.1:9"}):
            with pytest.raises(MessageRefused) as refused:
                send(WeChatMiniProgram(replace(config, **changes), cache), account_id)
            assert (refused.value.code, refused.value.passing) == ("token", True)

    def test_without_a_connection_nothing_was_sent(self, sandbox, cache, account_id):
        config = sandbox.keys.wechat_mini_program_config("http://127.0.0.1:9")
        cache.set(f"wechat:stable_token:{config.app_id}", "token", ex=60)
        with pytest.raises(MessageRefused) as refused:
            send(WeChatMiniProgram(config, cache), account_id)
        assert (refused.value.code, refused.value.passing) == ("unreachable", True)

    def test_a_token_that_ran_out_is_forgotten(self, sandbox, cache, account_id):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        cache.set(f"wechat:stable_token:{config.app_id}", "outdated", ex=60)
        program = WeChatMiniProgram(config, cache)
        consent(sandbox, account_id, CARD.id)
        with pytest.raises(MessageRefused) as refused:
            send(program, account_id)
        assert (refused.value.code, refused.value.passing) == ("40001", True)
        send(program, account_id)
        assert len(arrived(sandbox, account_id)) == 1


@pytest.fixture
def odd_wechat(sandbox, cache) -> Iterator[tuple[WeChatMiniProgram, dict, list]]:
    """A WeChat that answers as it is told, and counts what it was asked."""
    answer, asked = {"status": 200, "body": b"", "headers": {}}, []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path.partition("?")[0])
            self.send_response(answer["status"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = sandbox.keys.wechat_mini_program_config(f"http://127.0.0.1:{server.server_port}")
    cache.set(f"wechat:stable_token:{config.app_id}", "token", ex=60)
    yield WeChatMiniProgram(config, cache), answer, asked
    server.shutdown()
    server.server_close()


class TestOddAnswers:
    @pytest.mark.parametrize("errcode", [45009, 45011])
    def test_a_limit_is_a_refusal_that_passes(self, odd_wechat, errcode):
        program, answer, asked = odd_wechat
        answer["body"] = json.dumps({"errcode": errcode, "errmsg": "reach max limit"}).encode()
        with pytest.raises(MessageRefused) as refused:
            send(program, "o" * 28)
        assert (refused.value.code, refused.value.passing) == (str(errcode), True)
        assert len(asked) == 1

    @pytest.mark.parametrize("errcode", [40001, 42001, 40014])
    def test_a_lasting_token_trouble_asks_once(self, odd_wechat, errcode):
        program, answer, asked = odd_wechat
        answer["body"] = json.dumps({"errcode": errcode, "errmsg": "credential"}).encode()
        with pytest.raises(MessageRefused, match=str(errcode)):
            send(program, "o" * 28)
        assert asked == ["/cgi-bin/message/subscribe/send"], "wechatpy tried it again by itself"

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"errcode": -1, "errmsg": "system error"}', "busy"),
            *((body, "content") for body in (
                *(b"", b"ok", b"[]", b"{}", b"\xff", b"[" * 99999),
                *(b'{"errcode": null}', b'{"errcode": "x"}'),
            )),
        ],
    )  # fmt: skip
    def test_what_says_neither_yes_nor_no_is_in_doubt(self, odd_wechat, body, reason):
        program, answer, asked = odd_wechat
        answer["body"] = body
        with pytest.raises(MessageUnknown) as unknown:
            send(program, "o" * 28)
        assert unknown.value.reason == reason
        assert len(asked) == 1

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirection_is_not_followed(self, odd_wechat, status):
        program, answer, asked = odd_wechat
        answer |= {"status": status, "headers": {"Location": "/elsewhere"}}
        with pytest.raises(MessageUnknown):
            send(program, "o" * 28)
        assert asked == ["/cgi-bin/message/subscribe/send"]

    def test_a_line_that_breaks_is_in_doubt(self, sandbox, cache):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = sandbox.keys.wechat_mini_program_config(url)
            cache.set(f"wechat:stable_token:{config.app_id}", "token", ex=60)

            def hang_up():
                connection, _ = listening.accept()
                connection.recv(65536)
                connection.close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            with pytest.raises(MessageUnknown, match=r"^connection$"):
                send(WeChatMiniProgram(config, cache), "o" * 28)
            thread.join()


class TestSecrets:
    def test_are_in_no_log_and_no_error(self, caplog, sandbox, cache, account_id):
        caplog.set_level(logging.DEBUG)
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        program = WeChatMiniProgram(config, cache)
        consent(sandbox, account_id, CARD.id)
        send(program, account_id)
        said = []
        for faults in ({}, {"answer_5xx": True}):
            sandbox.faults(**faults)
            with pytest.raises((MessageRefused, MessageUnknown)) as failed:
                send(program, account_id)
            said.append("".join(traceback.format_exception(failed.value)))
        sandbox.faults()
        token = program._token()
        for text in (caplog.text, *said):
            for secret in (config.app_secret, token, account_id, DATA["thing3"]):
                assert secret not in text


class TestTemplates:
    def test_may_be_kept_as_json(self, sandbox):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        kept = json.loads(json.dumps({"card-lost": {"id": "x", "fields": {"thing1": "text"}}}))
        read = replace(config, templates=kept).templates["card-lost"]
        assert read == MessageTemplate(id="x", fields={"thing1": "text"}, long_term=False)

    def test_are_none_unless_named(self, sandbox):
        config = replace(sandbox.keys.wechat_mini_program_config(sandbox.url), templates={})
        assert WeChatMiniProgram(config, {}).templates == {}


class TestControls:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ([], 400),
            ({}, 422),
            ({"account_id": "x"}, 422),
            ({"account_id": 1, "template_ids": []}, 422),
            ({"account_id": "x", "template_ids": ["nobody's"]}, 422),
            ({"account_id": "x", "template_ids": [], "more": 1}, 422),
            ({"login_code": "x" * 600, "template_ids": []}, 422),
        ],
    )
    def test_refuse_what_they_cannot_read(self, sandbox, body, status):
        answer = requests.post(f"{sandbox.url}/control/consents", json=body, timeout=5)
        assert answer.status_code == status
        assert answer.json()["code"]

    def test_an_empty_list_withdraws_everything(self, sandbox, wechat_program, account_id):
        consent(sandbox, account_id, CARD.id, ARREARS.id)
        consent(sandbox, account_id)
        with pytest.raises(MessageRefused, match="43101"):
            send(wechat_program, account_id)

    def test_name_every_template(self, sandbox):
        items = requests.get(f"{sandbox.url}/control/templates", timeout=5).json()["items"]
        assert {"id": CARD.id, "title": CARD.title, "long_term": False} in items
