"""A card is lost and replaced (挂失, 补卡), as the holder and the card centre live it."""

from typing import Any
from uuid import uuid4

import pyotp
from journeys.outsider import Answer, Demo, Phone, ask

MEAL_FEN = 100


class CardCentre:
    """Somebody of the card centre, logged in."""

    def __init__(self, demo: Demo) -> None:
        self.base = f"{demo.said['base_url']}/api/v1/staff"
        said = next(one for one in demo.said["staff"] if one["role"] == "card_centre")
        content = {
            "username": said["username"],
            "password": said["password"],
            "totp": pyotp.TOTP(said["totp_secret"]).now(),
        }
        opened = ask("POST", f"{self.base}/sessions", content)
        assert opened.status == 201, opened
        self.token = opened.body["token"]

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Answer:
        """Call the staff's API."""
        return ask(method, f"{self.base}{path}", content, token=self.token)

    def cards_of(self, phone: Phone, kind: str = "physical") -> list[dict[str, Any]]:
        """Return a holder's cards of one kind, newest first."""
        said = {"holder_number": phone.person["holder_number"]}
        found = self.ask("POST", "/cards/lookups", said)
        assert found.status == 200, found
        return [card for card in found.body["cards"] if card["kind"] == kind]

    def replace(self, card: dict[str, Any], fee_fen: int) -> Answer:
        """Hand out a new card."""
        content = {"cause": "lost", "documents": ["id_document"], "quoted_fee_fen": fee_fen}
        return self.ask("PUT", f"/cards/{card['id']}/replacements/{uuid4()}", content)


class TestReplacement:
    def test_from_the_loss_to_the_new_card(self, demo: Demo):
        phone, centre = demo.holder("20240204"), CardCentre(demo)
        shown = loses_everything(phone)
        (card,) = centre.cards_of(phone)
        quote = centre.ask("GET", f"/cards/{card['id']}/replacement-quote").body
        lacks_one_fen(demo, phone, centre, card, quote)
        order = phone.order("wechat", 100)
        demo.pay(order["out_trade_no"])
        assert phone.sync(order) == "paid"
        asked = phone.ask("PUT", f"/me/replacements/{uuid4()}", {"cause": "lost"})
        assert (asked.status, asked.body["fee_fen"]) == (201, quote["fee_fen"]), asked
        before = phone.balance_fen
        replaced = centre.replace(card, quote["fee_fen"])
        assert replaced.status == 201, replaced
        assert phone.balance_fen == before - quote["fee_fen"]
        new, old = centre.cards_of(phone)
        assert (new["state"], old["state"], old["id"]) == ("active", "void", card["id"])
        is_dead(demo, centre, phone, card, shown)
        lines = phone.get("/me/statement")["items"]
        assert (lines[0]["kind"], lines[0]["amount_fen"]) == ("card_fee", -quote["fee_fen"])
        assert demo.campus_card("prove-ledger").returncode == 0


def loses_everything(phone: Phone) -> dict[str, str]:
    """Card and code stop; return the codes that were on the screen."""
    shown = {scope: phone.code(scope) for scope in ("pay", "gate")}
    said = {"credential": "physical_card", "stop_virtual_card": True}
    assert phone.ask("PUT", f"/me/loss-reports/{uuid4()}", said).status == 201
    return shown


def lacks_one_fen(
    demo: Demo, phone: Phone, centre: CardCentre, card: dict[str, Any], quote: dict[str, Any]
) -> None:
    """Topped up to one fen less than the fee, nothing happens, and the fen is named."""
    short_fen = quote["short_fen"]
    assert short_fen > 1, quote
    order = phone.order("wechat", short_fen - 1)
    demo.pay(order["out_trade_no"])
    assert phone.sync(order) == "paid"
    before = phone.balance_fen
    for refused in (
        centre.replace(card, quote["fee_fen"]),
        phone.ask("PUT", f"/me/replacements/{uuid4()}", {"cause": "lost"}),
    ):
        assert (refused.status, refused.code) == (409, "replacement-fee-short"), refused
        assert refused.body["short_fen"] == 1
    assert phone.balance_fen == before
    assert [one["state"] for one in centre.cards_of(phone)] == ["lost"]


def is_dead(
    demo: Demo, centre: CardCentre, phone: Phone, card: dict[str, Any], shown: dict[str, str]
) -> None:
    """The old card restores nowhere and its codes open nothing; a restored phone goes on."""
    charged = demo.terminal("校园超市 收银台").charge(shown["pay"], MEAL_FEN)
    assert (charged.status, charged.code) == (409, "code-stale")
    passed = demo.terminal("3号宿舍楼 大门").let_pass(shown["gate"])
    assert (passed.body["decision"], passed.body["reason"]) == ("deny", "code-stale")
    restore = {"event": "restore", "documents": ["id_document"], "card_number": "0"}
    refused = centre.ask("PUT", f"/cards/{card['id']}/operations/{uuid4()}", restore)
    assert (refused.status, refused.code) == (409, "replaced")
    (virtual,) = centre.cards_of(phone, "virtual")
    done = centre.ask(
        "PUT",
        f"/cards/{virtual['id']}/operations/{uuid4()}",
        {"event": "restore", "documents": ["id_document"]},
    )
    assert (done.status, done.body["after"]) == (201, "active"), done
    passed = demo.terminal("3号宿舍楼 大门").let_pass(phone.code("gate"))
    assert passed.body["reason"] != "code-stale"
