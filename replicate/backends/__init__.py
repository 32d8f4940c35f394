"""Backends: run the jobs of a graph on this machine or on a Slurm cluster."""
