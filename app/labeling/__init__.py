"""The label page: two answers, one key, and the next pair is already there."""
