"""How long one person waits between a key and the next task on the screen, at an idle server, in Chromium.

`python -m pytest tests/browser/bench.py -s` prints it: the time from the key event to the first frame in which the next
task's texts are painted (the second of two animation frames after the change), and the server's time for the answer.
"""

from statistics import median, quantiles

from sqlalchemy.orm import Session

from app.core.records import Project
from tests import factories
from tests.browser.conftest import CODE, LONG, Open

KEYS = 60
REST = 400
"""Milliseconds between two keys."""
WATCH = """() => {
  window.waits = [];
  let pressed = 0;
  addEventListener("keydown", () => { pressed = performance.now(); }, { capture: true });
  new MutationObserver(() => {
    const from = pressed;
    if (!from) return;
    pressed = 0;
    requestAnimationFrame(() => requestAnimationFrame(() => window.waits.push(performance.now() - from)));
  }).observe(document.getElementById("holder"), { childList: true });
}"""


def test_key_to_next_task(db: Session, project: Project, open_label: Open) -> None:
    for number in range(KEYS):
        prompt = factories.make_prompt(db, project, f"Timed question {number}?")
        texts = (f"{LONG}\n\n{number} one", f"{CODE}\n\n{number} two")
        factories.make_task(db, prompt, [factories.make_completion(db, prompt, text) for text in texts])
    db.commit()
    page = open_label()
    page.evaluate(WATCH)
    for number in range(KEYS):
        page.wait_for_timeout(REST)
        page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
    page.wait_for_timeout(REST)
    waits: list[float] = page.evaluate("window.waits")
    server: list[float] = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/answer'))"
        ".map((one) => one.duration)"
    )
    assert len(waits) > 0.9 * KEYS
    for name, times in (("key to next task", waits), ("answer stored", server)):
        print(f"{name}: median {median(times):.1f} ms, p95 {quantiles(times, n=20)[-1]:.1f} ms, {len(times)} keys")
