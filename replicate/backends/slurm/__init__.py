"""Slurm: brings a graph forward on a cluster, one idempotent step at a time."""
