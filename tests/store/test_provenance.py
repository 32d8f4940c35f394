"""What is recorded of the machine."""

from __future__ import annotations

import pytest
from command_line import ROOT

from replicate.store.provenance import provenance


@pytest.mark.parametrize(("value", "threads"), [("4", 4), ("4,2", 4), ("", 1), ("many", 1), ("0", 1), (None, 1)])
def test_threads_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch, value: str | None, threads: int) -> None:
    if value is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    provenance.cache_clear()
    try:
        assert provenance(ROOT)["threads"] == threads
    finally:
        provenance.cache_clear()
