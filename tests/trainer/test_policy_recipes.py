"""PPO and RLOO on the tiny model, with everything that can be chosen: they learn, resume, and stop when one is off."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.errors import InvalidConfig
from app.core.recipes import PolicyConfig, PpoConfig, RlooConfig, make_config
from tests.tiny_model import make_tiny_model
from tests.trainer.bench import Heard, make_context, make_prompts
from trainer import losses, trials, updates
from trainer.averaging import follow
from trainer.candidates import Trained
from trainer.checkpoints import Checkpoints
from trainer.context import Context, RecipeError, fall
from trainer.critics import prepare_critic
from trainer.data import pad
from trainer.experience import AVERAGE, BEST, POLICY, Experience, check, cut, judge, speak
from trainer.mix import make_mix
from trainer.recipes.ppo import train_policy
from trainer.recipes.reward_model import NAME as REWARD
from trainer.recipes.reward_model import Normalisation
from trainer.recipes.rloo import train_policy_rloo
from trainer.rewards import make_rewards
from trainer.updates import learn, ppo_teaching

TERMS = [{"term": "python", "options": {"function": "tests.trainer.test_rewards:letters"}}]
SHORT: dict[str, Any] = {
    "steps": 3,
    "prompts_per_step": 4,
    "samples_per_prompt": 4,
    "max_tokens": 12,
    "learning_rate": 1e-2,
    "reward_terms": TERMS,
    "kl_stop": 1000.0,
}
PLAIN = Normalisation(0.0, 1.0, 1.0)


@dataclass
class Cut(Heard):
    """A report at which the run dies when it begins a step."""

    at: int = 10**6

    def progress(self, step: int, phase: str) -> None:
        if step == self.at:
            raise KeyboardInterrupt
        super().progress(step, phase)


def setting(tmp_path: Path, *, at: int = 10**6, newest: str | None = None) -> tuple[Context, Cut]:
    """A trunk with a reward model that nothing has fitted."""
    model = tmp_path / "tiny"
    if not model.exists():
        make_tiny_model(model)
    context, _ = make_context(model, tmp_path / "store")
    heard = Cut(at=at)
    context = replace(
        context,
        report=heard,
        checkpoints=Checkpoints(context.store, heard, "run", newest),
        reward_modules=("tests.trainer.test_rewards",),
    )
    context.trunk.add_adapter(REWARD, seed=3)
    context.trunk.add_head(REWARD, seed=3)
    return context, heard


def run(context: Context, config: PolicyConfig, prompts: int = 24) -> Trained:
    asked = make_prompts(context, prompts)
    if isinstance(config, RlooConfig):
        return train_policy_rloo(config, asked, PLAIN, context, start=None)
    assert isinstance(config, PpoConfig)
    return train_policy(config, asked, PLAIN, context, start=None)


def config_of(recipe: str, **changes: Any) -> PolicyConfig:
    made = make_config(recipe, overrides={**SHORT, **changes})
    assert isinstance(made, PolicyConfig)
    return made


def fitting(config: PolicyConfig) -> PpoConfig:
    assert isinstance(config, PpoConfig)
    return config


def without_times(figures: Mapping[int, Mapping[str, float]]) -> dict[tuple[int, str], float]:
    return {
        (step, name): value
        for step, row in figures.items()
        for name, value in row.items()
        if not name.startswith("time/")
    }


def test_rloo_learns_what_a_function_likes(tmp_path: Path) -> None:
    context, heard = setting(tmp_path)
    trained = run(context, config_of("rloo", steps=10, prompts_per_step=8, kl_coefficient=0.01, kl_adaptive=False))
    scores = [heard.figures[step]["objective/score"] for step in range(1, 11)]
    assert sum(scores[-2:]) > sum(scores[:2]) + 0.6, scores
    assert heard.figures[1]["policy/ratio_first"] == 0
    assert heard.figures[1]["objective/kl"] == heard.figures[1]["objective/kl_k3"] == 0
    assert heard.figures[1]["reward_term/python"] == heard.figures[1]["objective/score"]
    assert {path.name for path in context.store.verify(trained.digest).iterdir()} >= {"adapter.safetensors"}


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("rloo", {"kl_place": "loss", "kl_estimator": "k2", "normalise_advantages": True, "ema_decay": 0.5}),
        ("ppo", {"critic": "policy", "critic_detach": False, "kl_place": "loss", "kl_estimator": "k3"}),
        (
            "ppo",
            {
                "critic": "adapter",
                "trial_every": 1,
                "trial_prompts": 8,
                "candidate": "average",
                "ema_decay": 0.9,
                "dual_clip": 3.0,
                "warmup_steps": 1,
                "ptx_coefficient": 0.5,
                "ptx_texts": ["a small text", "another one"],
            },
        ),
    ],
)
def test_an_interrupted_run_ends_with_the_same_numbers(tmp_path: Path, recipe: str, changes: dict[str, Any]) -> None:
    config = config_of(recipe, **changes)
    context, whole = setting(tmp_path)
    expected = run(context, config)
    context, first = setting(tmp_path, at=2)
    with pytest.raises(KeyboardInterrupt):
        run(context, config)
    context, second = setting(tmp_path, newest=first.digests[-1])
    resumed = run(context, config)
    assert {1, 2} == set(first.figures)
    assert {3} == set(second.figures)
    assert without_times(first.figures | second.figures) == without_times(whole.figures)
    assert resumed.adapter == expected.adapter
    assert resumed.digest == expected.digest


def judged(tmp_path: Path, config: PpoConfig) -> tuple[Context, Experience]:
    """A batch of a fresh policy, just judged."""
    context, _ = setting(tmp_path)
    context.trunk.add_adapter(POLICY, seed=1)
    critic = prepare_critic(config, context, PLAIN, None)
    asked = make_prompts(context, 4)
    rollout = speak(context, asked, config, 0)
    terms = make_rewards(config.reward_terms, context.reward_modules)
    return context, judge(context, asked, rollout, PLAIN, config=config, rewards=terms, critic=critic, step=0)


def policy_gradient(tmp_path: Path, **changes: Any) -> list[torch.Tensor]:
    """The gradient of the first optimiser step."""
    config = config_of("ppo", minibatches=1, epochs=1, gradient_clip=1e9, **changes)
    assert isinstance(config, PpoConfig)
    context, experience = judged(tmp_path, config)
    critic = prepare_critic(config, context, PLAIN, None)
    with torch.no_grad():
        critic.trunk.head("value").weight.fill_(0.1)
    rewards = losses.token_rewards(experience.scores, experience.old * 0, experience.mask, 1.0)
    advantages, returns = losses.gae(rewards, experience.values, experience.mask, gamma=1.0, lam=1.0)
    kept: list[torch.Tensor] = []

    class Keep(torch.optim.SGD):
        def step(self, _closure: Any = None) -> None:  # type: ignore[override]
            kept.extend(p.grad.clone() for p in context.trunk.parameters_of(POLICY) if p.grad is not None)

    learn(
        config,
        context,
        experience,
        ppo_teaching(config, experience, critic, advantages=advantages, returns=returns, coefficient=0.1),
        optimiser=Keep(context.trunk.parameters_of(POLICY), lr=0.0),
        critic=critic.parameters(),
        mix=make_mix(config, context),
        step=0,
    )
    return kept


def apart(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def test_a_critic_on_the_policy_moves_it_only_where_asked(tmp_path: Path) -> None:
    alone = policy_gradient(tmp_path, critic="head")
    detached = policy_gradient(tmp_path, critic="policy")
    shared = policy_gradient(tmp_path, critic="policy", critic_detach=False, value_coefficient=1.0)
    assert apart(alone, detached) < 1e-7
    assert apart(alone, shared) > 1e-3


def test_the_budget_of_tokens_changes_no_gradient(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"critic": "policy", "critic_detach": False, "kl_place": "loss", "kl_estimator": "k2"}
    whole = policy_gradient(tmp_path, micro_batch_tokens=100_000, **changes)
    assert max(float(g.abs().max()) for g in whole) > 1e-3
    assert apart(whole, policy_gradient(tmp_path, micro_batch_tokens=40, **changes)) < 1e-6


def test_the_budget_of_tokens_changes_no_gradient_of_rloo(tmp_path: Path) -> None:
    def gradient(budget: int) -> list[torch.Tensor]:
        context, experience = judged(tmp_path, fitting(config_of("ppo")))
        config = config_of("rloo", micro_batch_tokens=budget, kl_place="loss", kl_estimator="k2")
        assert isinstance(config, RlooConfig)
        rows = list(range(len(experience.sequences)))
        size = updates.Size(experience.mask.sum(), len(rows))
        advantages = losses.leave_one_out(experience.scores, 4)
        teach = updates.rloo_teaching(config, experience, advantages=advantages, coefficient=0.1)
        for places, batch in cut(context, experience.sequences, rows, budget):
            with context.trunk.use(POLICY):
                states = batch.at_answer(context.trunk.read(batch))
            new, _ = context.trunk.token_logprobs(states, batch.targets, batch.mask, config.temperature)
            teach(places, batch, new, states, size)
        return [p.grad.clone() for p in context.trunk.parameters_of(POLICY) if p.grad is not None]

    whole = gradient(100_000)
    assert max(float(g.abs().max()) for g in whole) > 1e-3
    assert apart(whole, gradient(40)) < 1e-6


def test_texts_that_are_mixed_in_pull_towards_themselves(tmp_path: Path) -> None:
    config = config_of("ppo", ptx_coefficient=2.0, ptx_texts=["one text", "a longer text"], ptx_batch=2)
    context, _ = setting(tmp_path)
    context.trunk.add_adapter(POLICY, seed=1)
    mix = make_mix(config, context)
    assert mix is not None
    mean = mix.teach(config, context, POLICY, 0)
    given = [p.grad.clone() for p in context.trunk.parameters_of(POLICY) if p.grad is not None]
    for parameter in context.trunk.parameters_of(POLICY):
        parameter.grad = None
    batch = pad(mix.sequences, 0)
    with context.trunk.use(POLICY):
        logits = context.trunk.logits(batch.at_answer(context.trunk.hidden(batch.ids))).float()
    every = torch.log_softmax(logits, -1).gather(-1, batch.targets[..., None])[..., 0]
    slow = -every[batch.mask].mean()
    (2.0 * slow).backward()  # type: ignore[no-untyped-call]
    assert mean == pytest.approx(float(slow.detach()), abs=1e-5)
    own = [p.grad for p in context.trunk.parameters_of(POLICY) if p.grad is not None]
    assert apart(given, own) < 1e-5
    assert sorted(mix.rows(2, 1, 5)) == [0, 1]


def test_the_average_follows_the_policy(tmp_path: Path) -> None:
    context, _ = setting(tmp_path)
    context.trunk.add_adapter(POLICY, seed=1)
    context.trunk.copy_adapter(POLICY, AVERAGE)
    before = context.trunk.parameters_of(AVERAGE)[0].detach().clone()
    with torch.no_grad():
        context.trunk.parameters_of(POLICY)[0].add_(1.0)
    for decay, moved in ((0.0, 0.0), (0.75, 0.25)):
        follow(config_of("ppo", ema_decay=decay), context.trunk)
        assert torch.allclose(context.trunk.parameters_of(AVERAGE)[0] - before, torch.tensor(moved), atol=1e-6)


def test_the_best_trial_is_the_candidate_and_its_prompts_are_never_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, heard = setting(tmp_path)
    tried: list[list[torch.Tensor]] = []
    hold = trials.hold_trial

    def listen(*args: Any, **kwargs: Any) -> dict[str, float]:
        tried.append([p.detach().clone() for p in context.trunk.parameters_of(POLICY)])
        return hold(*args, **kwargs)

    monkeypatch.setattr(trials, "hold_trial", listen)
    config = config_of("rloo", trial_every=1, trial_prompts=8)
    trained = run(context, config)
    scores = [heard.figures[step]["trial/score"] for step in (1, 2, 3)]
    best = max(range(3), key=lambda i: (scores[i], i))
    assert trained.adapter == BEST
    assert apart(tried[best], [p.detach() for p in context.trunk.parameters_of(BEST)]) == 0
    prompts = make_prompts(context, 24)
    assert trials.set_apart(config, prompts) == (prompts[:16], prompts[16:])
    with pytest.raises(RecipeError, match="Trials keep 8 of 12 training prompts"):
        trials.set_apart(config, prompts[:12])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kl_estimator": "k3"}, "k3 in the reward would punish a token that became too rare"),
        ({"kl_place": "loss"}, "k1 as a loss pulls nowhere"),
        ({"dual_clip": 1.0}, "dual_clip must be above 1"),
        ({"critic": "brain"}, "head, adapter or policy"),
        ({"warmup_steps": 3}, "warmup_steps must be below steps"),
        ({"candidate": "average"}, "needs an ema_decay"),
        ({"ptx_coefficient": 1.0}, "needs ptx_texts"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidConfig, match=says):
        config_of("ppo", **changes)


def test_rloo_needs_others_to_compare_with() -> None:
    with pytest.raises(InvalidConfig, match="at least 2"):
        config_of("rloo", samples_per_prompt=1)


def test_the_learning_rate_rises_then_falls() -> None:
    assert [fall(1.0, step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [fall(1.0, step, 6, 2) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])


# What is checked while it runs, broken on purpose.


def test_a_ratio_that_is_not_one_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="every probability ratio must be 1, but one is off by"):
        updates.first_ratio(1e-3, torch.float32)
    config = config_of("ppo")
    assert isinstance(config, PpoConfig)
    context, experience = judged(tmp_path, config)
    critic = prepare_critic(config, context, PLAIN, None)
    with torch.no_grad():
        for layer in context.trunk.parameters_of(POLICY):
            layer.add_(0.01)
    empty = torch.zeros_like(experience.old)
    teach = ppo_teaching(config, experience, critic, advantages=empty, returns=empty, coefficient=0.0)
    optimiser = torch.optim.SGD(context.trunk.parameters_of(POLICY), lr=0.1)
    with pytest.raises(RecipeError, match="every probability ratio must be 1"):
        learn(config, context, experience, teach, optimiser=optimiser, critic=critic.parameters(), mix=None, step=0)


def test_a_fresh_policy_that_is_not_the_base_stops_the_run(tmp_path: Path) -> None:
    config = config_of("ppo")
    assert isinstance(config, PpoConfig)
    _, experience = judged(tmp_path, config)
    assert check(experience, config, torch.float32, fresh=True) < 1e-4
    off = replace(experience, reference=experience.reference + 1e-4)
    with pytest.raises(RecipeError, match="A fresh policy should equal the base model"):
        check(off, config, torch.float32, fresh=True)
    check(off, config, torch.float32, fresh=False)


def test_answers_of_another_policy_stop_the_run(tmp_path: Path) -> None:
    config = config_of("ppo")
    assert isinstance(config, PpoConfig)
    _, experience = judged(tmp_path, config)
    off = replace(experience, sampled=experience.sampled * 1.1)
    with pytest.raises(RecipeError, match="The sampler and the trainer disagree"):
        check(off, config, torch.float32, fresh=False)
