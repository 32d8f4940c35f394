"""Whatever breaks off inside a night, it leaves a summary with the fault, exit 3, and all that the fault left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import TABLE, Call, copied_tables, figure_of_table

from replicate.actions.paper import Paper
from replicate.judge.finish import Finisher
from replicate.nightly import night
from replicate.nightly.history import Nights
from replicate.store.store import Store

OTHER = "another"


@dataclass(frozen=True)
class House:
    """A paper with Table 3 twice, whose results are there, and nights on it that begin nothing."""

    folder: Path
    replicate: Call

    @property
    def nights(self) -> Path:
        return self.folder / "results" / ".nights" / "mini"

    @property
    def files(self) -> set[str]:
        return {path.name for path in (self.folder / "out" / "mini").glob("*.*")}

    def night(self, code: int, *more: str) -> dict[str, Any]:
        done = self.replicate("nightly", "--budget", "0", *more, cwd=self.folder)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stdout.startswith("# Night of ")
        told: dict[str, Any] = json.loads((self.nights / "latest" / "summary.json").read_text())
        assert (self.nights / "latest" / "summary.md").read_text() == done.stdout
        assert told["code"] == code
        assert all(fault.splitlines()[0] in done.stdout.replace("\\", "") for fault in told["faults"])
        return told

    @property
    def compared(self) -> bool:
        """Whether the next night compares with the last one."""
        return (self.nights / "latest" / "cells.json").exists()


@pytest.fixture
def house(tmp_path: Path, results: Path, replicate: Call, monkeypatch: pytest.MonkeyPatch) -> House:
    # The site takes a second.
    monkeypatch.setattr(night, "write_report", lambda *_: [])
    tables = copied_tables(tmp_path)
    text = (tables / f"{TABLE}.toml").read_text()
    (tables / f"{OTHER}.toml").write_text(text.replace(f'"{TABLE}"', f'"{OTHER}"').replace("number = 3", "number = 33"))
    return House(tmp_path, replicate)


def breaking(error: BaseException | type[BaseException] | None = None) -> Callable[..., Any]:
    def broken(*_: Any, **__: Any) -> Any:
        raise error or ValueError("boom")

    return broken


def test_a_night_without_faults(house: House) -> None:
    told = house.night(0)
    assert (told["faults"], told["counts"]) == ([], {"done": 52})
    assert {f"{name}.{kind}" for name in (TABLE, OTHER) for kind in ("tex", "md", "csv", "html", "json")} <= house.files
    assert house.compared


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (night, "agenda", "computing failed: ValueError: boom"),
        (Nights, "last", "reading the last night failed: ValueError: boom"),
        (Nights, "checked", "computing failed: ValueError: boom"),
        (night, "write_report", "the report failed: ValueError: boom"),
    ],
)
def test_all_the_rest_is_done(house: House, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, fault: str) -> None:
    monkeypatch.setattr(where, name, breaking())
    told = house.night(3)
    assert told["faults"] == [f"{fault}\n  the traceback stands in the log"]
    assert told["counts"] == {"done": 52}
    assert {f"{TABLE}.tex", f"{OTHER}.tex", "numbers.tex"} <= house.files
    assert house.compared


def test_planning_that_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.night(0)
    monkeypatch.setattr(Paper, "plan", breaking(RuntimeError("no plan")))
    told = house.night(3)
    assert told["faults"] == ["planning failed: RuntimeError: no plan\n  the traceback stands in the log"]
    assert "compared with no other night" in (house.nights / "latest" / "summary.md").read_text()
    monkeypatch.undo()
    monkeypatch.setattr(night, "write_report", lambda *_: [])
    # What came of that night is nothing to compare with.
    assert not house.compared
    assert house.night(0)["changes"]["same_values"]


def test_a_fault_in_a_spec(house: House) -> None:
    spec = house.folder / "tables" / f"{OTHER}.toml"
    text = spec.read_text()
    spec.write_text(text.replace("bold ", "bald "))
    (fault,) = house.night(3)["faults"]
    assert "unknown key 'bald'" in fault
    spec.write_text(text)
    house.night(0)


def test_a_scale_that_does_not_exist_leaves_no_folder(house: House) -> None:
    done = house.replicate("nightly", "--scale", "../huge", cwd=house.folder)
    assert done.returncode == 3
    assert "**Fault:** unknown scale" in done.stdout
    assert not house.nights.parent.exists()


def test_judging_one_table_that_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is judged, and this one keeps the numbers that it had."""
    house.night(0)
    before = json.loads((house.nights / "latest" / "cells.json").read_text())["tables"]
    finish = Finisher.finish
    monkeypatch.setattr(Finisher, "finish", lambda self, name: breaking()() if name == OTHER else finish(self, name))
    shutil.rmtree(house.folder / "out")
    told = house.night(3)
    assert told["faults"][0] == f"judging table {OTHER} failed: ValueError: boom\n  the traceback stands in the log"
    assert told["counts"] == {"done": 26}
    assert told["changes"]["changes"] == []
    assert json.loads((house.nights / "latest" / "cells.json").read_text())["tables"] == before
    assert f"{TABLE}.tex" in house.files
    assert f"{OTHER}.tex" not in house.files
    monkeypatch.undo()
    assert house.night(0)["changes"]["changes"] == []


def test_one_file_that_cannot_be_written(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write = night.write_tables

    def broken(paper: Any, tables: Any, wanted: Any, macros: str, *part: Any) -> Any:
        if [table.id for table in tables] == [OTHER] and "tex" in wanted:
            raise ValueError("no form in LaTeX")
        return write(paper, tables, wanted, macros, *part)

    monkeypatch.setattr(night, "write_tables", broken)
    told = house.night(3)
    (fault,) = told["faults"]
    assert fault.startswith(f"table {OTHER} (tex) failed: ValueError: no form in LaTeX")
    assert f"{OTHER}.tex" not in house.files
    assert {f"{OTHER}.md", f"{OTHER}.json", f"{TABLE}.tex", "numbers.tex"} <= house.files
    assert house.compared


@pytest.mark.drawn
def test_one_figure_that_cannot_be_drawn(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (house.folder / "figures").mkdir(exist_ok=True)
        (house.folder / "figures" / f"{name}.toml").write_text(figure_of_table(name))
    write = night.write_figure

    def broken(paper: Any, drawn: Any) -> Any:
        return breaking()() if drawn.id == "one" else write(paper, drawn)

    monkeypatch.setattr(night, "write_figure", broken)
    told = house.night(3)
    assert told["faults"] == ["figure one failed: ValueError: boom\n  the traceback stands in the log"]
    assert {path.stem for path in (house.folder / "out" / "mini" / "figures").iterdir()} == {"two"}


@pytest.mark.parametrize("name", ["changes", "job_record"])
def test_a_comparison_that_fails(house: House, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    house.night(0)
    monkeypatch.setattr(night, name, breaking(KeyError("cell")))
    told = house.night(3)
    assert told["faults"] == ["comparing failed: KeyError: 'cell'\n  the traceback stands in the log"]
    assert f"{OTHER}.tex" in house.files
    assert not house.compared
    monkeypatch.undo()
    assert house.night(0)["changes"]["same_values"]


@pytest.mark.parametrize("name", ["agenda", "changes"])
def test_a_night_that_is_stopped(house: House, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    house.night(0)
    monkeypatch.setattr(night, name, breaking(KeyboardInterrupt))
    (fault,) = house.night(3)["faults"]
    assert fault.startswith("stopped by a signal (SIGTERM, or Ctrl-C)\n")
    assert not (house.nights.parent / ".work" / "claim").exists()
    monkeypatch.undo()
    assert house.night(0)["changes"]["same_values"]


def test_trainings_that_were_owed_stay_so_where_nothing_could_be_planned(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (training,) = (house.folder / "results").glob("train-deit-ti-224-none*")
    shutil.rmtree(training)
    assert house.night(0, "--train")["agenda"]["owed"] == [training.name]
    monkeypatch.setattr(night, "agenda", breaking())
    house.night(3)
    assert json.loads((house.nights / "latest" / "cells.json").read_text())["owed"] == [training.name]


def test_results_that_cannot_be_written(house: House, disk: Callable[..., Path]) -> None:
    """The summary is printed, and rendered what is there."""
    done = house.replicate("nightly", "--results", str(disk("size=64k,ro")), cwd=house.folder)
    assert done.returncode == 3
    assert done.stdout.startswith("# Night of ")
    assert "results cannot be written: Read-only file system" in done.stdout
    assert "- cells: 52 pending" in done.stdout
    assert f"{TABLE}.md" in house.files


def test_a_full_disk_for_the_rendered_files(house: House, disk: Callable[..., Path]) -> None:
    full = disk("size=64k")
    (full / "filling").write_bytes(b"\0" * 65536)
    told = house.night(3, "--out", str(full))
    assert any("No space left on device" in fault for fault in told["faults"])
    assert len(told["faults"]) < 5
    assert house.compared


def test_a_summary_that_cannot_be_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nights, "write", breaking(OSError(28, "No space left on device", "cells.json")))
    done = house.replicate("nightly", "--budget", "0", cwd=house.folder)
    assert done.returncode == 3
    assert "**Fault:** keeping the summary failed: cells.json cannot be used: No space left on device" in done.stdout


def test_a_result_that_cannot_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "result", breaking(OSError(5, "Input/output error", "result.json")))
    told = house.night(3)
    assert told["faults"][0] == "planning failed: result.json cannot be used: Input/output error"
