"""The trunk: log-probs equal the plain formula, padding and chunks change nothing, adapters do their maths."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, Qwen2Config

from app.core.errors import BadConfiguration
from trainer import logprobs as chunked
from trainer.lora import BadAdapter, read_adapter
from trainer.modeling import Trunk

torch.set_num_threads(1)


@pytest.fixture
def trunk(tiny_model: Path) -> Trunk:
    return Trunk.load(tiny_model)


def some_ids(rows: int = 3, length: int = 17, seed: int = 0, vocabulary: int = 259) -> Tensor:
    return torch.randint(3, vocabulary, (rows, length), generator=torch.Generator().manual_seed(seed))


def disturb(trunk: Trunk, name: str, seed: int = 1) -> None:
    """Give B random values, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trunk.parameters_of(name):
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def shifted_logprobs(trunk: Trunk, ids: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, -1] = False
    return trunk.token_logprobs(trunk.hidden(ids), ids.roll(-1, 1), mask, temperature)


def test_logprobs_and_entropy_equal_the_plain_formula(trunk: Trunk) -> None:
    ids = some_ids()
    logprobs, entropy = shifted_logprobs(trunk, ids, temperature=0.7)
    expected = (trunk.model(input_ids=ids).logits / 0.7).log_softmax(-1)
    chosen = expected[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(logprobs[:, :-1], chosen, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, torch.where(logprobs != 0, -(expected.exp() * expected).sum(-1), 0.0))
    assert (logprobs[:, -1] == 0).all()


def test_gradient_equals_autograd_through_whole_logits(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK_NUMBERS", 259 * 5)
    trunk.add_adapter("policy", rank=4)
    disturb(trunk, "policy")
    ids, weights = some_ids(), torch.linspace(-1, 1, 16)
    gradients = []
    for plain in (False, True):
        with trunk.use("policy"):
            if plain:
                logits = trunk.model(input_ids=ids).logits[:, :-1] / 1.3
                found = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
            else:
                found = shifted_logprobs(trunk, ids, temperature=1.3)[0][:, :-1]
        gradients.append(torch.autograd.grad((found * weights).sum(), trunk.parameters_of("policy")))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_chunk_size_changes_nothing(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = shifted_logprobs(trunk, some_ids())
    monkeypatch.setattr(chunked, "CHUNK_NUMBERS", 259 * 3)
    parts, _ = shifted_logprobs(trunk, some_ids())
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", [1, 40])
def test_right_padding_and_company_change_nothing(trunk: Trunk, padding: int) -> None:
    ids = some_ids(1, 20)
    alone = trunk.hidden(ids)
    padded = torch.zeros(3, 20 + padding, dtype=torch.long)
    padded[0, :20] = ids
    padded[1:] = some_ids(2, 20 + padding, seed=5)
    together = trunk.hidden(padded, torch.tensor([20, 20 + padding, 20 + padding]))
    torch.testing.assert_close(together[:1, :20], alone, atol=1e-5, rtol=0)
    assert (together[0, 20:] == 0).all()


def test_a_fresh_adapter_is_exactly_the_base(trunk: Trunk) -> None:
    trunk.add_adapter("policy", rank=4)
    reference = trunk.hidden(some_ids())
    with trunk.use("policy"):
        assert torch.equal(trunk.hidden(some_ids()), reference)
        disturb(trunk, "policy")
        assert not torch.allclose(trunk.hidden(some_ids()), reference, atol=1e-3)
        with trunk.use(None):
            assert torch.equal(trunk.hidden(some_ids()), reference)
    assert torch.equal(trunk.hidden(some_ids()), reference)


def test_lora_is_alpha_over_rank_times_b_a_x(trunk: Trunk) -> None:
    trunk.add_adapter("policy", rank=4, alpha=10.0)
    disturb(trunk, "policy")
    layer = next(iter(trunk.layers.values()))
    x = torch.randn(2, 3, layer.inputs, generator=torch.Generator().manual_seed(0))
    with trunk.use("policy"):
        expected = layer.base(x) + 2.5 * x @ layer.a["policy"].T @ layer.b["policy"].T
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_saved_adapter_comes_back_bit_for_bit(trunk: Trunk, tiny_model: Path, tmp_path: Path) -> None:
    trunk.add_adapter("policy", rank=4, alpha=8.0, seed=3)
    disturb(trunk, "policy")
    trunk.save_adapter("policy", tmp_path, step=7)
    other = Trunk.load(tiny_model)
    other.load_adapter("loop@v1", tmp_path)
    with trunk.use("policy"), other.use("loop@v1"):
        assert torch.equal(trunk.hidden(some_ids()), other.hidden(some_ids()))


def test_a_copied_adapter_is_trained_apart(trunk: Trunk) -> None:
    trunk.add_adapter("reward", rank=4)
    trunk.copy_adapter("reward", "value")
    before = [p.clone() for p in trunk.parameters_of("value")]
    disturb(trunk, "reward")
    assert all(torch.equal(a, b) for a, b in zip(before, trunk.parameters_of("value"), strict=True))
    trunk.drop_adapter("reward")
    with pytest.raises(KeyError), trunk.use("reward"):
        pass


@pytest.mark.parametrize("damage", ["nan", "shape", "missing"])
def test_adapters_that_do_not_fit_are_refused(trunk: Trunk, tmp_path: Path, damage: str) -> None:
    trunk.add_adapter("policy", rank=4)
    trunk.save_adapter("policy", tmp_path)
    adapter = read_adapter(tmp_path)
    name = next(iter(adapter.tensors))
    if damage == "nan":
        adapter.tensors[name][0, 0] = float("nan")
    elif damage == "shape":
        adapter.tensors[name] = adapter.tensors[name][:, 1:]
    else:
        del adapter.tensors[name]
    with pytest.raises(BadAdapter):
        trunk.attach("bad", adapter)
    assert "bad" not in trunk.settings


def test_files_that_are_no_adapter_are_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter.json").write_text('{"rank": 4, "alpha": 8}')
    (tmp_path / "adapter.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(BadAdapter):
        read_adapter(tmp_path)


def test_heads_start_small_or_at_zero(trunk: Trunk) -> None:
    hidden = trunk.hidden(some_ids())
    assert trunk.add_head("score", seed=1)(hidden).shape == (3, 17)
    assert float(trunk.head("score").weight.detach().std()) == pytest.approx(1 / 65**0.5, rel=0.3)
    assert (trunk.add_head("value", zero=True)(hidden) == 0).all()


SMALL: dict[str, Any] = {"vocab_size": 101, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
OTHERS = {
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2, intermediate_size=48, use_sliding_window=False),
    "gpt2": GPT2Config(vocab_size=101, n_layer=2, n_head=4, n_embd=32, n_positions=64),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=48),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_load_score_and_take_adapters(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(OTHERS[kind]).save_pretrained(tmp_path)
    trunk = Trunk.load(tmp_path)
    ids = some_ids(2, 9, vocabulary=101)
    logprobs, _ = shifted_logprobs(trunk, ids)
    expected = trunk.model(input_ids=ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(logprobs[:, :-1], expected, atol=1e-5, rtol=0)
    trunk.add_adapter("policy", rank=2)
    disturb(trunk, "policy")
    with trunk.use("policy"):
        changed, _ = shifted_logprobs(trunk, ids)
    assert not torch.allclose(changed, logprobs, atol=1e-4)


def test_sliding_windows_are_refused_in_words(tmp_path: Path) -> None:
    config = Qwen2Config(
        **SMALL, num_key_value_heads=2, intermediate_size=48, use_sliding_window=True, sliding_window=4,
        max_window_layers=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(BadConfiguration, match="full attention"):
        Trunk.load(tmp_path)


def test_a_missing_directory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="could not be loaded"):
        Trunk.load(tmp_path / "nothing")
