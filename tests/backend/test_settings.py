"""Settings: every fault at once, and no secret in sight."""

import base64
from pathlib import Path

import pytest

from backend.settings import Settings, SettingsWrong

KEY = base64.b64encode(bytes(range(32))).decode()
GOOD = {
    "CAMPUS_CARD_DATABASE_URL": "postgresql+psycopg://card:db-secret@localhost/card",
    "CAMPUS_CARD_REDIS_URL": "redis://:redis-secret@localhost/0",
    "CAMPUS_CARD_ROOT_KEY": KEY,
    "CAMPUS_CARD_CODE_KEYS": "/keys/codes.json",
    "CAMPUS_CARD_ISSUER": "ecard.example.edu.cn",
    "CAMPUS_CARD_BASE_URL": "https://card.example.edu.cn/",
    "CAMPUS_CARD_PAYMENTS": "/keys/payments.json",
}


def faults(environment: dict[str, str]) -> list[str]:
    """Return what is wrong with an environment."""
    with pytest.raises(SettingsWrong) as wrong:
        Settings.from_environment(environment)
    return str(wrong.value).split("; ")


class TestFromEnvironment:
    def test_takes_what_is_there(self) -> None:
        settings = Settings.from_environment(GOOD)
        assert settings.root_key == bytes(range(32))
        assert settings.base_url == "https://card.example.edu.cn"
        assert settings.code_keys == Path("/keys/codes.json")
        assert (settings.demo, settings.sandbox_url) == (None, None)

    def test_takes_the_usual_names_of_the_two_servers(self) -> None:
        usual = {
            "DATABASE_URL": GOOD["CAMPUS_CARD_DATABASE_URL"],
            "REDIS_URL": GOOD["CAMPUS_CARD_REDIS_URL"],
        }
        rest = {name: text for name, text in GOOD.items() if name[12:] not in usual}
        assert Settings.from_environment(usual | rest) == Settings.from_environment(GOOD)

    def test_its_own_names_come_first(self) -> None:
        settings = Settings.from_environment(GOOD | {"DATABASE_URL": "other", "REDIS_URL": "other"})
        assert settings == Settings.from_environment(GOOD)

    def test_names_every_fault_at_once(self) -> None:
        assert sorted(faults({})) == sorted(f"{name} is not set" for name in GOOD)

    @pytest.mark.parametrize("name", GOOD)
    def test_names_the_one_that_is_missing(self, name: str) -> None:
        assert faults(GOOD | {name: ""}) == [f"{name} is not set"]

    @pytest.mark.parametrize(
        ("key", "fault"),
        [
            ("not base64!", "CAMPUS_CARD_ROOT_KEY is not base64"),
            ("密钥", "CAMPUS_CARD_ROOT_KEY is not base64"),
            ("AAAA", "CAMPUS_CARD_ROOT_KEY is not 32 bytes long"),
            (base64.b64encode(bytes(33)).decode(), "CAMPUS_CARD_ROOT_KEY is not 32 bytes long"),
        ],
    )
    def test_says_what_is_wrong_with_the_root_key(self, key: str, fault: str) -> None:
        said = faults(GOOD | {"CAMPUS_CARD_ROOT_KEY": key})
        assert said == [fault]
        assert key not in repr(said)

    def test_wants_https_outside_the_demo(self) -> None:
        plain = GOOD | {"CAMPUS_CARD_BASE_URL": "http://127.0.0.1:8000"}
        assert faults(plain) == ["CAMPUS_CARD_BASE_URL must be https outside the demo"]
        demo = Settings.from_environment(plain | {"CAMPUS_CARD_DEMO": "var/demo.json"})
        assert (demo.base_url, demo.demo) == ("http://127.0.0.1:8000", Path("var/demo.json"))


class TestRepr:
    def test_shows_no_secret(self) -> None:
        shown = repr(Settings.from_environment(GOOD))
        assert "ecard.example.edu.cn" in shown
        for secret in ("db-secret", "redis-secret", KEY, repr(bytes(range(32)))):
            assert secret not in shown
