"""One file per trainer stage, each one function that is read from top to bottom."""
