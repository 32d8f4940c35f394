"""Imported once, by the process that those of the checks are forked from: torch and the specs take seconds.

What cannot be imported stops nothing here: each check that needs it will say so.
"""

from contextlib import suppress

from benchmarks.gpu_check import stand_in

stand_in.install()

with suppress(Exception):
    from benchmarks.gpu_check import check, materials
    from replicate.engine import measure, predict, train, weights  # noqa: F401

    check.checks()
    materials.expander()
