"""DPO and imitation learn what can be learned, and nothing from labels that say nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.recipes import DpoConfig, SftConfig, make_config
from tests.tiny_model import make_tiny_model
from tests.trainer.bench import lexical_groups, make_context, make_prompts
from trainer.conversations import Lesson, make_lesson
from trainer.recipes.dpo import prefer
from trainer.recipes.sft import imitate

torch.set_num_threads(1)


def preferred(tmp_path: Path, *, shuffled: bool = False, **overrides: Any) -> dict[str, float]:
    context, heard = make_context(make_tiny_model(tmp_path / "tiny"), tmp_path / "store")
    config = make_config("dpo", "tiny", {"max_tokens": 8, **overrides})
    assert isinstance(config, DpoConfig)
    groups = lexical_groups(context, 100, shuffled=shuffled)
    made = prefer(config, groups, make_prompts(context, 4), context, start=None)
    first = heard.figures[1]
    # A fresh policy is its reference: no margin, and the loss of a coin.
    assert first["dpo/margin"] == pytest.approx(0, abs=1e-4)
    if config.loss == "sigmoid":
        assert first["dpo/loss"] == pytest.approx(0.6931, abs=1e-3)
    return made.metrics


def test_dpo_learns_a_lexical_taste(tmp_path: Path) -> None:
    learned = preferred(tmp_path)
    assert learned["dpo/held_out_accuracy"] >= 0.85
    assert learned["dpo/held_out_margin"] > 0.2


def test_shuffled_labels_teach_dpo_nothing(tmp_path: Path) -> None:
    assert preferred(tmp_path, shuffled=True)["dpo/held_out_accuracy"] < 0.65


def test_ipo_learns_it_too(tmp_path: Path) -> None:
    assert preferred(tmp_path, loss="ipo", ties="soft")["dpo/held_out_accuracy"] >= 0.8


def lessons(context: Any, count: int) -> list[Lesson]:
    made = []
    for prompt in make_prompts(context, count):
        split = "validation" if prompt.prompt_id % 5 == 4 else "train"
        text = "see the bee"[: 6 + prompt.prompt_id % 5]
        made.append(make_lesson(context.tokenizer, prompt.prompt_id, split, prompt.messages, text, turns="all"))
    return made


def test_imitation_lowers_the_perplexity_of_what_it_never_saw(tmp_path: Path) -> None:
    context, heard = make_context(make_tiny_model(tmp_path / "tiny"), tmp_path / "store")
    config = make_config("sft", "tiny", {"max_tokens": 8})
    assert isinstance(config, SftConfig)
    made = imitate(config, lessons(context, 60), make_prompts(context, 4), context, start=None)
    assert made.metrics["sft/held_out_perplexity"] < made.metrics["sft/held_out_perplexity_before"] / 3
    again, heard_again = make_context(tmp_path / "tiny", tmp_path / "again")
    smaller = dataclasses.replace(config, micro_batch_tokens=64)
    imitate(smaller, lessons(again, 60), make_prompts(again, 4), again, start=None)
    for step in (1, 8):
        assert heard_again.figures[step]["sft/loss"] == pytest.approx(heard.figures[step]["sft/loss"], rel=1e-3)


def test_only_the_assistants_words_and_ends_are_learned(tmp_path: Path) -> None:
    context, _ = make_context(make_tiny_model(tmp_path / "tiny"), tmp_path / "store")
    tokenizer = context.tokenizer
    talk = [{"role": r, "content": c} for r, c in (("user", "hi"), ("assistant", "yes"), ("user", "more"))]
    both = make_lesson(tokenizer, 1, "train", talk, "no", turns="all")
    learned = [token for token, taught in zip(both.rest, both.taught, strict=True) if taught]
    expected = [*tokenizer.encode("yes"), tokenizer.eos_id, *tokenizer.encode("no"), tokenizer.eos_id]
    assert learned == expected
    assert both.prompt + both.rest == [*tokenizer.encode_chat(talk), *tokenizer.encode("no"), tokenizer.eos_id]
    last = make_lesson(tokenizer, 1, "train", talk, "no", turns="last")
    assert (last.prompt, all(last.taught)) == (tokenizer.encode_chat(talk), True)
