"""Store: one folder per job key."""
