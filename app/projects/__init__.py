"""Projects: list, create, settings, guidelines, members."""
