"""What goes out is what others read: `datasets` loads the files as they are, and TRL trains one step on them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.core.settings import Settings
from app.data.exports import create_export, directory_of, loading_line
from app.data.forms import options_of
from tests.data.conftest import World
from tests.tiny_model import make_tiny_model

NOT_OURS = [
    (DeprecationWarning, r"(datasets|trl|transformers|accelerate|torch|multiprocess|dill|pyarrow)\b"),
    (FutureWarning, r"(datasets|trl|transformers|accelerate|torch)\b"),
    (UserWarning, r"(datasets|trl|transformers|accelerate|torch)\b"),
]
"""Categories and modules whose warnings speak to those who maintain them, not to us."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        for category, module in NOT_OURS:
            warnings.filterwarnings("ignore", category=category, module=module)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def load(db: Session, settings: Settings, world: World, directory: Path, **choices: str) -> Any:
    """The dataset that the page's own line of Python gives, run beside the files."""
    from datasets import load_dataset

    export = create_export(db, settings, world.project, options_of(choices), user_id=None)
    line = loading_line(export)
    for file in export.files:
        line = line.replace(f'"{file["name"]}"', repr(str(directory_of(settings, export) / file["name"])))
    return eval(line, {"load_dataset": lambda *a, **k: load_dataset(*a, **k, cache_dir=str(directory))})  # noqa: S307


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("shape", ["trl", "trl-plain", "native"])
def test_datasets_loads_every_shape_unmodified(
    db: Session, settings: Settings, world: World, tmp_path: Path, shape: str, file_format: str
) -> None:
    loaded = load(db, settings, world, tmp_path, shape=shape, format=file_format)
    assert set(loaded) == {"train", "validation"}
    if shape == "native":
        texts = [row["prompt_messages"][0]["content"] for row in loaded["train"]]
        assert {"First", "Bad", "Skipped"} <= set(texts)
        return
    assert loaded["train"].column_names == ["prompt", "chosen", "rejected"]
    assert len(loaded["train"]) == 3
    assert "Second two é 🙂." in str(loaded["train"][1]["chosen"])


@pytest.mark.parametrize("shape", ["trl", "trl-plain"])
@pytest.mark.parametrize("trainer_name", ["RewardTrainer", "DPOTrainer"])
def test_trl_trains_one_step(
    db: Session, settings: Settings, world: World, tiny: Path, tmp_path: Path, shape: str, trainer_name: str
) -> None:
    import torch
    import trl
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    dataset = load(db, settings, world, tmp_path, shape=shape, format="parquet", ties="both")["train"]
    reward = trainer_name == "RewardTrainer"
    kind = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    model = kind.from_pretrained(tiny, **({"num_labels": 1} if reward else {}))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model.config.pad_token_id = tokenizer.pad_token_id
    config = (trl.RewardConfig if reward else trl.DPOConfig)(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = getattr(trl, trainer_name)(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    after = list(trainer.model.parameters())
    assert trainer.state.global_step == 1
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
