"""Reward terms: what each computes, how they add up, and what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from app.core.errors import InvalidConfig
from app.core.recipes import make_config
from app.core.settings import Settings
from trainer.context import RecipeError
from trainer.rewards import MAKERS, Written, make_rewards

OURS = "tests.trainer.test_rewards"


def letters(prompts: list[str], texts: list[str]) -> list[float]:
    """A reward function: how often the letter e stands in an answer."""
    assert len(prompts) == len(texts)
    return [float(text.count("e")) for text in texts]


def too_few(prompts: list[str], texts: list[str]) -> list[float]:
    return [0.0]


def broken(prompts: list[str], texts: list[str]) -> list[float]:
    return [1 / 0 for _ in texts]


def endless(prompts: list[str], texts: list[str]) -> list[float]:
    return [float("inf") for _ in texts]


def written(members: torch.Tensor | None = None) -> Written:
    return Written(
        prompts=["ask"] * 3,
        texts=["eel", "tea", "no"],
        lengths=torch.tensor([4, 5, 10]),
        finished=torch.tensor([True, True, False]),
        members=torch.tensor([[1.0, 3.0], [0.0, 0.0], [-1.0, 1.0]]) if members is None else members,
    )


def of(*terms: dict[str, Any], allowed: Sequence[str] = (OURS,)) -> list[float]:
    return make_rewards(list(terms), allowed).of(written())[0].tolist()


def test_each_term_computes_what_its_file_says() -> None:
    assert of({"term": "reward_model"}) == [2, 0, 0]
    assert of({"term": "ensemble", "options": {"deviations": 0.5}}) == [1.5, 0, -0.5]
    assert of({"term": "ensemble", "options": {"deviations": 0}}) == of({"term": "reward_model"})
    assert of({"term": "length"}) == [-4, -5, -10]
    assert of({"term": "length", "options": {"target": 5}}) == [-1, 0, -5]
    assert of({"term": "missing_end"}) == [0, 0, -1]
    assert of({"term": "python", "options": {"function": f"{OURS}:letters"}}) == [2, 1, 0]
    assert set(MAKERS) == {"reward_model", "ensemble", "length", "missing_end", "python"}


def test_terms_add_up_by_weight_and_each_is_logged() -> None:
    rewards = make_rewards(
        [{"term": "reward_model", "weight": 2}, {"term": "missing_end"}, {"term": "length", "weight": 0.1}]
    )
    scores, figures = rewards.of(written())
    assert scores.tolist() == pytest.approx([4 - 0.4, -0.5, -1 - 1])
    assert figures["reward_term/missing_end"] == pytest.approx(-1 / 3)
    assert figures["reward_term/length_std"] == pytest.approx(float(torch.tensor([4.0, 5, 10]).std(correction=0)))
    assert len(figures) == 6
    assert rewards.ask_model
    assert not make_rewards([{"term": "length"}]).ask_model


def test_one_member_cannot_disagree() -> None:
    one = torch.tensor([[1.0], [2.0], [3.0]])
    scores, _ = make_rewards([{"term": "ensemble"}]).of(written(one))
    assert scores.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ([], "reward_terms is empty"),
        ([{"term": "beauty"}], "A reward term looks like"),
        (["length"], "A reward term looks like"),
        ([{"term": "length"}, {"term": "length"}], "names length twice"),
        ([{"term": "length", "weight": 0}], "must be a number other than 0"),
        ([{"term": "length", "weight": "much"}], "must be a number other than 0"),
        ([{"term": "length", "goal": 3}], "nothing but term, weight and options"),
        ([{"term": "length", "options": {"goal": 3}}], "The options of reward term length are: target"),
        ([{"term": "length", "options": {"target": -1}}], "length.target must be at least 0"),
        ([{"term": "python", "options": {"function": "os.system"}}], "package.module:function"),
    ],
)
def test_a_term_that_cannot_work_is_refused_with_its_config(terms: list[Any], says: str) -> None:
    with pytest.raises(InvalidConfig, match=says):
        make_config("rloo", overrides={"reward_terms": terms})


def test_only_named_modules_are_imported(settings: Settings) -> None:
    row = {"term": "python", "options": {"function": "os:getcwd"}}
    with pytest.raises(RecipeError, match="os:getcwd may not be used: PALATE_REWARD_MODULES"):
        make_rewards([row], ())
    assert settings.allowed_rewards == ()
    named = settings.model_copy(update={"reward_modules": "taste.ours, taste.theirs,"})
    assert named.allowed_rewards == ("taste.ours", "taste.theirs")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("too_few", "gave 1 numbers for 3 answers"),
        ("broken", "raised ZeroDivisionError"),
        ("endless", "something else than a number"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_a_function_that_goes_wrong_is_named(function: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        of({"term": "python", "options": {"function": f"{OURS}:{function}"}})


def test_without_a_reward_model_its_terms_say_so() -> None:
    bare = Written(["ask"], ["eel"], torch.tensor([3]), torch.tensor([True]), None)
    with pytest.raises(RecipeError, match="none was run"):
        make_rewards([{"term": "reward_model"}]).of(bare)
