"""slurm/nightly.sh where something around the night fails: the night runs, somebody is told, and the code is 3."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import ROOT

SUMMARY = "# Night of today: exit 1: numbers moved\n"
NIGHT = """#!/bin/bash
printf '%s\\n' "$PWD" "$@" >"$RAN"
echo "words for the log" >&2
printf '# Night of today: exit 1: numbers moved\\n'
exit 1
"""
"""In place of Python: what a night is for the script."""
USER = 65534
"""An ordinary user, where the tests run as root."""


@dataclass(frozen=True)
class Desk:
    """A checkout with the script alone, and what becomes of a call of it."""

    folder: Path
    log: Path

    @property
    def script(self) -> Path:
        return self.folder / "check out" / "slurm" / "nightly.sh"

    @property
    def ran(self) -> list[str]:
        return (self.folder / "ran").read_text().splitlines()

    @property
    def told(self) -> str:
        return (self.folder / "told").read_text()

    def variables(self, **env: str) -> dict[str, str]:
        notify = f"cat >'{self.folder}/told'; echo \"$1 $REPLICATE_EXIT\" >'{self.folder}/code'"
        return {
            "PATH": "/usr/bin:/bin",
            "RAN": str(self.folder / "ran"),
            "TMPDIR": str(self.folder / "temporary"),
            "REPLICATE_PYTHON": str(self.folder / "python"),
            "REPLICATE_LOG": str(self.log),
            "REPLICATE_NOTIFY": notify,
            **env,
        }

    def night(self, *arguments: str, code: int, user: int | None = None, **env: str) -> str:
        """Call the script as cron does; return its standard error."""
        done = subprocess.run(
            [str(self.script), *arguments],
            env=self.variables(**env),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            user=user,
        )
        assert (done.returncode, done.stdout) == (code, ""), done
        assert (self.folder / "code").read_text() == f"{code} {code}\n"
        return done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, tmp_path / "my logs")
    desk.script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "slurm" / "nightly.sh", desk.script)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "python").write_text(NIGHT)
    (tmp_path / "python").chmod(0o755)
    return desk


def logged(folder: Path) -> str:
    (path,) = folder.glob("nightly-*.log")
    return path.read_text()


def test_the_code_of_a_night_is_its_own_where_nothing_fails(desk: Desk) -> None:
    assert desk.night("--scale", "a b", code=1) == ""
    checkout = str(desk.script.parent.parent)
    assert desk.ran == [checkout, "-m", "replicate", "nightly", "--scale", "a b"]
    assert desk.told == SUMMARY
    text = logged(desk.log)
    assert text.splitlines()[0].endswith(": nightly --scale a\\ b")
    assert text.endswith(f"words for the log\n{SUMMARY}# exit 1\n")
    assert not list((desk.folder / "temporary").iterdir())


def check_elsewhere(desk: Desk, said: str, why: str) -> None:
    """The night ran, its log is in a temporary folder, and somebody was told both."""
    assert desk.ran[1:] == ["-m", "replicate", "nightly"]
    (elsewhere,) = (desk.folder / "temporary").iterdir()
    for text in (said, desk.told):
        assert f"error: {desk.log}: logs cannot be kept there: {why}; make room" in text
        assert f"error: the log of this night is {elsewhere}\n" in text
    assert desk.told.endswith(SUMMARY)
    text = logged(elsewhere)
    assert "words for the log" in text
    assert text.endswith(f"{SUMMARY}# exit 3\n")
    # As private as what is in it.
    assert elsewhere.stat().st_mode & 0o077 == 0


def test_a_file_in_place_of_the_log_folder(desk: Desk) -> None:
    desk.log.write_text("")
    check_elsewhere(desk, desk.night(code=3), "File exists")


def test_a_log_folder_inside_a_file(desk: Desk) -> None:
    (desk.folder / "file").write_text("")
    desk = Desk(desk.folder, desk.folder / "file" / "log")
    check_elsewhere(desk, desk.night(code=3), "Not a directory")


def test_a_log_folder_that_this_user_may_not_write(desk: Desk) -> None:
    desk.log.mkdir(mode=0o555)
    user = None
    if os.getuid() == 0:
        user = USER
        os.chown(desk.folder, USER, USER)
        os.chown(desk.folder / "temporary", USER, USER)
        for parent in desk.folder.parents[:3]:
            if parent.stat().st_mode & 0o005 != 0o005:
                parent.chmod(parent.stat().st_mode | 0o055)
    check_elsewhere(desk, desk.night(code=3, user=user), "Permission denied")


def test_a_log_folder_on_a_full_disk(desk: Desk, disk: Callable[..., Path]) -> None:
    full = disk("size=64k")
    (full / "filling").write_bytes(b"\0" * 65536)
    desk = Desk(desk.folder, full)
    check_elsewhere(desk, desk.night(code=3), "No space left on device")
    assert sorted(path.name for path in full.iterdir()) == ["filling"]


def test_a_log_folder_on_a_read_only_disk(desk: Desk, disk: Callable[..., Path]) -> None:
    desk = Desk(desk.folder, disk("size=64k,ro") / "log")
    check_elsewhere(desk, desk.night(code=3), "Read-only file system")


def test_a_disk_that_fills_up_while_the_night_runs(desk: Desk, disk: Callable[..., Path]) -> None:
    """The night is not ended by its own log."""
    small = disk("size=256k")
    night = desk.folder / "python"
    night.write_text(NIGHT.replace("echo", 'head -c 500000 /dev/zero | tr "\\0" x >&2 || exit 9\necho'))
    desk = Desk(desk.folder, small)
    said = desk.night(code=3)
    assert f"error: {small}: the log of this night is not whole: No space left on device" in said
    assert desk.told.startswith(said)
    assert "# exit 3: no summary, and exit 1" in desk.told


def test_no_folder_at_all(desk: Desk) -> None:
    """Neither a log nor a temporary folder: mkdir and mktemp are stand-ins that fail."""
    programs = desk.folder / "programs"
    programs.mkdir()
    for name in ("mkdir", "mktemp"):
        (programs / name).write_text("#!/bin/sh\necho 'cannot: Read-only file system' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    said = desk.night(code=3, PATH=f"{programs}:/usr/bin:/bin")
    assert "error: the log of this night is nowhere" in said
    assert desk.ran[1:] == ["-m", "replicate", "nightly"]
    assert desk.told.startswith(said)


def test_a_wrong_number_of_logs_does_not_cost_the_night(desk: Desk) -> None:
    said = desk.night(code=3, REPLICATE_KEEP="many")
    assert said == "error: REPLICATE_KEEP: expected a whole number above 0, got 'many'; 30 logs are kept\n"
    assert desk.told == said + SUMMARY
    assert desk.ran


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("echo 'Traceback ...' >&2; exit 1", "# exit 3: no summary, and exit 1; the end of the log:\n"),
        ("exit 2", "# exit 3: no summary, and exit 2; the end of the log:\n"),
        ("kill -9 $$", "# exit 3: no summary, and exit 137; the end of the log:\n"),
        (f"printf '{SUMMARY}'; kill -9 $$", f"# exit 3: the night ended with 137 after its summary:\n\n{SUMMARY}"),
    ],
)
def test_what_no_night_said_is_never_a_moved_number(desk: Desk, program: str, why: str) -> None:
    (desk.folder / "python").write_text(f"#!/bin/bash\n{program}\n")
    desk.night(code=3)
    assert why in desk.told


def test_a_setup_file_that_talks_or_ends_is_no_summary(desk: Desk) -> None:
    setup = desk.folder / "set up.sh"
    setup.write_text("echo loading modules\nexit 1\n")
    desk.night(code=3, REPLICATE_SETUP=str(setup))
    log = logged(desk.log).partition("# exit")[0]
    assert desk.told == f"# exit 3: no summary, and exit 1; the end of the log:\n\n{log}"
    assert "loading modules" in desk.told
    assert not (desk.folder / "ran").exists()


def test_without_home_and_path(desk: Desk) -> None:
    command = ["env", "-i", *(f"{name}={value}" for name, value in desk.variables().items() if name != "PATH")]
    done = subprocess.run([*command, str(desk.script)], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert desk.told == SUMMARY


def test_a_link_to_the_script_finds_its_checkout(desk: Desk) -> None:
    link = desk.folder / "nightly"
    link.symlink_to(desk.script)
    subprocess.run([str(link)], env=desk.variables(), check=False)
    assert desk.ran[0] == str(desk.script.parent.parent)


def test_who_stops_the_script_stops_the_night_and_its_summary_is_told(desk: Desk) -> None:
    (desk.folder / "python").write_text(
        f"#!/bin/bash\ntrap 'printf \"# Night of today: exit 3\\n\"; exit 3' TERM\ntouch '{desk.folder}/begun'\n"
        "while :; do sleep 0.05; done\n"
    )
    with subprocess.Popen([str(desk.script)], env=desk.variables()) as script:
        deadline = time.monotonic() + 20
        while not (desk.folder / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        script.send_signal(signal.SIGTERM)
        assert script.wait(20) == 3
    assert desk.told == "# Night of today: exit 3\n"


def test_logs_of_a_clock_that_was_ahead_do_not_cost_the_new_one(desk: Desk) -> None:
    desk.log.mkdir()
    for day in range(10, 14):
        (desk.log / f"nightly-2099-01-{day}T000000Z-1.log").write_text("")
    desk.night(code=1, REPLICATE_KEEP="2")
    kept = sorted(path.name for path in desk.log.glob("*.log"))
    assert [name[8:18] for name in kept[1:]] == ["2099-01-12", "2099-01-13"]
    assert SUMMARY in (desk.log / kept[0]).read_text()
