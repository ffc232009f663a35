"""Our own forward pass against transformers' module: hidden states, gradients, shared prompts, rewards, decoding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

from tests.trainer.test_modeling import disturb
from trainer.data import pad, token_batches
from trainer.llama import Llama
from trainer.modeling import Trunk
from trainer.packing import Sequences
from trainer.rollout import sample

torch.set_num_threads(1)

SMALL: dict[str, Any] = {
    "vocab_size": 101,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "hidden_size": 48,
    "intermediate_size": 80,
}
KINDS = {
    "llama": LlamaConfig(**SMALL),
    "llama3, biases": LlamaConfig(
        **SMALL,
        attention_bias=True,
        mlp_bias=True,
        head_dim=12,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 1000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "qwen2": Qwen2Config(**SMALL, use_sliding_window=False),
    "mistral": MistralConfig(**SMALL, sliding_window=None),
}


def tokens(length: int, seed: int) -> list[int]:
    return torch.randint(3, 101, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


PROMPTS = [tokens(7, 1), tokens(1, 2), tokens(12, 3)]
SEQUENCES: Sequences = [
    (PROMPTS[0], tokens(5, 4)),
    (PROMPTS[1], tokens(9, 5)),
    (PROMPTS[0], tokens(1, 6)),
    (PROMPTS[2], tokens(3, 7)),
    (PROMPTS[0], tokens(8, 8)),
]
"""Three answers to the first prompt, one each to the others, mixed."""


@pytest.fixture(params=KINDS)
def trunk(request: pytest.FixtureRequest, tmp_path: Path) -> Trunk:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[request.param])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(tmp_path)
    trunk = Trunk.load(tmp_path)
    trunk.add_adapter("policy", rank=4)
    disturb(trunk, "policy")
    return trunk


def computed(trunk: Trunk, sequences: Sequences, *, own: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Answer states, end states, and gradients of the adapter for a made-up loss on both."""
    batch = pad(sequences, 0)
    with trunk.use("policy"):
        hidden = trunk.read(batch) if own else trunk.hidden(batch.ids)
        answers, ends = batch.at_answer(hidden) * batch.mask[..., None], batch.at_end(hidden)
    weights = torch.linspace(-1, 1, answers.shape[-1])
    loss = (answers * weights).square().sum() + (ends * weights).sum()
    return answers.detach(), ends.detach(), list(torch.autograd.grad(loss, trunk.parameters_of("policy")))


def test_states_and_gradients_equal_the_module(trunk: Trunk) -> None:
    assert trunk.own is not None
    ours, theirs = computed(trunk, SEQUENCES, own=True), computed(trunk, SEQUENCES, own=False)
    for index in range(2):
        torch.testing.assert_close(ours[index], theirs[index], atol=1e-5, rtol=1e-5)
    for our, their in zip(ours[2], theirs[2], strict=True):
        torch.testing.assert_close(our, their, atol=1e-5 * float(their.abs().max()) + 1e-6, rtol=1e-4)


def test_a_shared_prompt_is_there_once_and_changes_nothing(trunk: Trunk) -> None:
    batch = pad(SEQUENCES, 0)
    assert len(batch.packed.ids) == sum(map(len, PROMPTS)) + sum(len(answer) for _, answer in SEQUENCES)
    together = computed(trunk, SEQUENCES, own=True)
    gradients = [torch.zeros_like(gradient) for gradient in together[2]]
    for row, sequence in enumerate(SEQUENCES):
        answers, ends, parts = computed(trunk, [sequence], own=True)
        torch.testing.assert_close(together[0][row, : len(sequence[1])], answers[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[1][row], ends[0], atol=1e-5, rtol=1e-5)
        gradients = [total + part for total, part in zip(gradients, parts, strict=True)]
    for our, their in zip(together[2], gradients, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5 * float(their.abs().max()) + 1e-6, rtol=1e-4)


def test_ends_alone_are_the_same_ends(trunk: Trunk) -> None:
    batch = pad(SEQUENCES, 0)
    with trunk.use("policy"):
        torch.testing.assert_close(trunk.read_ends(batch), batch.at_end(trunk.read(batch)), atol=1e-6, rtol=1e-6)


def test_the_reference_is_the_module_without_adapter(trunk: Trunk) -> None:
    batch = pad(SEQUENCES, 0)
    torch.testing.assert_close(
        batch.at_end(trunk.read(batch)), batch.at_end(trunk.hidden(batch.ids)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("own", [True, False])
def test_a_trained_or_replaced_adapter_is_computed_anew(tiny_model: Path, own: bool) -> None:
    """Casts and joined matrices are kept between passes without gradients; a fused step changes no tensor's version."""
    trunk = Trunk.load(tiny_model, dtype=torch.bfloat16)
    trunk.llama = trunk.llama if own else None
    trunk.add_adapter("policy", rank=4)
    batch = pad([([5, 6, 7], [8, 9])], 0)
    optimiser = torch.optim.AdamW(trunk.parameters_of("policy"), lr=0.1, fused=True)

    def ends(name: str = "policy") -> Tensor:
        with torch.no_grad(), trunk.use(name):
            return trunk.read_ends(batch)

    before = ends()
    with trunk.use("policy"):
        trunk.read_ends(batch).float().square().sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    after = ends()
    assert not torch.equal(after, before)
    trunk.attach("same", trunk.detached("policy"))
    assert torch.equal(ends("same"), after)
    trunk.add_adapter("policy", rank=4)
    assert torch.equal(ends(), before)


def test_a_fresh_adapter_is_exactly_the_base_in_our_pass_too(trunk: Trunk) -> None:
    trunk.add_adapter("fresh", rank=4)
    batch = pad(SEQUENCES, 0)
    base = trunk.read(batch)
    with trunk.use("fresh"):
        assert torch.equal(trunk.read(batch), base)


def test_decoding_equals_the_module(trunk: Trunk) -> None:
    drawn = {}
    llama = trunk.llama
    for name in ("own", "module"):
        trunk.llama = llama if name == "own" else None
        drawn[name] = sample(trunk, PROMPTS, eos_id=-1, n=2, max_tokens=70, adapter="policy")
    assert drawn["own"].token_ids == drawn["module"].token_ids
    torch.testing.assert_close(
        torch.tensor(drawn["own"].logprobs), torch.tensor(drawn["module"].logprobs), atol=1e-5, rtol=0
    )


def test_passes_keep_answers_to_one_prompt_together_within_the_budget() -> None:
    sequences = [([1] * 5, [7] * 3), ([2] * 4, [7] * 6), ([1] * 5, [7] * 2), ([3], [7] * 30), ([1] * 5, [7] * 9)]
    assert token_batches(sequences, 20, packed=True) == [[3], [0, 2, 4], [1]]
    assert token_batches(sequences, 12, packed=True) == [[3], [0, 2], [4], [1]]
    for rows in token_batches(sequences, 20, packed=True)[1:]:
        assert len(pad([sequences[row] for row in rows], 0).packed.ids) <= 20


def test_a_whole_copy_of_the_weights_is_left_to_the_module(tiny_model: Path) -> None:
    """Rank 0 says that an adapter is no LoRA, whose weights our own pass would not see."""
    trunk = Trunk.load(tiny_model)
    trunk.settings["copy"] = (0, 0.0)
    assert trunk.own is not None
    with trunk.use("copy"):
        assert trunk.own is None


def test_a_model_that_looks_back_only_so_far_is_left_to_the_module() -> None:
    whole, narrow = (MistralConfig(**SMALL, sliding_window=window, max_position_embeddings=64) for window in (64, 16))
    assert Llama.fits(AutoModelForCausalLM.from_config(whole))
    assert not Llama.fits(AutoModelForCausalLM.from_config(narrow))
