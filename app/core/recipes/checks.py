"""What the configs check about themselves before a run is queued."""

from app.core.errors import InvalidConfig


def positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidConfig(f"{name} must be above 0.")


def share(config: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 0.5:
            raise InvalidConfig(f"{name} must be at least 0 and below 0.5.")
