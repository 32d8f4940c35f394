"""A model of Slurm in this process: it takes sbatch's scripts, and can tell how they would run."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replicate.backends.slurm.backend import Slurm
from replicate.backends.slurm.client import Answer, Client
from replicate.store.store import Store

Element = tuple[str, int]


@dataclass
class ArrayJob:
    """An array as sbatch's script asks for it."""

    number: str
    kind: str
    name: str
    comment: str
    indices: list[int]
    throttle: int | None
    dependency: str
    script: str


@dataclass
class ModelSlurm(Client):
    """``config``: what ``scontrol show config`` says. ``calls``: every call. ``arrays``: what was submitted, by number.

    limit: elements that sbatch lets wait. database: what sacctmgr shows, by its question. refused, refused_test: what
    sbatch (or its --test-only) says to arrays of a kind; refused_exclude: what --test-only says where a node is left
    out. lengths: of the arrays that sbatch was asked to take. ended: elements that are over. failed: those of them that
    failed. endings: state, node and time of those that squeue remembers.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=lambda: {"MaxArraySize": "1001", "MaxJobCount": "10000"})
    calls: list[tuple[str, ...]] = field(default_factory=list)
    arrays: dict[str, ArrayJob] = field(default_factory=dict)
    limit: int | None = None
    database: dict[str, str] = field(default_factory=dict)
    partitions: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    refused_test: dict[str, str] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    refused_exclude: str = ""
    endings: dict[Element, tuple[str, str, str]] = field(default_factory=dict)
    ended: set[Element] = field(default_factory=set)
    failed: set[Element] = field(default_factory=set)

    def call(self, *command: str, **_: object) -> Answer:
        self.calls.append(command)
        match command[0]:
            case "sbatch":
                return self.sbatch(*command[1:])
            case "sacctmgr":
                asked = next((name for name in self.database if name in " ".join(command)), "")
                return Answer(0, self.database.get(asked, ""), "")
            case "scontrol" if "partition" in command:
                return Answer(0, self.partitions, "")
            case "scontrol":
                return Answer(0, "".join(f"{name} = {value}\n" for name, value in self.config.items()), "")
            case "squeue":
                return Answer(0, "".join(self.squeue(command)), "")
        return Answer(0, "", "")

    def sbatch(self, *words: str) -> Answer:
        script = Path(words[-1]).read_text()
        kind = next((kind for kind in self.refused_test if f"--partition={kind}" in script), "")
        if "--test-only" in words and self.refused_exclude and option(script, "exclude"):
            return Answer(1, "", f"allocation failure: {self.refused_exclude}\n")
        if "--test-only" in words and kind:
            return Answer(1, "", f"allocation failure: {self.refused_test[kind]}\n")
        if "--test-only" in words:
            return Answer(0, "", "sbatch: Job 1 to start at 2026-01-01T00:00:00\n")
        kind = next((kind for kind in self.refused if f"--partition={kind}" in script), "")
        if kind:
            return Answer(1, "", f"sbatch: error: Batch job submission failed: {self.refused[kind]}\n")
        length = len([index for part in option(script, "array").split("%")[0].split(",") for index in _range(part)])
        self.lengths.append(length)
        waiting = sum(len(array.indices) for array in self.arrays.values()) - len(self.ended)
        if self.limit is not None and waiting + length > self.limit:
            words_of_slurm = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
            error = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: "
            return Answer(1, "", f"{error}{words_of_slurm}\n")
        number = str(100 + len(self.arrays))
        indices, _, throttle = option(script, "array").partition("%")
        self.arrays[number] = ArrayJob(
            number,
            option(script, "comment").split(":")[-1].split("-")[0],
            option(script, "job-name"),
            option(script, "comment"),
            [index for part in indices.split(",") for index in _range(part)],
            int(throttle) if throttle else None,
            option(script, "dependency"),
            script,
        )
        return Answer(0, f"{number}\n" if "--parsable" in words else f"Submitted batch job {number}\n", "")

    def squeue(self, words: tuple[str, ...]) -> Iterator[str]:
        """All that was submitted and has not ended waits; of what has, failures are remembered."""
        form = words[words.index("-o") + 1]
        for number, array in self.arrays.items():
            for index in array.indices:
                if (number, index) in self.endings:
                    ended, node, after = self.endings[number, index]
                    about = {"i": f"{number}_{index}", "A": number, "T": ended, "N": node, "M": after}
                    about |= {"k": array.comment, "j": array.name}
                    yield re.sub(r"%(\w)", lambda found, about=about: about.get(found[1], ""), form) + "\n"
                elif (number, index) not in self.ended or (number, index) in self.failed:
                    state = "FAILED" if (number, index) in self.failed else "PENDING"
                    about = {"i": f"{number}_{index}", "A": number, "T": state, "r": "Priority", "S": "N/A"}
                    about |= {"N": "", "k": array.comment, "j": array.name}
                    yield re.sub(r"%(\w)", lambda found, about=about: about.get(found[1], ""), form) + "\n"

    def fail_all(self) -> None:
        """Every element ended without a word."""
        self.ended |= {(number, index) for number, array in self.arrays.items() for index in array.indices}
        self.failed |= self.ended

    @property
    def submissions(self) -> list[tuple[str, ...]]:
        return [call for call in self.calls if call[0] == "sbatch" and "--test-only" not in call]

    def simulate(self, chance: random.Random) -> tuple[Counter[str], int]:
        """Run everything on endless nodes, with times drawn by chance.

        Returns the most tasks of each kind that ran at once, and how many ended.
        """
        running: dict[Element, float] = {}
        waiting = [(number, index) for number, array in self.arrays.items() for index in array.indices]
        most: Counter[str] = Counter()
        now = 0.0
        while waiting or running:
            for element in list(waiting):
                array = self.arrays[element[0]]
                at_once = sum(number == element[0] for number, _ in running)
                if (array.throttle is None or at_once < array.throttle) and self._ready(element):
                    waiting.remove(element)
                    running[element] = now + chance.choice([1.0, 2.0, 5.0, 13.0]) * chance.random()
            assert running, f"nothing can start: {[self.arrays[number].dependency for number, _ in waiting]}"
            for kind, count in Counter(self.arrays[number].kind for number, _ in running).items():
                most[kind] = max(most[kind], count)
            first = min(running, key=running.__getitem__)
            now = running.pop(first)
            self.ended.add(first)
        return most, len(self.ended)

    def _ready(self, element: Element) -> bool:
        return all(self._met(part, element[1]) for part in self.arrays[element[0]].dependency.split(",") if part)

    def _met(self, part: str, index: int) -> bool:
        how, *targets = part.split(":")
        match how:
            case "aftercorr":
                return all((target, index) in self.ended for target in targets)
            case "afterok" | "afterany":
                return all(self._over(target) for target in targets)
        raise AssertionError(part)

    def _over(self, target: str) -> bool:
        number, _, index = target.partition("_")
        indices = [int(index)] if index else self.arrays[number].indices
        return all((number, each) in self.ended for each in indices)


Site = Callable[..., "tuple[Slurm, ModelSlurm, Store]"]
"""Makes a cluster from fields of its profile: the backend, the model that answers it, and an empty store."""


def option(script: str, name: str) -> str:
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.M)
    return found[1].strip("'\"") if found else ""


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
