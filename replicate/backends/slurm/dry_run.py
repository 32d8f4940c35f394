"""What a step would submit, without asking Slurm for anything: scripts, arrays and dependencies.

The submitter itself makes them, into a folder that is thrown away, and is answered by a stand-in for sbatch.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replicate.backends.backend import JobView
from replicate.backends.slurm.backend import plan_name
from replicate.backends.slurm.client import Answer, Client
from replicate.backends.slurm.job_states import QueuedStates
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.queue import Queue
from replicate.backends.slurm.snapshot import planned
from replicate.backends.slurm.submission import MAP, SubmissionMap
from replicate.backends.slurm.submitter import Step, Submitter
from replicate.errors import ClusterRefused, SpecError
from replicate.plan.graph import Graph
from replicate.store.store import Store
from replicate.text import plural

LONGEST = 1000
"""Elements of an array where the site's MaxArraySize is Slurm's own default, 1001."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of sbatch. number: stands for the one that Slurm would give. tasks: keys of the jobs by element."""

    number: int
    command: str
    kind: str
    tasks: Mapping[int, Sequence[str]]
    dependency: str
    script: str

    def explained(self) -> Iterator[str]:
        """What array and dependency mean, in lines of words."""
        jobs = sum(map(len, self.tasks.values()))
        array = self.option("array")
        yield f"{plural(jobs, f'{self.kind} job')} in {plural(len(self.tasks), 'task')} of one array (--array={array})"
        for index, keys in list(self.tasks.items())[:3]:
            yield f"  task {index}: {', then '.join(keys)}"
        if len(self.tasks) > 3:
            yield f"  and {plural(len(self.tasks) - 3, 'task')} more"
        _, percent, most = array.partition("%")
        if percent:
            yield f"%{most}: at most so many of them run at once (max_running)"
        for part in self.dependency.split(",") if self.dependency else ():
            how, _, which = part.partition(":")
            numbers = ", ".join(which.split(":"))
            yield f"{part}: {_DEPENDENCIES.get(how, 'as man sbatch says')}".replace("NUMBERS", numbers)

    def option(self, name: str) -> str:
        found = re.search(rf"^#SBATCH --{name}='?([^'\n]*)", self.script, re.M)
        return found[1] if found else ""


_DEPENDENCIES = {
    "afterok": "no task begins before NUMBERS ended with a result",
    "aftercorr": "each task waits for the task of the same index of NUMBERS",
    "afterany": "no task begins before NUMBERS ended, well or not: whole arrays, so that max_running holds over both;"
    " tasks, whose results it can do without",
}


@dataclass(slots=True)
class _StandIn(Client):
    """Takes what would be submitted, and asks nobody."""

    taken: list[tuple[tuple[str, ...], Path]] = field(default_factory=list)

    def call(self, *command: str) -> Answer:
        if command[0] != "sbatch" or "--test-only" in command:
            return Answer(0, "", "")
        self.taken.append((command, Path(command[-1])))
        number = str(len(self.taken))
        return Answer(0, number if "--parsable" in command else f"Submitted batch job {number}\n", "")

    def limits(self) -> Mapping[str, str]:
        return {"MaxArraySize": str(LONGEST + 1)}


def dry_run(
    graph: Graph, store: Store, profile: Profile, root: Path, names: Sequence[str], warn: Callable[[str], None]
) -> list[Call]:
    """The calls of sbatch that a step would make if nothing of ``graph`` were queued. Nothing is written.

    warn: is told what a step would warn of. Raises ClusterRefused where the profile does not fit the jobs.
    """
    states = QueuedStates(graph, store, Queue(), [], 60.0 * profile.lost_after_minutes)
    todo = [key for key, view in states.views.items() if view.state in ("absent", "damaged", "failed") and view.again]
    for key in todo:
        states.views[key] = JobView("absent")
    client = _StandIn(profile.client_environment(os.environ))
    with tempfile.TemporaryDirectory(prefix="replicate-plan-") as name:
        # The folder is taken out of the texts again, and what is left is quoted as it would be.
        scratch = Store(Path(f"{name}{store.root}"))
        (scratch.root / ".slurm").mkdir(parents=True)
        code = planned(root, Path(profile.paths.shared))
        plan = plan_name(names)

        def say(line: str) -> None:
            if line.startswith("warning: "):
                warn(line)

        step = Step(states)
        Submitter(graph, scratch, profile, client, plan, code, say, step).run(todo)
        if step.refused:
            raise ClusterRefused(str(SpecError(step.refused)))
        return [_call(number, command, script, name) for number, (command, script) in enumerate(client.taken, 1)]


def _call(number: int, command: Sequence[str], script: Path, scratch: str) -> Call:
    map = SubmissionMap.read(script.parent / MAP)
    assert map is not None
    said = shlex.join(command).replace(scratch, "")
    text = script.read_text(encoding="utf-8").replace(scratch, "")
    return Call(number, said, map.kind, map.tasks, map.dependency, text)
