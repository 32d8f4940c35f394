"""Nightly: what is due, what a night computes, and which numbers moved since the last one."""
