"""The decode loop and its sampler: log-probs, seeds, stopping, nucleus, and no influence of the rest of the batch."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.test_modeling import disturb
from trainer.base_model import Tokenizer, load_tokenizer
from trainer.modeling import Trunk
from trainer.rollout import DecodeBatch, Request, Rollout, sample
from trainer.sampling import choose, uniform

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trunk(tiny_model: Path) -> Trunk:
    trunk = Trunk.load(tiny_model)
    trunk.add_adapter("policy", rank=4)
    disturb(trunk, "policy")
    return trunk


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    texts = ["Hi", "Tell me about the sea, please.", "A", "Why is the sky blue in the day and black at night?"]
    return [tokenizer.encode_chat([{"role": "user", "content": text}]) for text in texts]


def scored(trunk: Trunk, prompt: list[int], answer: list[int], temperature: float) -> Tensor:
    ids = torch.tensor([[*prompt, *answer]])
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, len(prompt) - 1 : -1] = True
    return trunk.token_logprobs(trunk.hidden(ids), ids.roll(-1, 1), mask, temperature)[0][mask]


@pytest.mark.parametrize("adapter", [None, "policy"])
@pytest.mark.parametrize("rows", [3, 32])
def test_sampled_logprobs_equal_the_scoring_pass(
    trunk: Trunk, tokenizer: Tokenizer, prompts: list[list[int]], adapter: str | None, rows: int
) -> None:
    drawn = sample(
        trunk, prompts, eos_id=tokenizer.eos_id, n=3, max_tokens=40, temperature=0.8, adapter=adapter, max_rows=rows
    )
    with torch.no_grad(), trunk.use(adapter):
        for index, answer, logprobs in zip(drawn.prompt_index, drawn.token_ids, drawn.logprobs, strict=True):
            torch.testing.assert_close(
                torch.tensor(logprobs), scored(trunk, prompts[index], answer, 0.8), atol=1e-4, rtol=0
            )


def test_bf16_logprobs_stay_close_to_the_scoring_pass(tiny_model: Path, prompts: list[list[int]]) -> None:
    """bf16 rounds at other places when shapes differ: 0.05 on average is what the canary allows (docs/training.md)."""
    trunk = Trunk.load(tiny_model, dtype=torch.bfloat16)
    drawn = sample(trunk, prompts, eos_id=2, n=2, max_tokens=24)
    differences = []
    with torch.no_grad():
        for index, answer, logprobs in zip(drawn.prompt_index, drawn.token_ids, drawn.logprobs, strict=True):
            differences.append((torch.tensor(logprobs) - scored(trunk, prompts[index], answer, 1.0)).abs().mean())
    assert float(torch.stack(differences).mean()) < 0.05


def test_text_depends_on_seed_and_not_on_company(trunk: Trunk, tokenizer: Tokenizer, prompts: list[list[int]]) -> None:
    batch = DecodeBatch(trunk, eos_id=tokenizer.eos_id, max_rows=16)
    asked = Request(prompt=prompts[1], n=2, max_tokens=30, seed=11)
    rows = batch.admit([asked, Request(prompt=prompts[3], n=5, max_tokens=12, seed=3)])
    for _ in range(4):
        batch.step()
    rows += batch.admit([Request(prompt=prompts[0], n=4, max_tokens=25, seed=9)])
    while batch.rows:
        batch.step()
    alone = DecodeBatch(trunk, eos_id=tokenizer.eos_id, max_rows=2)
    expected = alone.admit([asked])
    while alone.rows:
        alone.step()
    texts = {row.sample: row.token_ids for row in rows if row.request is asked}
    assert texts == {row.sample: row.token_ids for row in expected}
    assert texts[0] != texts[1]


def test_same_seed_same_rollout_other_seed_another(
    trunk: Trunk, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    def draw(seed: int, rows: int) -> Rollout:
        return sample(trunk, prompts, eos_id=tokenizer.eos_id, n=2, max_tokens=20, seed=seed, max_rows=rows)

    assert draw(1, 32).token_ids == draw(1, 3).token_ids
    assert draw(1, 32).token_ids != draw(2, 32).token_ids
    assert draw(1, 32).prompt_index == [0, 0, 1, 1, 2, 2, 3, 3]


def test_finish_is_stop_with_the_end_token_kept_or_length(
    trunk: Trunk, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    drawn = sample(trunk, prompts, eos_id=tokenizer.eos_id, n=8, max_tokens=30)
    assert {True, False} == set(drawn.finished)
    for answer, finished in zip(drawn.token_ids, drawn.finished, strict=True):
        assert (answer[-1] == tokenizer.eos_id) == finished
        assert tokenizer.eos_id not in answer[:-1]
        assert finished or len(answer) == 30


def test_samples_of_a_prompt_share_its_prefill(
    trunk: Trunk, tokenizer: Tokenizer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trunk.llama is not None
    seen: list[int] = []
    run = trunk.llama.run

    def watched(ids: Tensor, *rest: Any, **options: Any) -> Tensor:
        seen.append(len(ids))
        return run(ids, *rest, **options)

    monkeypatch.setattr(trunk.llama, "run", watched)
    batch = DecodeBatch(trunk, eos_id=tokenizer.eos_id)
    batch.admit([Request(prompt=prompts[1], n=6)])
    assert seen == [len(prompts[1])]


def test_prompts_that_do_not_fit_are_refused(trunk: Trunk) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        DecodeBatch(trunk, eos_id=2).admit([Request(prompt=[5] * 1024)])
    batch = DecodeBatch(trunk, eos_id=-1)
    (row,) = batch.admit([Request(prompt=[5] * 1020, max_tokens=50)])
    while batch.rows:
        batch.step()
    assert (row.finish, row.length) == ("length", 1024)


def test_sampling_is_distributed_as_softmax_says() -> None:
    logits = torch.randn(700, generator=torch.Generator().manual_seed(4)) * 2
    draws = 20_000
    tokens: list[int] = []
    for start in range(0, draws, 1000):
        numbers = [uniform(1, 0, start + i) for i in range(1000)]
        found, logprobs = choose(logits.expand(1000, -1), [0.7] * 1000, [1.0] * 1000, numbers)
        tokens += found
    expected = (logits / 0.7).softmax(-1)
    assert logprobs[-1] == pytest.approx(float(expected[tokens[-1]].log()), abs=1e-5)
    counts = torch.zeros(700).index_add_(0, torch.tensor(tokens), torch.ones(draws))
    # Pearson's statistic over tokens expected at least 5 times; 5 standard deviations from its mean are allowed
    often = expected * draws >= 5
    statistic = float((((counts - expected * draws) ** 2) / (expected * draws))[often].sum())
    freedom = int(often.sum())
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_nucleus_is_the_smallest_set_with_that_mass() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2])
    numbers = [(i + 0.5) / 400 for i in range(400)]
    for top_p, allowed in ((0.39, {1}), (0.41, {1, 3}), (0.8, {1, 3, 4}), (0.9, {1, 2, 3, 4})):
        tokens, _ = choose(probabilities.log().expand(400, -1), [1.0] * 400, [top_p] * 400, numbers)
        shares = Counter(tokens)
        assert set(shares) == allowed
        mass = float(sum(probabilities[list(allowed)]))
        for token, count in shares.items():
            assert count / 400 == pytest.approx(float(probabilities[token]) / mass, abs=0.01)


def test_nucleus_beyond_the_first_sort_is_still_exact() -> None:
    logits = torch.zeros(5000)
    tokens, _ = choose(logits.expand(2, -1), [1.0] * 2, [0.9] * 2, [0.0, 1 - 1e-9])
    assert len(set(tokens)) == 2
    every, _ = choose(logits.expand(500, -1), [1.0] * 500, [0.9] * 500, [i / 500 for i in range(500)])
    assert len(set(every)) == 500


def test_temperature_zero_takes_the_most_probable() -> None:
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(0))
    tokens, logprobs = choose(logits, [0.0] * 6, [1.0] * 6, [0.99] * 6)
    assert tokens == logits.argmax(-1).tolist()
    torch.testing.assert_close(torch.tensor(logprobs), logits.log_softmax(-1).amax(-1), atol=1e-5, rtol=0)


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.full((4, 1000), float("-inf"))
    logits[:, [3, 700]] = 0.0
    tokens, _ = choose(logits, [1.0] * 4, [1.0] * 4, [0.0, 0.4999, 0.5, 1 - 2**-53])
    assert tokens == [3, 3, 700, 700]


def test_uniform_numbers_are_uniform_and_fixed() -> None:
    numbers = torch.tensor([uniform(7, sample, step) for sample in range(50) for step in range(200)])
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.015)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.005)
    assert len(set(numbers.tolist())) > 9900
    assert uniform(7, 0, 0) != uniform(7, 0, 1) != uniform(7, 1, 0) != uniform(8, 0, 0)
