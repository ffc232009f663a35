"""Every error a person can meet. The message is a sentence for that person; one handler in app.web renders them."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.words import N_, gettext


class AppError(Exception):
    """Something that a person meets. Without a message the class has one; either is in their language by now."""

    words = N_("Something went wrong on our side.")
    status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or gettext(self.words))


class BadConfiguration(AppError):
    """The configuration cannot work."""

    words = N_("The configuration cannot work.")


class NotFound(AppError):
    """Nothing is there, or nothing of theirs."""

    words = N_("There is nothing at this address, or it is not yours to see.")
    status = 404


class Forbidden(AppError):
    """Their role may not."""

    words = N_("This page is for other roles of this project.")
    status = 403


class SignInNeeded(AppError):
    """Nobody is signed in."""

    words = N_("Sign in to go on.")
    status = 401


class Conflict(AppError):
    """The state changed meanwhile."""

    words = N_("Somebody was faster: look at the newest state and try again.")
    status = 409


class TooMany(AppError):
    """Slowed down."""

    words = N_("Too many tries. Wait a little.")
    status = 429

    def __init__(self, message: str | None = None, retry_after: int = 60) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(AppError):
    """A part is away."""

    words = N_("A part of Palate is not ready yet.")
    status = 503


class InvalidConfig(AppError):
    """A recipe's settings cannot work."""

    words = N_("A recipe's settings cannot work.")
    status = 422


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row or form field."""

    field: str
    message: str
    row: int | None = None
    found: str = ""


class InvalidInput(AppError):
    """Something in the input does not fit. Nothing is stored."""

    words = N_("Something in the input does not fit. Nothing is stored.")
    status = 422

    def __init__(self, problems: Sequence[Problem], message: str | None = None) -> None:
        super().__init__(message or "; ".join(f"{p.field}: {p.message}" for p in problems))
        self.problems = list(problems)


class LostFence(AppError):
    """Another worker has taken this job over; this one must stop."""

    words = N_("Another worker has taken this job over; this one must stop.")
    status = 409


class Cancelled(AppError):
    """An admin cancelled this run."""

    words = N_("An admin cancelled this run.")
    status = 409
