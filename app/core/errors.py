"""Every error a person can meet. The message is a sentence for that person; one handler in app.web renders them."""

from collections.abc import Sequence
from dataclasses import dataclass


class AppError(Exception):
    """Something went wrong on our side."""

    status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class BadConfiguration(AppError):
    """The configuration cannot work."""


class NotFound(AppError):
    """There is nothing at this address, or it is not yours to see."""

    status = 404


class Forbidden(AppError):
    """This page is for other roles of this project."""

    status = 403


class SignInNeeded(AppError):
    """Sign in to go on."""

    status = 401


class Conflict(AppError):
    """Somebody was faster: look at the newest state and try again."""

    status = 409


class TooMany(AppError):
    """Too many tries. Wait a little."""

    status = 429

    def __init__(self, message: str | None = None, retry_after: int = 60) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(AppError):
    """A part of Palate is not ready yet."""

    status = 503


class InvalidConfig(AppError):
    """A recipe's settings cannot work."""

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

    status = 422

    def __init__(self, problems: Sequence[Problem], message: str | None = None) -> None:
        super().__init__(message or "; ".join(f"{p.field}: {p.message}" for p in problems))
        self.problems = list(problems)


class LostFence(AppError):
    """Another worker has taken this job over; this one must stop."""

    status = 409


class Cancelled(AppError):
    """An admin cancelled this run."""

    status = 409
