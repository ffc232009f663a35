"""What the configs check about themselves before a run is queued."""

from app.core.errors import InvalidConfig
from app.core.words import figure, gettext


def positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidConfig(gettext("%(name)s must be above 0.", name=name))


def share(config: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 0.5:
            raise InvalidConfig(gettext("%(name)s must be at least 0 and below %(most)s.", name=name, most=figure(0.5)))
