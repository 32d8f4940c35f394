"""Lines that make a scheduler call slurm/nightly.sh every night: crontab, scrontab, systemd."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from replicate.errors import UserError

NAME = "deit-replicate-nightly"
LONGEST = 999
"""Characters of a command that Debian's cron takes (MAX_COMMAND of its entry.c); cronie takes more."""

STARTER = ("/usr/bin/env", "bash")
"""Before the script in a unit: systemd takes fewer characters in the path of a program than in its arguments."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """``script`` is the absolute path of slurm/nightly.sh, ``log`` of its folder of logs.

    environment: variables for the script. options: sbatch's, for scrontab. hour, minute: local time.
    """

    script: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: str
    options: Mapping[str, str]
    hour: int
    minute: int

    def __post_init__(self) -> None:
        for text in (self.script, self.log, *self.arguments, *self.environment.values(), *self.options.values()):
            if "\n" in text or "\r" in text:
                raise UserError(f"timetable line holds a line break: {text!r}\n  leave it out")


def crontab(table: Timetable) -> str:
    """A line of crontab(5), where % would end the command."""
    line = _cron_line(table)
    command = line.split(maxsplit=5)[5]
    long = f"# Debian's cron takes no command longer than {LONGEST} characters, and this one has {len(command)}.\n"
    return (
        "# Add these lines with: crontab -e\n"
        f"# Logs are in {table.log}; cron mails nothing, as standard output and error are in them.\n"
        f"{long if len(command) > LONGEST else ''}{line}\n"
    )


def _cron_line(table: Timetable) -> str:
    assigned = [f"{name}={shlex.quote(value)}" for name, value in table.environment.items()]
    command = " ".join([*assigned, shlex.join([table.script, *table.arguments])]).replace("%", r"\%")
    return f"{table.minute} {table.hour} * * * {command}"


def scrontab(table: Timetable) -> str:
    """Lines of scrontab(1): as crontab, behind the options of the job that Slurm makes of them.

    The job only submits and compares, so it is small; it must run where sbatch is.
    """
    # In the name of a file % begins a pattern, and %% is a %.
    output = f"{table.log.replace('%', '%%')}/scron-%j.log"
    options = {"job-name": NAME, "time": "01:00:00", **table.options, "output": output}
    lines = [f"#SCRON --{name}={shlex.quote(value)}" for name, value in options.items()]
    # Slurm 22.05 does not make the folder of a job's output: the job fails, and its log is not there to say so.
    first = f"# Add these lines with: scrontab -e, after: mkdir -p {shlex.quote(table.log)}"
    return "\n".join([first, *lines, _cron_line(table)]) + "\n"


def systemd(table: Timetable) -> str:
    """A service and a timer for ``systemctl --user``, each under the path it belongs at."""
    environment = [f"Environment={_quoted(f'{name}={value}')}" for name, value in table.environment.items()]
    service = [
        "[Unit]",
        "Description=Nightly run of deit-replicate",
        "",
        "[Service]",
        "Type=oneshot",
        *environment,
        "ExecStart=" + " ".join(_quoted(part, command=True) for part in (*STARTER, table.script, *table.arguments)),
    ]
    timer = [
        "[Unit]",
        "Description=Every night: deit-replicate",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {table.hour:02}:{table.minute:02}:00",
        # A machine that was off at that time makes up for it.
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    units = {"service": service, "timer": timer}
    parts = [f"# ~/.config/systemd/user/{NAME}.{kind}\n" + "\n".join(lines) + "\n" for kind, lines in units.items()]
    return "\n".join(parts) + f"\n# then: systemctl --user enable --now {NAME}.timer\n"


def _quoted(text: str, command: bool = False) -> str:
    """A word as systemd.syntax(7) reads it; in a command also without its variables."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text.replace("$", "$$") if command else text}"'


def changed_clock(hour: int, minute: int, today: datetime) -> date | None:
    """Return the first day of the coming year on which the clocks of this zone skip or repeat a time of day."""
    for days in range(366):
        day = (today + timedelta(days)).replace(hour=hour, minute=minute, second=0, microsecond=0)
        first, second = (day.replace(fold=fold).astimezone().utcoffset() for fold in (0, 1))
        if first != second:
            return day.date()
    return None


FORMS: Mapping[str, Callable[[Timetable], str]] = {"cron": crontab, "scrontab": scrontab, "systemd": systemd}
