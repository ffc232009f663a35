"""TRL's RewardTrainer on the bench's pairs: `python trl_reward.py ASKED.json` prints seconds per step as JSON."""

import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """When each optimiser step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    """LoRA r = 16 on all linear layers, bf16 autocast, no gradient checkpointing (memory enough; it costs time)."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(asked["threads"])
    tokenizer = AutoTokenizer.from_pretrained(asked["model"])
    dtype = getattr(torch, asked["dtype"])
    model = AutoModelForSequenceClassification.from_pretrained(asked["model"], num_labels=1, dtype=dtype)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = [
        {
            side: [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair[side]}]
            for side in ("chosen", "rejected")
        }
        for pair in asked["pairs"]
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        config = RewardConfig(
            output_dir=directory,
            per_device_train_batch_size=asked["batch"],
            max_steps=asked["steps"],
            max_length=asked["max_length"],
            learning_rate=1e-4,
            bf16=asked["bf16"],
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="SEQ_CLS")
        trainer = RewardTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[clock],
        )
        started = time.perf_counter()
        trainer.train()
    ends = [started, *clock.ends]
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
