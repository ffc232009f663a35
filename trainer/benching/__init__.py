"""`palate bench training`: our training and rollout beside TRL's and transformers', each in a process of its own."""
