"""The best of n answers is KL = ln n − (n−1)/n away from the policy that wrote them, if they are really drawn from it.

That number knows nothing of the model or the score, so it tests the sampler alone: its distribution and the
independence of the samples of one prompt. With F the distribution of scores, the best has density n·Fⁿ⁻¹, so
KL = ln n + (n−1)·E[ln F].
"""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.base_model import load_tokenizer
from trainer.modeling import Trunk
from trainer.rollout import sample
from trainer.sampling import choose, uniform

torch.set_num_threads(1)
VOCABULARY = 2000


def closed_form(n: int) -> float:
    return math.log(n) - (n - 1) / n


def allowed(n: int, groups: int) -> float:
    """Four standard errors: −ln F of the best is exponential with mean and deviation 1/n."""
    return 4 * (n - 1) / n / math.sqrt(groups)


def draws(logits: Tensor, count: int, *, temperature: float = 1.0, top_p: float = 1.0, distinct: bool = True) -> Tensor:
    """(count,) tokens of the product's sampler, each with its own number."""
    tokens: list[int] = []
    for start in range(0, count, 1000):
        numbers = [uniform(3, 0, start + i if distinct else start) for i in range(1000)]
        tokens += choose(logits.expand(1000, -1), [temperature] * 1000, [top_p] * 1000, numbers)[0]
    return torch.tensor(tokens[:count])


def measured(logits: Tensor, tokens: Tensor, n: int) -> float:
    """KL of the best of each n of `tokens` from softmax(logits); a token's score is its number, which means nothing.

    ln F is averaged over the step of F at the token, so that a discrete score has the continuous one's mean.
    """
    best = tokens.view(-1, n).amax(1)
    high = torch.softmax(logits.double(), 0).cumsum(0)
    low = torch.nn.functional.pad(high, (1, 0))[:-1]
    # P(best = v) = high^n − low^n, against P(v) = high − low
    ratio = (high**n - low**n) / (high - low)
    return float(ratio[best].log().mean())


@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_best_of_n_is_as_far_away_as_the_formula_says(n: int) -> None:
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1))
    groups = 32_000 // n
    assert measured(logits, draws(logits, groups * n), n) == pytest.approx(closed_form(n), abs=allowed(n, groups))


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.5}, {"top_p": 0.7}, {"distinct": False}], ids=["too cold", "filtered", "one number"]
)
def test_a_sampler_that_is_not_the_policy_misses_the_formula(wrong: dict[str, float]) -> None:
    """The control. Scores follow the log-probs here, as any score does that likes what the model likes."""
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1)).sort().values
    right = measured(logits, draws(logits, 32_000), 16)
    assert right == pytest.approx(closed_form(16), abs=allowed(16, 2000))
    assert abs(measured(logits, draws(logits, 32_000, **wrong), 16) - closed_form(16)) > 2 * allowed(16, 2000)  # type: ignore[arg-type]


@pytest.mark.slow
def test_answers_of_one_prompt_are_independent_in_the_whole_decode_loop(tiny_model: Path) -> None:
    """Whole answers of the decode loop, scored by a random direction: F is read off answers of other prompts."""
    trunk, tokenizer = Trunk.load(tiny_model), load_tokenizer(tiny_model)
    prompt = tokenizer.encode_chat([{"role": "user", "content": "Tell me more."}])
    direction = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(2)).double()
    pull = torch.arange(1, 25, dtype=torch.float64).sqrt()

    def scores(groups: int, n: int, seed: int) -> Tensor:
        written = sample(trunk, [prompt] * groups, eos_id=tokenizer.eos_id, n=n, max_tokens=24, seed=seed)
        worth = [float(direction[torch.tensor(t)] @ pull[: len(t)]) for t in written.token_ids]
        return torch.tensor(worth).view(groups, n)

    everybody = scores(400, 16, 1).flatten().sort().values
    for n, groups in ((4, 600), (16, 300)):
        best = scores(groups, n, n).amax(1)
        below = (torch.searchsorted(everybody, best) + 0.5) / (len(everybody) + 1)
        found = math.log(n) + (n - 1) * float(below.log().mean())
        assert found == pytest.approx(closed_form(n), abs=allowed(n, groups)), n
