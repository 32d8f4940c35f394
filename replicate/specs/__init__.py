"""Specs: what is to be replicated, as TOML files read into frozen values."""
