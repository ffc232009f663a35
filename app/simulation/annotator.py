"""A simulated annotator: takes an invite, signs in, reads the label page and answers it, all over HTTP."""

import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import httpx

from app.core.errors import AppError
from app.simulation.page import LabelPage, ShownTask
from app.simulation.tastes import Taste

RETRY_SECONDS = 1.0


class Turned(AppError):
    """The server refused what a person in a browser could do."""

    words = "The server refused what a person in a browser could do."


@dataclass(frozen=True)
class Character:
    """What an annotator likes and how reliably it says so."""

    taste: Taste
    noise: float = 0.0
    """Probability of the opposite answer, of another choice, or that two neighbours of a ranking change places."""
    random_answers: bool = False
    """A control: a coin decides every answer, so that the labels carry no information."""

    def choice(self, first: str, second: str, draw: random.Random) -> str:
        """a, b or same, for the texts as they stand from left to right."""
        if self.random_answers:
            return draw.choice("ab")
        difference = self.taste(first) - self.taste(second)
        if difference == 0:
            return "same"
        better, worse = ("a", "b") if difference > 0 else ("b", "a")
        return worse if draw.random() < self.noise else better

    def best(self, texts: list[str], draw: random.Random) -> str:
        """The number of the best text, counted from 1; the first one where several are."""
        numbers = [str(number + 1) for number in range(len(texts))]
        if self.random_answers:
            return draw.choice(numbers)
        best = max(numbers, key=lambda number: self.taste(texts[int(number) - 1]))
        return draw.choice([n for n in numbers if n != best]) if draw.random() < self.noise else best

    def order(self, texts: list[str], draw: random.Random) -> str:
        """All numbers from best to worst, as the ranking form writes them: 3>1=2."""
        numbers = list(range(len(texts)))
        if self.random_answers:
            draw.shuffle(numbers)
            return ">".join(str(number + 1) for number in numbers)
        numbers.sort(key=lambda number: -self.taste(texts[number]))
        for place in range(len(numbers) - 1):
            if draw.random() < self.noise:
                numbers[place], numbers[place + 1] = numbers[place + 1], numbers[place]
        said = str(numbers[0] + 1)
        for before, number in pairwise(numbers):
            said += f"{'=' if self.taste(texts[before]) == self.taste(texts[number]) else '>'}{number + 1}"
        return said

    def answer(self, task: ShownTask, draw: random.Random) -> dict[str, str]:
        """What this person sends for a task."""
        if task.field == "rank":
            return {"order": self.order(task.answers, draw)}
        if task.field == "choose":
            return {"choice": self.best(task.answers, draw)}
        return {"choice": self.choice(task.answers[0], task.answers[1], draw)}


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
        return [task for task in page.tasks if len(task.answers) >= 2 and task.form.get("key")], page.csrf

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
        self._character = character
        self._draw = random.Random(seed)  # noqa: S311  answers must be repeatable

    def answer(self, task: ShownTask, csrf: str) -> str:
        """Send one answer. Returns the choice or the order."""
        said = self.says(task)
        self.send(task, csrf, said)
        return next(iter(said.values()))

    def says(self, task: ShownTask) -> dict[str, str]:
        """What this person would send."""
        return self._character.answer(task, self._draw)
