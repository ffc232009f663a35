"""The recipe as it is, on a tiny language model and a lexical taste: the reward rises, the KL stays at its target."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.recipes import PpoConfig, RewardModelConfig, make_config
from tests.tiny_model import make_tiny_model
from tests.trainer.bench import lexical_groups, make_context, make_prompts
from trainer.recipes.ppo import train_policy
from trainer.recipes.reward_model import fit_reward_model, load_reward_model
from trainer.rollout import sample

torch.set_num_threads(1)
TARGET = 4.0


@dataclass(frozen=True)
class Learned:
    """Per step: KL in nats, normalised reward. At the ends: letters e per answer, by the taste itself."""

    kl: list[float]
    score: list[float]
    before: float
    after: float


def learn(home: Path, steps: int, **changes: Any) -> Learned:
    """A reward model from comparisons that like the letter e, then PPO on it."""
    context, heard = make_context(make_tiny_model(home / "tiny"), home / "store")
    reward = make_config("reward_model", "tiny")
    assert isinstance(reward, RewardModelConfig)
    fitted = fit_reward_model(reward, lexical_groups(context, 100), context)
    normalisation = load_reward_model(context.trunk, context.store.verify(fitted.digest))
    settings = {
        "steps": steps,
        "prompts_per_step": 16,
        "max_tokens": 16,
        "temperature": 1.0,
        "learning_rate": 5e-3,
        "kl_target": TARGET,
        "kl_horizon": 100.0,
        "kl_coefficient": 0.1,
        "kl_stop": 1000.0,
        "missing_end_score": 10.0,
    }
    config = make_config("ppo", "tiny", settings | changes)
    assert isinstance(config, PpoConfig)
    context.checkpoints.newest = None
    heard.figures.clear()
    prompts = make_prompts(context, 40)
    trained = train_policy(config, prompts, normalisation, context, start=None)
    asked = [prompt.token_ids for prompt in prompts]

    def taste(adapter: str | None) -> float:
        written = sample(
            context.trunk, asked, eos_id=context.tokenizer.eos_id, n=4, max_tokens=16, seed=9, adapter=adapter
        )
        return sum(context.tokenizer.decode(t).count("e") for t in written.token_ids) / len(written.token_ids)

    rows = [heard.figures[step] for step in sorted(heard.figures)]
    return Learned(
        [row["objective/kl"] for row in rows],
        [row["objective/score"] for row in rows],
        taste(None),
        taste(trained.adapter),
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_taste_is_learned_on_a_leash_of_a_few_nats(tmp_path: Path) -> None:
    """The gate: 20 steps, still swinging around the target."""
    learned = learn(tmp_path, 20)
    assert learned.kl[0] == 0
    assert mean(learned.kl[10:]) == pytest.approx(TARGET, rel=0.6)
    assert mean(learned.score[10:]) > learned.score[0] + 0.5
    assert learned.after > 2 * learned.before


def test_without_the_leash_the_policy_runs_away(tmp_path: Path) -> None:
    """The control: the coefficient is 0 and stays there."""
    learned = learn(tmp_path, 6, kl_adaptive=False, kl_coefficient=0.0)
    assert learned.kl[-1] > 5 * TARGET


@pytest.mark.slow
@pytest.mark.parametrize("target", [2.0, 4.0, 8.0])
def test_the_adaptive_coefficient_pins_the_kl_at_its_target(tmp_path: Path, target: float) -> None:
    learned = learn(tmp_path, 100, kl_target=target)
    assert mean(learned.kl[50:]) == pytest.approx(target, rel=0.15)
    assert learned.after > 2 * learned.before
