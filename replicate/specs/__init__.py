"""Specs: what is to be replicated, as TOML files read into frozen values."""

from __future__ import annotations

from pathlib import Path

SCALE = "mini"
SEEDS = (0,)
"""The defaults of every command and of the public face. They stand here since nothing heavy is imported with them."""


def toml_files(folder: Path) -> list[Path]:
    """The TOML files in ``folder``, sorted. A hidden one is none: an editor's lock file, a Mac's ``._name.toml``."""
    return sorted(folder.glob("[!.]*.toml"))
