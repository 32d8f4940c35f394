"""One report for all tests that only read it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT, TABLE
from filled_store import Report, damage, fail, fill_all, plan_of

from replicate.actions.files import at_once
from replicate.site.book import draw_all, gather
from replicate.site.site import write
from replicate.store import lease
from replicate.store.store import Store


@pytest.fixture(scope="session")
def table3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The specs of Table 3 alone: what the other tables say of their jobs may change."""
    folder = tmp_path_factory.mktemp("specs") / "tables"
    folder.mkdir()
    shutil.copytree(ROOT / "tables" / "scales", folder / "scales")
    for name in (f"{TABLE}.toml", "runs.toml"):
        shutil.copy(ROOT / "tables" / name, folder)
    return folder


@pytest.fixture(scope="session")
def report(table3: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Table 3 at mini scale with every state of a job in it."""
    folder = tmp_path_factory.mktemp("report")
    plan = plan_of(table3)
    store = Store(folder / "results")
    left = {
        "failed": plan.expander.job("predict", "deit-ti-224/soft", 0),
        "damaged": plan.expander.job("predict", "deit-s-224/soft", 0),
        "running": plan.expander.job("predict", "deit-b-224/soft", 0),
        "not run": plan.expander.job("predict", "deit-b-384/soft", 0),
    }
    fill_all(store, plan, leave={job.key for job in left.values()})
    fail(store, left["failed"], "a loss that is not finite & <i>more</i>")
    damage(store, left["damaged"])
    running = store.prepare(left["running"])
    assert lease.acquire(running)
    book = gather(plan, store)
    write(book, folder / "site")
    yield Report(folder / "site", book, left)
    lease.release(running)


@pytest.fixture(scope="session")
def paper_report(table3: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Table 3 at the scale of the paper, complete and with two seeds."""
    folder = tmp_path_factory.mktemp("paper-report")
    plan = plan_of(table3, "paper", (0, 1))
    store = Store(folder / "results")
    fill_all(store, plan)
    book = gather(plan, store)
    write(book, folder / "site")
    return Report(folder / "site", book, {})


@pytest.fixture(scope="session")
def published_report(table3: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Table 3 at the scale of the paper with published weights beside what is trained with seed 7, complete."""
    folder = tmp_path_factory.mktemp("published-report")
    plan = plan_of(table3, "paper", (7,), released=True)
    store = Store(folder / "results")
    fill_all(store, plan)
    book = gather(plan, store)
    write(book, folder / "site")
    return Report(folder / "site", book, {})


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All tables and figures that there are, complete."""
    folder = tmp_path_factory.mktemp("whole-report")
    plan = plan_of()
    store = Store(folder / "results")
    fill_all(store, plan)
    pictures, without = draw_all(plan, store, at_once)
    book = gather(plan, store, pictures, without)
    write(book, folder / "site")
    return Report(folder / "site", book, {})
