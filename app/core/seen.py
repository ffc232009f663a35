"""What of a task was read: the answers whose end was on the screen before somebody answered."""

from collections.abc import Sequence

from app.core.errors import InvalidInput, Problem
from app.core.words import gettext


def seen_to_end(display_order: Sequence[int], slots: Sequence[int] | None) -> list[int] | None:
    """Slots as the page names them (places in the order shown) as positions, in the order of the task's segments.

    None stays None: a page without a script knows nothing. Raises InvalidInput for a place not shown, or named twice.
    """
    if slots is None:
        return None
    if len(set(slots)) != len(slots):
        raise InvalidInput([Problem("seen", gettext("An answer is named twice."), found=str(list(slots))[:50])])
    if not all(0 <= slot < len(display_order) for slot in slots):
        words = gettext("This task showed %(n)s answers, counted from 0.", n=len(display_order))
        raise InvalidInput([Problem("seen", words, found=str(list(slots))[:50])])
    return sorted(display_order[slot] for slot in slots)
