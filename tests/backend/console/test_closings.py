"""The room of closings: starting one, its checks, waiving, cancelling."""

from collections.abc import Callable

from factories import make_holder

from backend.closings import service
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role

from .conftest import Staff


def test_the_card_centre_starts_waives_and_cancels(
    parts: Parts, staff: Callable[..., Staff]
) -> None:
    holder, desk = make_holder(parts, balance_fen=1200), staff(Role.CARD_CENTRE)
    closing_id = new_id()
    page = f"/console/closings/{closing_id}"
    desk.get("/console/closings")
    sent = {"holder_number": holder.number, "kind": "leaving", "document": "人事1号"}
    for _ in range(2):
        assert desk.post(page, sent).status_code == 303
    shown = desk.get(page)
    assert holder.number in shown.text
    assert holder.name not in shown.text
    assert "等待期" in shown.text
    assert (
        desk.post(f"{page}/waivers", {"check": "waiting", "reason": "无脱机终端"}).status_code
        == 303
    )
    assert desk.post(f"{page}/waivers", {"check": "waiting", "reason": ""}).status_code == 422
    with transaction() as session:
        assert service.waived_of(service.find(session, closing_id=closing_id)) == ["waiting"]
    assert holder.number in desk.get("/console/closings").text
    assert desk.post(f"{page}/cancellation").status_code == 303
    assert "已撤销" in desk.get(page).text
