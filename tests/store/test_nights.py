"""One night at a time in a store, and old ones are forgotten."""

from __future__ import annotations

import json
import os
from pathlib import Path

from replicate.nightly.history import CELLS, Nights
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


NOW = 1_800_000_000.0


def written(nights: Nights, *ages: float) -> list[Path]:
    return [nights.write(NOW - age * DAY, {CELLS: ""}) for age in ages]


def test_nights_are_kept_for_400_days(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    # A night is judged by the thirtieth newest.
    old, young = written(nights, 430.5, 428.5)
    *_, last = written(nights, *range(29, -1, -1))
    assert not old.exists()
    assert young.exists()
    assert (nights.folder / "latest").resolve() == last.resolve()
    assert len([*nights.folder.glob("[0-9]*")]) == 31


def test_a_clock_years_ahead_forgets_no_night(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    before = written(nights, *range(40, 0, -1))
    ahead = written(nights, *(-1200 - night for night in range(20)))
    after = written(nights, 0, -1, -2)
    assert all(folder.exists() for folder in [*before, *ahead, *after])
    assert (nights.folder / "latest").resolve() == after[-1].resolve()


def test_a_night_of_1970_is_the_last_one_until_the_next(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    before = written(nights, *range(40, 0, -1))
    wrong = nights.write(60.0, {CELLS: ""})
    assert (nights.folder / "latest").resolve() == wrong.resolve()
    assert all(folder.exists() for folder in before)
    (after,) = written(nights, 0)
    assert (nights.folder / "latest").resolve() == after.resolve()
    assert all(folder.exists() for folder in before)
