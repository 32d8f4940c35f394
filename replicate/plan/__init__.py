"""Plan: cells to one graph of jobs."""
