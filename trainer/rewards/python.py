"""Any Python function: `package.module:function` takes prompts and answers as lists of text and gives a number each.

Only modules that the machine's owner named in PALATE_REWARD_MODULES are imported: a project's admin chooses among
them, and cannot make the trainer run anything else.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from trainer.context import RecipeError
from trainer.rewards.written import Term, Written


def make(options: Mapping[str, Any], allowed: Sequence[str]) -> Term:
    """Import `function`. Raises RecipeError when it is not allowed or not there."""
    name = str(options["function"])
    function = find(name, allowed)

    def term(written: Written) -> Tensor:
        try:
            given = [float(value) for value in function(list(written.prompts), list(written.texts))]
        except Exception as error:  # other people's code may raise anything; its words go on the page
            raise RecipeError(f"Reward function {name} raised {type(error).__name__}: {error}") from error
        if len(given) != len(written.texts):
            raise RecipeError(f"Reward function {name} gave {len(given)} numbers for {len(written.texts)} answers.")
        return torch.tensor(given)

    return term


def find(name: str, allowed: Sequence[str]) -> Callable[[list[str], list[str]], Sequence[float]]:
    """The function behind `module:function`."""
    module, _, attribute = name.partition(":")
    if module not in allowed:
        named = ", ".join(allowed) or "none"
        raise RecipeError(
            f"Reward function {name} may not be used: PALATE_REWARD_MODULES names the modules that may be ({named})."
        )
    try:
        function = getattr(import_module(module), attribute, None)
    except Exception as error:  # importing runs other people's code, which may raise anything
        raise RecipeError(f"Module {module} of reward function {name} cannot be imported: {error}") from error
    if not callable(function):
        raise RecipeError(f"Module {module} has no function {attribute!r}.")
    found: Callable[[list[str], list[str]], Sequence[float]] = function
    return found
