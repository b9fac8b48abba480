"""The stage's way to the sandbox: for the faces, for no other site's page."""

import pytest
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


class TestSandbox:
    def test_is_reached_through_the_stage(self, client: FlaskClient) -> None:
        answer = client.get("/sandbox/control/faults", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.get_json()["described"]
        assert client.post("/sandbox/control/pay", json={}).status_code == 422

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_is_not_reached_from_another_sites_page(self, client: FlaskClient, site: str) -> None:
        answer = client.post("/sandbox/control/faults", data="{}", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403

    def test_shows_its_controls_only(self, client: FlaskClient) -> None:
        for path in ("merchant", "pay", "gateway.do"):
            assert client.get(f"/sandbox/{path}").status_code == 404
