"""The engine's tests are collected only where the engine can run."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") and find_spec("timm") else ["test_*.py"]
