"""A simulated annotator: takes an invite, signs in, reads the label page and answers it, all over HTTP."""

import random
import secrets
import time
from collections.abc import Mapping, Sequence

import httpx

from app.core.errors import AppError
from app.simulation.character import Character
from app.simulation.hand import Hand
from app.simulation.page import LabelPage, ShownTask

RETRY_SECONDS = 1.0
TALK_SECONDS = 300
"""How long the replies of one turn may take."""


class Turned(AppError):
    """The server refused what a person in a browser could do."""

    words = "The server refused what a person in a browser could do."


class Browser:
    """One person's browser. `patience` is how long it tries while the server does not answer, in seconds."""

    def __init__(self, address: str, project: str, *, name: str, patience: float = 120) -> None:
        self.name = name
        self._at = f"/projects/{project}/label"
        self._patience = patience
        self._email, self._password = "", ""
        self._http = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def join(self, invite: str, email: str) -> None:
        """Make an account from an invite link's token, sign out, and sign in as one does the next morning."""
        self._email, self._password = email, secrets.token_urlsafe(24)
        page = self._read(f"/invite/{invite}")
        account = {"name": self.name, "email": email, "password": self._password}
        self._post(f"/invite/{invite}", account | {"csrf_token": page.csrf}, expects=303)
        self._post("/sign-out", {"csrf_token": self._read("/").csrf}, expects=303)
        self.sign_in()

    def sign_in(self) -> None:
        """Fill in the sign-in form."""
        form = {"csrf_token": self._read("/sign-in").csrf, "email": self._email, "password": self._password}
        self._post("/sign-in", form, expects=303)

    def tasks(self) -> tuple[list[ShownTask], str]:
        """The tasks that stand on the label page now, and its CSRF token. No task while the pool is empty."""
        page = self._read(self._at)
        return [task for task in page.tasks if task.controls or task.state], page.csrf

    def send(self, task: ShownTask, csrf: str, said: dict[str, str], have: Sequence[str] = ()) -> ShownTask | None:
        """Send an answer; the same key again when no acknowledgement came.

        With `have`, the keys of the tasks on the page, the next one that came along; None where none did.
        """
        form: dict[str, str | list[str]] = {**task.form, **said, "csrf_token": csrf, "input_method": "key"}
        response = self._post(
            f"{self._at}/answer", form | ({"have": list(have)} if have else {}), expects=200, accept="application/json"
        )
        following = response.json().get("next")
        return LabelPage(following).tasks[0] if following else None

    def next_task(self, have: Sequence[ShownTask] = ()) -> tuple[ShownTask, str] | None:
        """A task that the page fetches beside those it has, and its CSRF token; None where there is none for them."""
        response = self._send("GET", f"{self._at}/next", params=[("have", task.key) for task in have])
        if response.status_code == 204:
            return None
        if response.status_code != 200:
            raise Turned(f"{self._at}/next answered {response.status_code}.")
        page = LabelPage(response.text)
        return (page.tasks[0], page.csrf) if page.tasks else None

    def skip(self, task: ShownTask, csrf: str) -> None:
        """Leave a task to others."""
        self._post(f"{self._at}/skip", task.form | {"csrf_token": csrf}, expects=200, accept="application/json")

    def close(self) -> None:
        """Close the browser."""
        self._http.close()

    def _read(self, path: str) -> LabelPage:
        response = self._send("GET", path)
        for _ in range(5):
            if not response.is_redirect:
                break
            response = self._send("GET", response.headers["location"])
        if response.status_code != 200:
            raise Turned(f"{path} answered {response.status_code}.")
        return LabelPage(response.text)

    def _post(
        self, path: str, form: Mapping[str, str | list[str]], *, expects: int, accept: str = "text/html"
    ) -> httpx.Response:
        response = self._send("POST", path, data=form, headers={"Accept": accept})
        if response.status_code != expects:
            raise Turned(f"{path} answered {response.status_code}: {response.text[:300]}")
        return response

    def _send(self, method: str, path: str, **options: object) -> httpx.Response:
        """One request, repeated while the server is away or busy, as a browser's outbox does."""
        until = time.monotonic() + self._patience
        while True:
            try:
                response = self._http.request(method, path, **options)  # type: ignore[arg-type]
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
            else:
                if response.status_code not in (429, 500, 502, 503) or time.monotonic() > until:
                    return response
            time.sleep(RETRY_SECONDS)


class Annotator(Browser):
    """A person with a known taste."""

    def __init__(
        self, address: str, project: str, character: Character, *, seed: int, name: str, patience: float = 120
    ) -> None:
        super().__init__(address, project, name=name, patience=patience)
        self._draw = random.Random(seed)  # noqa: S311  answers must be repeatable
        self._hand = Hand(character, self._draw)

    def answer(self, task: ShownTask, csrf: str) -> str:
        """Send one answer, or have a whole talk. Returns the choice or the order, or what kind of form it was."""
        if task.state:
            return self.talk()
        said = self.says(task)
        self.send(task, csrf, said)
        return said.get("choice") or said.get("graded") or said.get("order") or task.field

    def says(self, task: ShownTask) -> dict[str, str]:
        """What this person would send."""
        return self._hand.fill(task)

    def talk(self) -> str:
        """Have the talk on the page to its end, over one to three turns or as many as it needs."""
        wanted, turns = self._draw.randint(1, 3), 0
        while True:
            page = self._read(self._at)
            task = page.tasks[0]
            if task.state == "open":
                self._act("talk/pick", page.csrf, task, self.says(task))
                turns += 1
            elif task.state == "ready" and task.may_end and turns >= wanted:
                break
            else:
                self._ask(task, page.csrf)
        page = self._read(f"{self._at}?end=1")
        self._act("talk/end", page.csrf, page.tasks[0], self.says(page.tasks[0]))
        return "talk"

    def _act(self, act: str, csrf: str, task: ShownTask, said: dict[str, str]) -> None:
        form = {**task.form, **said, "csrf_token": csrf, "input_method": "key"}
        self._post(f"{self._at}/{act}", form, expects=200, accept="application/json")

    def _ask(self, task: ShownTask, csrf: str) -> None:
        """Say something, or ask for the replies that are owed, and wait for them."""
        text = self._hand.message() if task.state == "ready" else ""
        form = {"key": task.key, "token": task.token, "text": text, "csrf_token": csrf}
        path = f"{self._at}/talk/ask"
        response = self._send("POST", path, data=form, headers={"Accept": "text/html"}, timeout=TALK_SECONDS)
        if response.status_code == 409:  # an earlier try was heard after all: the page says how far it is
            time.sleep(RETRY_SECONDS)
        elif response.status_code != 303:
            raise Turned(f"{path} answered {response.status_code}: {response.text[:300]}")
