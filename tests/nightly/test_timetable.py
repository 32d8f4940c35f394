"""The printed lines are read by the programs they are for, and slurm/nightly.sh runs as cron calls it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import zoneinfo
from datetime import datetime
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call, copied_tables, missing

from nightly.repository import Repository
from replicate.errors import UserError
from replicate.nightly.timetable import Timetable, changed_clock, crontab, scrontab, systemd

HOSTILE = "/a b/$(touch x)'\"%\\`"
SCRIPT = ROOT / "slurm" / "nightly.sh"


def table(*arguments: str, script: str = "/repo/slurm/nightly.sh") -> Timetable:
    return Timetable(script, arguments, {"REPLICATE_PYTHON": HOSTILE}, "/repo/log", {"account": "vision"}, 2, 7)


def cron_command(line: str) -> list[str]:
    """The words that the shell of cron sees."""
    found = re.fullmatch(r"(\d+) (\d+) \* \* \* (.+)", line)
    assert found, line
    assert (found[1], found[2]) == ("7", "2")
    assert not re.search(r"(?<!\\)%", found[3])
    return shlex.split(found[3].replace(r"\%", "%"))


def test_crontab_line() -> None:
    words = cron_command(crontab(table("--results", HOSTILE)).splitlines()[-1])
    assert words == [f"REPLICATE_PYTHON={HOSTILE}", "/repo/slurm/nightly.sh", "--results", HOSTILE]


def test_cron_runs_exactly_what_was_asked(tmp_path: Path) -> None:
    """Through /bin/sh, as cron does; the script only says what it was called with."""
    script = tmp_path / "it's 100%.sh"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$REPLICATE_PYTHON" "$@"\n')
    script.chmod(0o755)
    line = crontab(table("--results", HOSTILE, script=str(script))).splitlines()[-1]
    command = line.split(maxsplit=5)[5].replace(r"\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == [HOSTILE, "--results", HOSTILE]
    assert not (tmp_path / "x").exists()


def test_scrontab_lines() -> None:
    lines = scrontab(table("--cluster", "lab")).splitlines()
    assert lines[0] == "# Add these lines with: scrontab -e, after: mkdir -p /repo/log"
    options = [line.removeprefix("#SCRON ") for line in lines if line.startswith("#SCRON ")]
    assert options == [
        "--job-name=deit-replicate-nightly",
        "--time=01:00:00",
        "--account=vision",
        "--output=/repo/log/scron-%j.log",
    ]
    assert cron_command(lines[-1])[1:] == ["/repo/slurm/nightly.sh", "--cluster", "lab"]


@pytest.mark.parametrize("value", ["a\nb", "a\r"])
def test_line_breaks_are_refused(value: str) -> None:
    with pytest.raises(UserError, match="line break"):
        table(value)


def test_systemd_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze is not installed")
    script = tmp_path / 'it\'s a "$x" of 100%' / "nightly.sh"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    text = systemd(table("--results", HOSTILE, script=str(script)))
    units = re.findall(r"^# ~/.config/systemd/user/(\S+)\n(.*?)(?=^# )", text, re.M | re.S)
    assert [name.rpartition(".")[2] for name, _ in units] == ["service", "timer"]
    for name, body in units:
        (tmp_path / name).write_text(body)
    paths = [str(tmp_path / name) for name, _ in units]
    done = subprocess.run([str(program), "verify", "--man=no", *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (when,) = re.findall(r"^OnCalendar=(.*)$", text, re.M)
    subprocess.run([str(program), "calendar", when], capture_output=True, check=True)
    assert 'ExecStart="' in text
    assert r"$$(touch x)'\"%%\\`" in text


@pytest.mark.parametrize("form", ["cron", "scrontab", "systemd"])
def test_printed_with_absolute_paths(replicate: Call, form: str) -> None:
    done = replicate("nightly", "--print", form, "--at", "05:05", "--budget", "8", "--train", "--results", "here")
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.replace('"', "")
    places = f"--tables {ROOT}/tables --results {ROOT}/here --out {ROOT}/out --cluster local"
    assert f"{SCRIPT} {places} --budget 8 --train" in words
    assert "--at" not in words
    assert ("05:05:00" if form == "systemd" else "\n5 5 * * * ") in done.stdout
    assert f"REPLICATE_LOG={ROOT}/log/nightly" in words


def words_of(printed: str) -> list[str]:
    """The words of the last line that cron's shell sees, variables first."""
    return shlex.split(printed.splitlines()[-1].split(maxsplit=5)[5].replace(r"\%", "%"))


def test_cron_is_told_what_the_environment_says_here(replicate: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_DATA", raising=False)
    refused = replicate("nightly", "--print", "cron", "--scale", "paper")
    assert refused.returncode == 3
    assert "REPLICATE_DATA is not set (expected the folder that holds the image data sets)" in refused.stderr
    monkeypatch.setenv("REPLICATE_DATA", "/data sets")
    monkeypatch.setenv("REPLICATE_NOTIFY", "mail -s 100% me")
    monkeypatch.setenv("REPLICATE_SETUP", "set up.sh")
    monkeypatch.setenv("REPLICATE_LOG", "/else where")
    monkeypatch.setenv("REPLICATE_KEEP", "")
    printed = replicate("nightly", "--print", "cron", "--scale", "paper", "--from", "released")
    assert printed.returncode == 0, printed.stderr
    words = words_of(printed.stdout)
    variables = words[: words.index(str(SCRIPT))]
    assert variables == [
        f"REPLICATE_PYTHON={sys.executable}",
        "REPLICATE_LOG=/else where",
        "REPLICATE_DATA=/data sets",
        f"REPLICATE_SETUP={ROOT}/set up.sh",
        "REPLICATE_NOTIFY=mail -s 100% me",
    ]
    assert words[-4:] == ["--scale", "paper", "--from", "released"]


def test_the_profile_that_was_found_is_named(
    replicate: Call, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name, a variable or the host: cron has none of these, and starts in another folder."""
    (tmp_path / "slurm").mkdir()
    profile = tmp_path / "slurm" / "lab.toml"
    head = 'name = "lab"\npython = "/usr/bin/python3"\nshared_is_local = true\n'
    text = f'{head}[paths]\nshared = "{tmp_path}/shared"\n[sbatch]\ntime = 60\n'
    profile.write_text(text + '[match]\nhostnames = ["*"]\n')
    monkeypatch.setenv("REPLICATE_DATA", "/images")
    monkeypatch.setenv("SLURM_CONF", "/etc/other/slurm.conf")
    by_name = replicate("nightly", "--print", "cron", "--cluster", "lab", cwd=tmp_path)
    assert by_name.returncode == 0, by_name.stderr
    words = words_of(by_name.stdout)
    assert words[-2:] == ["--cluster", str(profile)]
    assert f"{tmp_path}/shared/results" in words
    assert {"REPLICATE_DATA=/images", "SLURM_CONF=/etc/other/slurm.conf"} <= {*words}
    assert replicate("nightly", "--print", "cron", cwd=tmp_path).stdout == by_name.stdout
    assert replicate("nightly", "--print", "cron", "--cluster", "slurm/lab.toml", cwd=tmp_path).stdout == by_name.stdout
    monkeypatch.setenv("REPLICATE_CLUSTER", "slurm/lab.toml")
    assert replicate("nightly", "--print", "cron", cwd=tmp_path).stdout == by_name.stdout
    local = replicate("nightly", "--print", "cron", "--cluster", "local", cwd=tmp_path)
    assert words_of(local.stdout)[-2:] == ["--cluster", "local"]
    profile.write_text(text.replace("[sbatch]", 'data = "/else"\n[sbatch]'))
    monkeypatch.delenv("REPLICATE_CLUSTER")
    assert "REPLICATE_DATA" not in replicate("nightly", "--print", "cron", "--cluster", "lab", cwd=tmp_path).stdout


def service_command(printed: str) -> list[str]:
    """What systemd starts for the printed units, as words of env(1)."""
    parts = re.findall(r'^Environment="(.*)"$', printed, re.M)
    (command,) = re.findall(r"^ExecStart=(.*)$", printed, re.M)
    words = [part.replace('\\"', '"').replace("\\\\", "\\") for part in parts]
    words += [word.replace("$$", "$") for word in shlex.split(command)]
    return [word.replace("%%", "%") for word in words]


@pytest.mark.parametrize("form", ["cron", "scrontab", "systemd"])
def test_the_printed_lines_are_of_the_paper_they_were_printed_for(
    replicate: Call, results: Path, tmp_path: Path, form: str
) -> None:
    """A paper in a folder outside the checkout, from the bare environment of cron and another folder."""
    paper = tmp_path / 'Käthe\'s 100% "pa per" $x'
    copied_tables(paper)
    results.rename(paper / "results")
    call = ("nightly", "--no-run", "--json", "--seeds", "0", "--print", form)
    printed = replicate(*call, cwd=paper)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert not {path.name for path in paper.iterdir()} - {"tables", "results"}
    bare = ["env", "-i", f"HOME={tmp_path}", "PATH=/usr/bin:/bin"]
    if form == "systemd":
        done = subprocess.run([*bare, *service_command(printed.stdout)], cwd="/", capture_output=True, text=True)
    else:
        line = printed.stdout.splitlines()[-1].split(maxsplit=5)[5].replace(r"\%", "%")
        done = subprocess.run([*bare, "sh", "-c", f"cd; {line}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (said,) = (paper / "log" / "nightly").glob("*.md")
    told = json.loads(said.read_text())
    assert (told["scale"], told["run"], told["faults"]) == ("mini", False, [])
    assert set(told["counts"]) == {"done"}
    assert (paper / "out" / "mini" / f"{TABLE}.md").is_file()


def test_the_default_time_exists_once_a_day_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (ROOT / "tests" / "golden" / "help" / "nightly.txt").read_text()
    hour, minute = map(int, re.findall(r"default: (\d\d):(\d\d)", said)[0])
    # Some 600 names are of some 350 zones.
    files = next(Path(folder) for folder in zoneinfo.TZPATH if Path(folder).is_dir())
    zones = {(files / name).read_bytes(): name for name in sorted(zoneinfo.available_timezones(), reverse=True)}
    changing = set()
    try:
        for zone in zones.values():
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert changed_clock(hour, minute, datetime(2026, 3, 1)) is None, zone
            if changed_clock(2, 17, datetime(2026, 3, 1)):
                changing.add(zone)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(changing) > 20


def test_a_time_that_is_skipped_or_repeated_is_warned_of(replicate: Call) -> None:
    done = replicate("nightly", "--print", "cron", "--at", "02:30", env={"TZ": "Europe/Berlin"})
    assert done.returncode == 0
    assert re.match(r"warning: 02:30 is skipped or comes twice on 20\d\d-(03|10)-\d\d, ", done.stderr)
    assert replicate("nightly", "--print", "cron", "--at", "02:30", env={"TZ": "Asia/Tokyo"}).stderr == ""


def test_a_line_that_debians_cron_refuses_says_so() -> None:
    assert "no command longer" not in crontab(table())
    assert "# Debian's cron takes no command longer than 999 characters, and this one has " in crontab(table("x" * 999))


def test_without_a_checkout_there_is_no_script_to_call(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("replicate.cli.nightly_command.__file__", str(tmp_path / "site" / "replicate" / "cli" / "x.py"))
    done = replicate("nightly", "--print", "cron")
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: no script to call: {tmp_path}/site/slurm/nightly.sh does not exist\n")


def test_a_time_of_day_that_does_not_exist(replicate: Call) -> None:
    done = replicate("nightly", "--print", "cron", "--at", "24:00")
    assert done.returncode == 3
    assert "expected HH:MM" in done.stderr


def test_the_script_is_clean() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        missing("shellcheck is not installed")
    done = subprocess.run([str(program), str(SCRIPT)], capture_output=True, text=True)
    assert done.stdout == ""


def as_cron(repository: Repository, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``env -i``: cron gives next to nothing, and starts in the home folder."""
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(repository.folder), "SHELL": "/bin/sh", "LOGNAME": "t", **env}
    words = [f"{name}={value}" for name, value in variables.items()]
    script = repository.code / "slurm" / "nightly.sh"
    command = ["env", "-i", *words, str(script), *repository.options, *arguments]
    return subprocess.run(command, cwd=repository.folder, capture_output=True, text=True, timeout=180)


@pytest.mark.torch
def test_the_script_as_cron_calls_it(repository: Repository) -> None:
    log = repository.folder / "my logs"
    told = repository.folder / "told"
    # In quotes of both kinds, with a $ that the notification's own shell has to see.
    notify = f"cat >'{told}'; printf '%s %s\\n' \"$1\" \"$REPLICATE_EXIT\" >'{told}.code'"
    env = {"REPLICATE_PYTHON": sys.executable, "REPLICATE_LOG": str(log), "REPLICATE_NOTIFY": notify}
    for _ in range(4):
        done = as_cron(repository, REPLICATE_KEEP="3", **env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    summary = (repository.latest / "summary.md").read_text()
    assert told.read_text() == summary
    assert Path(f"{told}.code").read_text() == "0 0\n"
    logs = sorted(log.glob("nightly-*.log"))
    assert len(logs) == len(list(log.glob("nightly-*.md"))) == 3
    assert summary in logs[-1].read_text()
    assert logs[-1].read_text().endswith("# exit 0\n")
    # A fault is told, too, and is never taken for a moved number.
    done = as_cron(repository, "--scale", "huge", **env)
    assert done.returncode == 3
    assert "**Fault:** unknown scale 'huge'" in told.read_text()
    assert Path(f"{told}.code").read_text() == "3 3\n"
    done = as_cron(repository, **{**env, "REPLICATE_PYTHON": "/nowhere/python"})
    assert done.returncode == 3
    assert "no such interpreter, got '/nowhere/python'" in told.read_text()
    # One that fails changes nothing of the night.
    done = as_cron(repository, **{**env, "REPLICATE_NOTIFY": "exit 7"})
    assert done.returncode == 0
    assert "# REPLICATE_NOTIFY ended with 7" in max(log.glob("*.log")).read_text()


@pytest.mark.torch
def test_the_script_reads_a_setup_file(repository: Repository) -> None:
    setup = repository.folder / "set up.sh"
    setup.write_text(f"UNSET=$NOWHERE\nexport REPLICATE_PYTHON={sys.executable}\n")
    log = str(repository.folder / "log")
    assert as_cron(repository, REPLICATE_SETUP=str(setup), REPLICATE_LOG=log).returncode == 0
    assert as_cron(repository, REPLICATE_SETUP=str(setup), REPLICATE_LOG=log, REPLICATE_KEEP="0").returncode == 3
