"""The room of closings: starting one, its checks, waiving, cancelling."""

import io
import re
from collections.abc import Callable
from datetime import timedelta

from factories import make_holder

from backend import clock
from backend.cards.models import CardState
from backend.cards.service import list_cards
from backend.closings import emptying, service
from backend.closings.models import ClosingState
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


def test_a_closed_account_is_opened_again_once(parts: Parts, staff: Callable[..., Staff]) -> None:
    holder, desk, closing_id = make_holder(parts), staff(Role.CARD_CENTRE), new_id()
    page = f"/console/closings/{closing_id}"
    desk.get("/console/closings")
    desk.post(page, {"holder_number": holder.number, "kind": "leaving", "document": "人事1号"})
    assert "reopenings" not in desk.get(page).text
    later = clock.now() + timedelta(days=4)
    while emptying.advance(closing_id=closing_id, channels=parts.channels, now=later):
        pass
    found = re.search(rf'action="({page}/reopenings/[0-9a-f-]{{36}})"', desk.get(page).text)
    assert found is not None
    over = (clock.business_date(clock.now()) - timedelta(days=1)).isoformat()
    for wrong in ({}, {"document": "x"}, {"document": "x", "valid_until": "someday"}):
        refused = desk.post(found[1], wrong)
        assert refused.status_code == 422
        assert "有效期至" in refused.text
    refused = desk.post(found[1], {"document": "人事9号", "valid_until": over})
    assert refused.status_code == 409
    assert 'value="人事9号"' in refused.text
    last = (clock.business_date(clock.now()) + timedelta(days=99)).isoformat()
    for _ in range(2):
        sent = desk.post(found[1], {"document": "人事9号", "valid_until": last})
        assert (sent.status_code, sent.location) == (303, f"/console/holders/{holder.id}")
    with transaction() as session:
        states = [card.state for card in list_cards(session, holder_id=holder.id)]
        assert service.find(session, closing_id=closing_id).state is ClosingState.CLOSED
    assert sorted(states) == [CardState.CLOSED, CardState.CLOSED, CardState.PENDING]
    assert "reopenings" not in desk.get(page).text


def test_the_roster_leads_to_opening_an_account_again(
    parts: Parts, staff: Callable[..., Staff]
) -> None:
    holder, desk, closing_id = make_holder(parts), staff(Role.CARD_CENTRE), new_id()
    page = f"/console/closings/{closing_id}"
    desk.get("/console/closings")
    desk.post(page, {"holder_number": holder.number, "kind": "leaving", "document": "人事1号"})
    later = clock.now() + timedelta(days=4)
    while emptying.advance(closing_id=closing_id, channels=parts.channels, now=later):
        pass
    assert "按名册复户" not in desk.get(page).text
    row = f"{holder.number},{holder.name},学生,软件2401班,{holder.document},2099-07-01"
    feed = f"学工号,姓名,类别,单位,证件号码,有效期至\n{row}\n".encode()
    checked = desk.post("/console/roster/check", {"file": (io.BytesIO(feed), "a.csv")}).text
    assert "已销户：本人仍在校的" in checked
    assert f'href="{page}"' in checked
    mark = re.search(r'name="checked" value="([0-9a-f]{64})"', checked)
    assert mark is not None
    desk.post("/console/roster/import", {"file": (io.BytesIO(feed), "a"), "checked": mark[1]})
    shown = desk.get(page).text
    assert "导入的名册列有此人，有效期至 2099-07-01" in shown
    path = re.search(rf'action="({page}/reopenings/[0-9a-f-]{{36}})"', shown)
    batch = re.search(r'name="roster_batch_id" value="([0-9a-f-]{36})"', shown)
    assert path is not None
    assert batch is not None
    assert desk.post(path[1], {"roster_batch_id": str(new_id())}).status_code == 409
    assert desk.post(path[1], {"roster_batch_id": batch[1]}).status_code == 303
    with transaction() as session:
        states = [card.state for card in list_cards(session, holder_id=holder.id)]
    assert sorted(states) == [CardState.CLOSED, CardState.CLOSED, CardState.PENDING]
