"""PPO's losses on problems with a closed form: π ∝ π_ref · e^{r/β}, of one token and of many."""

import pytest
import torch
from torch import Tensor

from tests.learning.tables import divergence, learn_table, optimum
from trainer import losses

torch.set_num_threads(1)
COIN = torch.log_softmax(torch.zeros(1, 2), 1)
LETTERS = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(6, 4)
WORTH = torch.tensor([0.0, 0.0, 1.0, 0.5])


def first_is_right(written: Tensor) -> Tensor:
    return (written[:, 0] == 0).float()


def lexical(written: Tensor) -> Tensor:
    return WORTH[written].sum(1)


@pytest.mark.parametrize(
    ("beta", "best", "leash"), [(1.0, 0.7311, 0.1109), (0.5, 0.8808, 0.3278), (0.2, 0.9933, 0.6530)]
)
def test_ppo_finds_the_optimum_of_the_leashed_bandit(beta: float, best: float, leash: float) -> None:
    """One token, two choices, reward (1, 0), a uniform reference."""
    assert float(optimum(COIN, torch.tensor([1.0, 0.0]), beta)[0, 0]) == pytest.approx(best, abs=1e-4)
    found = learn_table(first_is_right, COIN, beta=beta)
    assert float(found[0, 0]) == pytest.approx(best, abs=0.02 if beta > 0.2 else 0.003)
    assert divergence(found, COIN) == pytest.approx(leash, abs=0.03)


@pytest.mark.parametrize("mistake", ["no leash", "the sign of the KL", "the KL twice", "old and reference swapped"])
def test_a_wrong_leash_misses_the_optimum(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: four ways to get the KL term wrong, none of which the tolerance would let pass."""
    right = losses.kl
    wrong = {
        "no leash": lambda p, _: torch.zeros_like(p),
        "the sign of the KL": lambda p, r: -right(p, r),
        "the KL twice": lambda p, r: 2 * right(p, r),
        "old and reference swapped": lambda p, r: right(r, p),
    }
    monkeypatch.setattr(losses, "kl", wrong[mistake])
    found = float(learn_table(first_is_right, COIN, beta=0.5)[0, 0])
    assert abs(found - 0.8808) > 0.05


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_lexical_reward_is_optimal_position_by_position(beta: float) -> None:
    """Six tokens, the score is the sum of what each is worth and arrives once, at the end: the optimum factorises."""
    found = learn_table(lexical, LETTERS, beta=beta, answers=1024)
    best = optimum(LETTERS, WORTH, beta)
    torch.testing.assert_close(found, best, atol=0.03, rtol=0)
    assert divergence(found, LETTERS) == pytest.approx(6 * divergence(best[:1], LETTERS[:1]), rel=0.1)


def test_credit_that_stays_with_the_last_token_misses_the_lexical_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with λ = 0 and no critic to hand it back, the score never reaches the tokens that earned it."""
    right = losses.gae
    monkeypatch.setattr(losses, "gae", lambda r, v, m, **_: right(r, torch.zeros_like(v), m, gamma=1.0, lam=0.0))
    found = learn_table(lexical, LETTERS, beta=0.5, answers=1024)
    assert float((found - optimum(LETTERS, WORTH, 0.5)).abs()[:5].max()) > 0.1
