"""Settings of the recipes by size of machine; what a preset does not name is the config's default."""

from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "laptop": {},
    "one-gpu": {
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
    "tiny": {
        "reward_model": {"epochs": 4, "learning_rate": 1e-2, "normalisation_samples": 32},
        "ppo": {"steps": 12, "learning_rate": 1e-2, "missing_end_score": -1.0},
        "evaluate": {"prompts": 32},
    },
}
"""laptop: measured. one-gpu: written for a GPU, untested here. tiny: the random test model."""
