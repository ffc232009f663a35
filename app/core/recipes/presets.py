"""Settings of the recipes by size of machine; what a preset does not name is the config's default."""

from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "laptop": {},
    "one-gpu": {
        "sft": {"batch_size": 64, "micro_batch_tokens": 65_536, "checkpoint_every": 10},
        "dpo": {"batch_size": 64, "micro_batch_tokens": 32_768, "learning_rate": 5e-6, "checkpoint_every": 10},
        "reward_model": {"epochs": 1, "batch_size": 64, "micro_batch_tokens": 65_536, "learning_rate": 1e-4},
        "ppo": {
            "steps": 200,
            "prompts_per_step": 128,
            "samples_per_prompt": 4,
            "epochs": 4,
            "minibatches": 4,
            "micro_batch_tokens": 65_536,
            "learning_rate": 3e-5,
            "kl_horizon": 10_000.0,
            "checkpoint_every": 10,
        },
        "evaluate": {"prompts": 512, "micro_batch_tokens": 65_536},
    },
    "multi-gpu": {
        "sft": {"batch_size": 256, "micro_batch_tokens": 65_536, "checkpoint_every": 20},
        "dpo": {"batch_size": 128, "micro_batch_tokens": 32_768, "learning_rate": 5e-6, "checkpoint_every": 20},
        "reward_model": {"epochs": 1, "batch_size": 128, "micro_batch_tokens": 65_536, "learning_rate": 1e-4},
        "ppo": {
            "steps": 300,
            "prompts_per_step": 512,
            "samples_per_prompt": 4,
            "epochs": 4,
            "minibatches": 8,
            "micro_batch_tokens": 65_536,
            "learning_rate": 3e-5,
            "kl_horizon": 10_000.0,
            "checkpoint_every": 20,
        },
        "evaluate": {"prompts": 1024, "micro_batch_tokens": 65_536},
    },
    "tiny": {
        "sft": {"epochs": 4, "learning_rate": 1e-2},
        "dpo": {"epochs": 4, "learning_rate": 3e-3, "beta": 0.3},
        "reward_model": {"epochs": 4, "learning_rate": 1e-2, "normalisation_samples": 32},
        "ppo": {"steps": 12, "learning_rate": 1e-2, "missing_end_score": -1.0},
        "evaluate": {"prompts": 32},
    },
}
"""laptop: measured. one-gpu, multi-gpu: written for GPUs, untested here. tiny: the random test model."""
