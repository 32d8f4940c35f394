"""What a check is, and how it is run: in a process of its own, which may hang, crash or spoil the GPU's state."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

State = Literal["passed", "measured", "failed", "needs a GPU", "not run"]


class Mismatch(Exception):
    """The device computed something else than it had to."""


class NotHere(Exception):
    """What the check is about is missing from this environment."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a check runs. ``folder`` is its own, ``images`` a folder of data sets, ``device`` a name of torch's."""

    folder: Path
    images: Path
    device: str
    smallest: bool

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True, slots=True)
class Check:
    """``bound``: what must hold, in words; empty where it only measures. ``seconds``: after which it is ended."""

    name: str
    bound: str
    seconds: float
    needs_gpu: bool
    module: str
    run: Callable[[Setting], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """``seen``: what was found, or why nothing was."""

    name: str
    state: State
    bound: str
    seen: str
    seconds: float


_CHECKS: list[Check] = []


def check(
    bound: str = "", seconds: float = 60.0, needs_gpu: bool = False
) -> Callable[[Callable[[Setting], str]], Callable[[Setting], str]]:
    """Make a function a check, named after it: it returns what it has seen, and raises `Mismatch` beyond its bound."""

    def added(run: Callable[[Setting], str]) -> Callable[[Setting], str]:
        _CHECKS.append(Check(run.__name__.replace("_", " "), bound, seconds, needs_gpu, run.__module__, run))
        return run

    return added


def checks() -> tuple[Check, ...]:
    """All of them, in the order they are run in: what must hold before what only takes time."""
    from benchmarks.gpu_check import correctness, speed  # noqa: F401 - filled by being imported

    return tuple(_CHECKS)


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.gpu_check.ready"])
START = 120.0
"""Seconds in which torch must be imported and the device named."""


def device() -> dict[str, str]:
    """The device and what is installed, for people. Asked in another process: one that knows a GPU cannot be forked."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_describe, args=(sender,))
    process.start()
    sender.close()
    try:
        if not receiver.poll(START):
            raise TimeoutError(f"torch did not name its device within {START:.0f} s")
        found: dict[str, str] = receiver.recv()
    finally:
        process.kill()
        process.join()
    return found


def _describe(sender: Any) -> None:
    sender.send(_described())


def _described() -> dict[str, str]:
    """The device and what is installed, for people."""
    import torch

    gpu = torch.cuda.is_available()
    found = {"device": torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine()}
    if gpu:
        properties = torch.cuda.get_device_properties(0)
        found["memory"] = f"{properties.total_memory / 1e9:.0f} GB"
        found["CUDA"] = str(torch.version.cuda)
    found |= {"kind": "cuda" if gpu else "cpu", "cores": str(len(os.sched_getaffinity(0)))}
    found["Python"] = platform.python_version()
    for package in ("torch", "torchvision", "timm", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def run_all(chosen: list[Check], setting: Setting, minutes: float, logs: Path) -> Iterator[Outcome]:
    """The outcome of each check, as it ends. What no time is left for is not run."""
    end = time.monotonic() + 60 * minutes
    logs.mkdir(parents=True, exist_ok=True)
    for each in chosen:
        if each.needs_gpu and not setting.gpu:
            yield Outcome(each.name, "needs a GPU", each.bound, "", 0.0)
        elif (left := end - time.monotonic()) < min(each.seconds, 10.0):
            yield Outcome(each.name, "not run", each.bound, f"no time is left of {minutes:g} minutes", 0.0)
        else:
            yield _alone(each, setting, min(left, each.seconds), logs)


def _alone(each: Check, setting: Setting, seconds: float, logs: Path) -> Outcome:
    folder, log = setting.folder / each.name.replace(" ", "-"), logs / f"{each.name.replace(' ', '-')}.txt"
    folder.mkdir(parents=True)
    here = Setting(folder, setting.images, setting.device, setting.smallest)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    begun = time.monotonic()
    process = CONTEXT.Process(target=_child, args=(each.module, each.name, here, log, sender))
    process.start()
    sender.close()
    answered = False
    try:
        answered = receiver.poll(seconds)
        found: tuple[State, str] = receiver.recv() if answered else ("failed", f"not done after {seconds:.0f} s")
    except EOFError:
        process.join()
        found = "failed", f"its process ended with {process.exitcode}; {log.name} may say why"
    finally:
        # Its own children, too: a process that was killed for a check leaves none, one that hangs may.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()
    return Outcome(each.name, found[0], each.bound, found[1], round(time.monotonic() - begun, 1))


def _child(module: str, name: str, setting: Setting, log: Path, sender: Any) -> None:
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import_module(module)
    (each,) = (each for each in _CHECKS if each.name == name)
    sender.send(judged(each, setting))
    sys.stdout.flush()


def judged(each: Check, setting: Setting) -> tuple[State, str]:
    """Run a check in this process: what became of it, and what it has seen."""
    os.environ["REPLICATE_DATA"] = str(setting.images)
    try:
        seen = each.run(setting)
    except Mismatch as error:
        return "failed", str(error)
    except NotHere as error:
        return "not run", str(error)
    except BaseException as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no words'}"
    return ("passed" if each.bound else "measured"), seen


def must(holds: bool, what: str) -> None:
    """Raise `Mismatch`, which says ``what`` was seen, unless it ``holds``."""
    if not holds:
        raise Mismatch(what)


def report(about: dict[str, str], outcomes: list[Outcome], folder: Path) -> None:
    """Write ``report.md`` and ``report.json``, with what is known so far."""
    counts = " · ".join(f"{count} {state}" for state, count in tally(outcomes).items())
    lines = [f"# GPU check: {about['device']}", "", counts, ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", "| check | outcome | bound | seen | seconds |", "|---|---|---|---|---|"]
    lines += [row(each) for each in outcomes]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    body = {"about": about, "checks": [asdict(each) for each in outcomes]}
    (folder / "report.json").write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def row(each: Outcome) -> str:
    cells = (each.name, each.state, each.bound or "–", each.seen or "–", f"{each.seconds:.1f}")
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def tally(outcomes: list[Outcome]) -> dict[str, int]:
    """How many checks came to each end."""
    counts: dict[str, int] = {}
    for each in outcomes:
        counts[each.state] = counts.get(each.state, 0) + 1
    return counts
