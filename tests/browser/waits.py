"""What browser tests wait for: signs that the page itself gives, not a length of time."""

from playwright.sync_api import Page

TAKES_KEYS = """() => {
    const dock = document.getElementById("dock");
    return !dock || dock.hidden || "awake" in dock.dataset;
}"""


def awake(page: Page) -> None:
    """The task on the screen takes an answer (it does not in its first moment), or there is none."""
    page.wait_for_function(TAKES_KEYS)
