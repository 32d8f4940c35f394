"""Specs: what is to be replicated, as TOML files read into frozen values."""

SCALE = "mini"
SEEDS = (0,)
"""The defaults of every command and of the public face. They stand here since nothing heavy is imported with them."""
