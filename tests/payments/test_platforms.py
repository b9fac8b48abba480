"""Who is there, and is it the person of the roster."""

import threading
from dataclasses import replace

import pytest

from payments import (
    AlipayMiniProgram,
    LoginRefused,
    PlatformUnavailable,
    RealNameResult,
    WeChatMiniProgram,
)

PERSON = {"name": "林晓雨", "document_number": "11010520080229001X"}
DEAD = "http://127.0.0.1:9"


class DeadCache:
    """A cache whose server is gone."""

    def get(self, key):
        raise RuntimeError("gone")

    def set(self, key, value, *, ex, nx=False):
        raise RuntimeError("gone")

    def delete(self, key):
        raise RuntimeError("gone")


def check(platform, login_code, grant="yes", **person):
    account_id = platform.login(login_code).account_id
    return platform.check_real_name(account_id=account_id, grant=grant, **{**PERSON, **person})


class TestLogin:
    def test_names_the_same_account_for_the_same_code(self, platform):
        first, second = platform.login("晓雨"), platform.login("晓雨")
        assert first == second
        assert first != platform.login("小明")
        assert "晓雨" not in first.account_id

    def test_names_different_accounts_on_different_platforms(self, wechat_program, alipay_program):
        assert wechat_program.login("x") != alipay_program.login("x")

    @pytest.mark.parametrize("code", ["", "x" * 600, "\ud800"])
    def test_refuses_a_code_that_is_none(self, platform, code):
        with pytest.raises(LoginRefused):
            platform.login(code)

    def test_tells_a_refused_code_from_trouble(self, platform, sandbox):
        sandbox.faults(refuse_login=True)
        with pytest.raises(LoginRefused) as refused:
            platform.login("x")
        assert refused.value.reason
        sandbox.faults(answer_5xx=True)
        with pytest.raises(PlatformUnavailable):
            platform.login("x")

    def test_is_unavailable_without_the_platform(self, sandbox, cache):
        keys = sandbox.keys
        for program in (
            WeChatMiniProgram(keys.wechat_mini_program_config(DEAD), cache),
            AlipayMiniProgram(keys.alipay_mini_program_config(DEAD)),
        ):
            with pytest.raises(PlatformUnavailable, match=r"^unreachable$"):
                program.login("x")
            assert check_unasked(program) is RealNameResult.UNAVAILABLE

    def test_is_unavailable_when_the_platform_is_too_slow(self, sandbox, cache):
        keys = sandbox.keys
        sandbox.faults(hang_seconds=1)
        for program in (
            WeChatMiniProgram(
                replace(keys.wechat_mini_program_config(sandbox.url), timeout_seconds=[1, 0.1]),
                cache,
            ),
            AlipayMiniProgram(
                replace(keys.alipay_mini_program_config(sandbox.url), timeout_seconds=[1, 0.1])
            ),
        ):
            with pytest.raises(PlatformUnavailable, match=r"^timeout$"):
                program.login("x")

    def test_is_unavailable_when_alipay_did_not_sign(self, alipay_program, sandbox):
        sandbox.faults(bad_signature=True)
        with pytest.raises(PlatformUnavailable, match="answer-signature"):
            alipay_program.login("x")

    def test_is_unavailable_with_a_wrong_secret(self, sandbox, cache):
        config = replace(sandbox.keys.wechat_mini_program_config(sandbox.url), app_secret="wrong")
        with pytest.raises(PlatformUnavailable, match=r"^40125$"):
            WeChatMiniProgram(config, cache).login("x")


def check_unasked(program):
    return program.check_real_name(account_id="o" * 28, grant="yes", **PERSON)


class TestRealName:
    def test_matches_the_registered_person_only(self, platform, sandbox):
        sandbox.register(platform.name, "registered", **PERSON)
        assert check(platform, "registered") is RealNameResult.MATCH
        assert check(platform, "registered", name="林小雨") is RealNameResult.MISMATCH
        assert (
            check(platform, "registered", document_number="110105200802290028")
            is RealNameResult.MISMATCH
        )

    def test_takes_the_login_code_as_the_consent_of_its_account(self, platform, sandbox):
        sandbox.register(platform.name, "consenting", **PERSON)
        assert check(platform, "consenting", grant="consenting") is RealNameResult.MATCH

    def test_takes_no_consent_of_somebody_else(self, platform, sandbox):
        sandbox.register(platform.name, "somebody-else", **PERSON)
        assert check(platform, "thief", grant="somebody-else") is RealNameResult.MISMATCH

    def test_believes_an_unregistered_account(self, platform):
        assert check(platform, "nobody in particular") is RealNameResult.MATCH

    def test_plays_the_other_outcomes_on_request(self, platform):
        assert check(platform, "a mismatch") is RealNameResult.MISMATCH
        assert check(platform, "unavailable!") is RealNameResult.UNAVAILABLE

    def test_is_unavailable_in_trouble(self, platform, sandbox):
        account_id = platform.login("x").account_id
        sandbox.faults(answer_5xx=True)
        assert (
            platform.check_real_name(account_id=account_id, grant="yes", **PERSON)
            is RealNameResult.UNAVAILABLE
        )


class TestAccessToken:
    def test_is_fetched_once_for_everybody(self, sandbox, cache):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        results = []
        threads = [
            threading.Thread(
                target=lambda: results.append(check_unasked(WeChatMiniProgram(config, cache)))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [RealNameResult.MATCH] * 8
        assert list(cache.values) == [f"wechat:stable_token:{config.app_id}"]

    def test_is_fetched_again_when_wechat_no_longer_takes_it(self, sandbox, cache):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        cache.set(f"wechat:stable_token:{config.app_id}", "outdated", ex=60)
        assert check_unasked(WeChatMiniProgram(config, cache)) is RealNameResult.MATCH

    def test_is_fetched_without_a_cache(self, sandbox):
        config = sandbox.keys.wechat_mini_program_config(sandbox.url)
        assert check_unasked(WeChatMiniProgram(config, DeadCache())) is RealNameResult.MATCH
