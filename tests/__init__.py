"""The tests. Folders mirror the house."""
