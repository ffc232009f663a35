"""Pages of rounds: start, watch, decide."""
