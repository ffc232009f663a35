"""In which language somebody is answered, and who decides it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.records import Project, User
from app.core.words import ENGLISH, gettext, ngettext, speak, speaking
from app.web.words import ago, asked_for, languages, moment, number, percent
from tests.web.browser import post, sign_in

GERMAN = languages()["de"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("en;q=0.2, DE-de;q=0.7", "de"),
        ("fr, nl;q=0.5", "en"),
        ("fr, de;q=0.5", "de"),
        ("de;q=0, en", "en"),
        ("de;q=nonsense, *", "en"),
        ("xx-nothing-at-all; de", "en"),
    ],
)
def test_a_browser_asks(header: str, code: str) -> None:
    assert asked_for(header).code == code


def test_what_one_thread_learns_the_others_hear() -> None:
    """Handlers run in threads with copies of the context: the language is written on one slip for all of them."""
    from contextvars import copy_context

    with speaking(ENGLISH), ThreadPoolExecutor(1) as threads:
        context = copy_context()
        threads.submit(context.run, speak, GERMAN).result()
        assert gettext("Saved.") == "Gespeichert."
    assert gettext("Saved.") == "Saved."
    speak(GERMAN)  # outside of a request nothing is spoken of
    assert gettext("Saved.") == "Saved."


def test_numbers_and_dates_are_those_of_the_language() -> None:
    now = datetime(2026, 11, 22, 16, 4, tzinfo=UTC)
    spans = [timedelta(seconds=10), timedelta(minutes=4), timedelta(hours=1), timedelta(days=3), -timedelta(days=1)]
    said = [ago(now - span, now) for span in spans]
    assert said == ["just now", "4 minutes ago", "1 hour ago", "3 days ago", "in 1 day"]
    assert (moment(now), number(12480.5, 1), percent(0.718, 1)) == ("2026-11-22 16:04 UTC", "12,480.5", "71.8\u00a0%")
    with speaking(GERMAN):
        said = [ago(now - span, now) for span in spans]
        assert said == ["gerade eben", "vor 4 Minuten", "vor 1 Stunde", "vor 3 Tagen", "in 1 Tag"]
        assert (number(12480.5, 1), percent(0.718, 1)) == ("12.480,5", "71,8\u00a0%")
        assert moment(now).startswith("22.11.2026")
        assert ngettext("%(n)s passage marked", "%(n)s passages marked", 1) == "1 Stelle markiert"


def test_a_stranger_is_answered_as_the_browser_asks(client: TestClient) -> None:
    page = client.get("/sign-in", headers={"Accept-Language": "de-CH,de"})
    assert '<html lang="de" dir="ltr"' in page.text
    assert ("Passwort" in page.text, "Password" in page.text) == (True, False)
    gone = client.get("/nowhere", headers={"Accept-Language": "de", "Accept": "application/json"})
    assert gone.json()["message"].startswith("Unter dieser Adresse")
    assert '<html lang="en" dir="ltr"' in client.get("/sign-in").text


def test_a_setting_stands_above_the_browser(
    client: TestClient, db: Session, make_user: Callable[..., User], make_project: Callable[..., Project]
) -> None:
    user = make_user()
    make_project(slug="p", members={user: "annotator"})
    sign_in(client, user)
    assert "Your settings" in client.get("/settings").text
    saved = post(client, "/settings", page="/settings", name="Kim", language="de", theme="auto")
    assert saved.status_code == 303
    page = client.get("/settings", headers={"Accept-Language": "en"}).text
    assert ("Ihre Einstellungen" in page, "Gespeichert." in page, 'lang="de"' in page) == (True, True, True)
    # Errors are made in another thread than the one that learned who asks.
    refused = client.get("/projects/p/members", headers={"Accept-Language": "en"})
    assert (refused.status_code, "Nicht für Ihre Rolle" in refused.text) == (403, True)
    gone = client.get("/projects/p/history/nothing", headers={"Accept": "application/json"})
    assert gone.json()["message"].startswith("Unter dieser Adresse")
    post(client, "/settings", page="/settings", name="Kim", language="")
    assert "Your settings" in client.get("/settings").text
    assert "Ihre Einstellungen" in client.get("/settings", headers={"Accept-Language": "de"}).text


def test_a_language_that_nobody_has_is_refused(client: TestClient, db: Session, make_user: Callable[..., User]) -> None:
    user = make_user()
    sign_in(client, user)
    refused = post(client, "/settings", page="/settings", name="Kim", language="tlh")
    assert (refused.status_code, "Choose one of these." in refused.text) == (422, True)
    db.expire_all()
    assert db.get_one(User, user.id).preferences == {}
