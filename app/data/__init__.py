"""Prompts in, datasets out."""
