"""Fixtures: a real four-node Slurm for the whole session (tests/cluster/testbed.py).

``testbed`` has accounting, ``bare_testbed`` has none (sacct does not answer). Each boots in about 4 seconds in a
folder of its own under /var/tmp, on ports that were free, and is gone when the session ends. A test that breaks one
(kills daemons, leaves jobs) repairs it with ``testbed.clear()``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.testbed import Testbed, boot, end


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    booted = boot()
    try:
        yield booted
    finally:
        end(booted)


@pytest.fixture(scope="session")
def bare_testbed() -> Iterator[Testbed]:
    booted = boot(accounting=False)
    try:
        yield booted
    finally:
        end(booted)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"testbed", "bare_testbed"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)
