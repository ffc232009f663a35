"""TRL's PPOTrainer (0.23, the last that has one): `python trl_ppo.py ASKED.json` prints seconds per update as JSON."""

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
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl import PPOConfig, PPOTrainer


class TimedTrainer(PPOTrainer):  # type: ignore[misc]  # trl ships no types
    """Notes when each update's figures are logged, which is its last act."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ends: list[float] = []

    def log(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    """Policy and value model trained in full, reference and reward models beside: all four in the asked dtype."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(asked["threads"])
    # A tokenizer saved by transformers 5 names a class that this version lacks; its file is the same.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(asked["model"]) / "tokenizer.json"))
    tokenizer.pad_token = tokenizer.eos_token = "<|im_end|>"  # noqa: S105  # a word of the vocabulary
    dtype = getattr(torch, asked["dtype"])

    def causal() -> Any:
        return AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)

    def scalar() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(asked["model"], num_labels=1, dtype=dtype)

    prompts = Dataset.from_list([{"input_ids": ids} for ids in asked["prompts"]])
    with tempfile.TemporaryDirectory() as directory:
        config = PPOConfig(
            output_dir=directory,
            per_device_train_batch_size=asked["batch"],
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=asked["epochs"],
            local_rollout_forward_batch_size=asked["batch"],
            total_episodes=asked["batch"] * asked["steps"],
            response_length=asked["new_tokens"],
            temperature=0.7,
            learning_rate=1e-6,
            bf16=asked["bf16"],
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            num_sample_generations=0,
            save_strategy="no",
            report_to="none",
        )
        trainer = TimedTrainer(
            args=config,
            processing_class=tokenizer,
            model=causal(),
            ref_model=causal(),
            reward_model=scalar(),
            value_model=scalar(),
            train_dataset=prompts,
            eval_dataset=prompts,
        )
        started = time.perf_counter()
        trainer.train()
    ends = [started, *trainer.ends]
    seconds = [after - before for before, after in itertools.pairwise(ends)][: asked["steps"]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
