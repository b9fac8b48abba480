"""Subsidies over HTTP."""

import json
from typing import Any

import pytest
from factories import balances, make_person, sign_in
from flask import Flask

from backend import clock
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.subsidies import paying

PATH = "/api/v1/staff/subsidy-batches"


@pytest.fixture(scope="module")
def maker(parts: Parts) -> dict[str, str]:
    return sign_in(parts, Role.STUDENT_AFFAIRS)


@pytest.fixture(scope="module")
def checker(parts: Parts) -> dict[str, str]:
    return sign_in(parts, Role.FINANCE)


def said(**more: Any) -> dict[str, Any]:
    return {"name": "补贴", "document_number": "学工〔2026〕18号", "fund": "资助"} | more


def test_from_the_list_to_the_purse_and_back(
    app: Flask, parts: Parts, maker: Any, checker: Any
) -> None:
    client, holder = app.test_client(), make_person(parts)
    csv = f"学工号,金额\n{holder.number},12.50\n"
    report = client.post(f"{PATH}/previews", json={"csv": csv}, headers=maker).get_json()
    assert report == {"rows": 1, "total_fen": 1_250, "faults": []}
    path = f"{PATH}/{new_id()}"
    first, again = (client.put(path, json=said(csv=csv), headers=maker) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == again.get_json()
    assert client.post(f"{path}/approval", headers=maker).status_code == 403
    assert client.post(f"{path}/approval", headers=checker).status_code == 201
    paying.pay_due(now=clock.now())
    assert balances(holder.id) == (0, 1_250)
    full = client.get(path, headers=checker).get_json()
    assert (full["state"], full["paid_count"], full["due_count"]) == ("paid", 1, 0)
    (item,) = client.get(f"{path}/items", headers=checker).get_json()["items"]
    assert (item["holder_number"], item["name_masked"]) == (holder.number, "王**")
    back = f"/api/v1/staff/subsidy-withdrawals/{new_id()}"
    body = {"item_id": item["id"], "reason": "重复"}
    assert client.put(back, json=body, headers=maker).status_code == 201
    assert client.post(f"{back}/approval", headers=checker).get_json()["amount_fen"] == 1_250
    assert balances(holder.id) == (0, 0)
    (item,) = client.get(f"{path}/items", headers=checker).get_json()["items"]
    assert (item["state"], item["withdrawal"]["amount_fen"]) == ("withdrawn", 1_250)
    listed = client.get(PATH, headers=checker).get_json()["items"]
    assert full["id"] in {one["id"] for one in listed}


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({}, 422, "validation-failed"),
        ({"csv": "a", "items": []}, 422, "validation-failed"),
        ({"csv": "学号\n1"}, 422, "subsidy-list-unreadable"),
        ({"csv": "\ud800"}, 422, "subsidy-list-unreadable"),
        ({"csv": "学工号,金额\n\ud800,1"}, 409, "subsidy-rows-faulty"),
        ({"csv": "学工号,金额\n\u0000,1"}, 409, "subsidy-rows-faulty"),
        ({"items": [{"holder_number": "nobody", "amount_fen": 1}]}, 409, "subsidy-rows-faulty"),
        ({"items": [{"holder_number": "nobody", "amount_fen": 1.5}]}, 422, "validation-failed"),
        ({"csv": "学工号,金额\nnobody,1", "pay_on": "2020-01-01"}, 409, "subsidy-day-over"),
        ({"csv": "学工号,金额\nnobody,1", "fund": " "}, 422, "validation-failed"),
    ],
)
def test_bad_input_changes_nothing(
    app: Flask, maker: Any, more: Any, status: int, code: str
) -> None:
    path = f"{PATH}/{new_id()}"
    body = json.dumps(said(**more))  # half a surrogate pair goes as an escape
    answer = app.test_client().put(path, data=body, content_type="application/json", headers=maker)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert app.test_client().get(path, headers=maker).status_code == 404


@pytest.mark.parametrize("role", [Role.CARD_CENTRE, Role.LOGISTICS, Role.AUDITOR, Role.ACADEMIC])
def test_others_make_and_approve_nothing(app: Flask, parts: Parts, role: Role) -> None:
    client, who, path = app.test_client(), sign_in(parts, role), f"{PATH}/{new_id()}"
    body = said(items=[{"holder_number": make_person(parts).number, "amount_fen": 1}])
    assert client.put(path, json=body, headers=who).status_code == 403
    for verb in ("approval", "withdrawal"):
        assert client.post(f"{path}/{verb}", json={"reason": "x"}, headers=who).status_code == 403
