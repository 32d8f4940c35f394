"""Collect: stored results to finished tables, without torch."""
