"""Replicate the tables and figures of a paper: spec -> plan -> store -> engine -> launch -> collect -> render."""

__version__ = "0.1.0"
