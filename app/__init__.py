"""Palate's web half: everything that is not torch."""
