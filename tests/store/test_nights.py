"""One night at a time in a store, and old ones are forgotten."""

from __future__ import annotations

import json
import os
from pathlib import Path

from replicate.nightly.history import Nights
from replicate.store import lease

DAY = 86400.0


def test_a_dead_night_of_another_machine_does_not_stop_this_one(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    folder = nights.work / lease.CLAIM
    folder.mkdir(parents=True)
    (folder / lease.OWNER).write_text(json.dumps({"host": "gpu17", "pid": 1, "started": 1}))
    with nights.sole() as alone:
        assert not alone
    assert nights.holder() == "process 1 on gpu17"
    then = (folder / lease.OWNER).stat().st_mtime - 1000
    os.utime(folder / lease.OWNER, (then, then))
    with nights.sole() as alone:
        assert alone
        with nights.sole() as second:
            assert not second
    assert not folder.exists()


def test_nights_are_kept_for_400_days(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    now = 1_800_000_000.0
    old, young, last = (nights.write(now - age * DAY, {"summary.md": ""}) for age in (401, 399, 0))
    assert not old.exists()
    assert young.exists()
    assert (nights.folder / "latest").resolve() == last.resolve()
