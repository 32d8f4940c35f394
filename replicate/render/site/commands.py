"""The commands that pages print: each leads whoever copies it to what the page shows."""

from __future__ import annotations

import shlex

from replicate.plan.cells import Plan

_DEFAULT_SCALE = "mini"
_DEFAULT_SEEDS = (0,)
"""What the command line takes where nothing is said; a test holds both to it."""


def command(plan: Plan, *words: str, seed: int | None = None) -> str:
    """``python -m replicate WORDS`` with the options that find the jobs of ``plan``: scale, origin, seeds.

    seed: of a job that rests on this one alone; None is all seeds of the plan.
    """
    scale, seeds = plan.specs.scale, plan.seeds if seed is None else (seed,)
    options = [] if scale.id == _DEFAULT_SCALE else ["--scale", scale.id]
    options += ["--from", "released"] if scale.released else []
    options += [] if seeds == _DEFAULT_SEEDS else ["--seeds", ",".join(map(str, seeds))]
    return shlex.join(["python", "-m", "replicate", *words, *options])
