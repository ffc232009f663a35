"""What every recipe is given, and the errors it may raise."""

import math
import time
from dataclasses import dataclass

from app.core.artifacts import ArtifactStore
from app.core.errors import AppError
from trainer.base_model import Tokenizer
from trainer.checkpoints import Checkpoints, Report
from trainer.modeling import Trunk


class RecipeError(AppError):
    """The training cannot go on."""

    words = "The training cannot go on."


@dataclass(frozen=True)
class Context:
    """The trunk and tokenizer of this process, the store, where to report, and the run's checkpoints and seed."""

    trunk: Trunk
    tokenizer: Tokenizer
    store: ArtifactStore
    report: Report
    checkpoints: Checkpoints
    seed: int
    reward_modules: tuple[str, ...] = ()
    """Where reward functions may come from (PALATE_REWARD_MODULES)."""


def must_be_number(loss: float, step: int) -> float:
    """The loss, or RecipeError with a sentence when it is not a number. Steps are counted from 1 for people."""
    if not math.isfinite(loss):
        good = f"the last good checkpoint is step {step - 1}" if step > 1 else "there is no checkpoint yet"
        raise RecipeError(f"The loss is not a number at step {step}; {good}. A smaller learning rate may help.")
    return loss


def fall(learning_rate: float, step: int, steps: int, warmup: int = 0) -> float:
    """Linear from `learning_rate` to 0 after the last step (N+ detail 22); first up to it over `warmup` steps."""
    if step < warmup:
        return learning_rate * (step + 1) / (warmup + 1)
    return learning_rate * (1 - (step - warmup) / (steps - warmup))


class Stopwatch:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        past, self._last = now - self._last, now
        return past
