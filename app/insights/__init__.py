"""Pages that sum up: overview and audit log."""
