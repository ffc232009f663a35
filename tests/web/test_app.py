"""The application starts, answers health checks and renders errors for people, fragments and programs."""

from fastapi.testclient import TestClient


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["schema"]) == (200, True)


def test_an_unknown_address_is_a_page_a_fragment_or_json(client: TestClient) -> None:
    page = client.get("/no-such-page")
    assert page.status_code == 404
    assert "<!doctype html>" in page.text
    assert "There is nothing at this address" in page.text
    fragment = client.get("/no-such-page", headers={"HX-Request": "true"})
    assert (fragment.status_code, "<!doctype html>" in fragment.text) == (404, False)
    program = client.get("/no-such-page", headers={"Accept": "application/json"})
    assert (program.status_code, program.json()["error"]) == (404, "Refused")
