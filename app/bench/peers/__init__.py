"""`palate bench peers`: Palate and the tools people use today, driven by the same people on the same tasks."""
