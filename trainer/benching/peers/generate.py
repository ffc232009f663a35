"""transformers.generate with log-probs: `python generate.py ASKED.json` prints seconds per batch as JSON."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    """Samples with the log-prob of every token, as an online trainer needs them; with PEFT's LoRA where asked."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(asked["threads"])
    model: Any = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=getattr(torch, asked["dtype"])).eval()
    if asked["lora"]:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415  # only one of two environments has it

        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    longest = max(map(len, asked["prompts"]))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in asked["prompts"]])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in asked["prompts"]])
    seconds = []
    for _ in range(asked["steps"]):
        started = time.perf_counter()
        with torch.no_grad():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=asked["new_tokens"],
                min_new_tokens=asked["new_tokens"],
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=0.7,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
            written = made.sequences[:, longest:]
            for step, logits in enumerate(made.logits):
                (logits / 0.7).log_softmax(-1).gather(-1, written[:, step, None])
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
