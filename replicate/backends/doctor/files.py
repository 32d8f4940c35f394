"""What jobs read that no job makes: image folders and published weights, as a node sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from replicate.backends.doctor import probe
from replicate.backends.slurm.profile import Profile
from replicate.specs.scale import FOLDER, PublishedFile
from replicate.specs.sources.imagefolder import FolderData


@dataclass(frozen=True, slots=True)
class Files:
    """Of one scale; ``weights`` are empty unless they are read in place of training."""

    data: Sequence[FolderData]
    weights: Sequence[PublishedFile] = ()

    def question(self, profile: Profile) -> dict[str, Any]:
        """What `probe.answer` is asked of them."""
        root = profile.paths.data
        return {
            "data_root": root or "",
            "data": [entry.name for entry in self.data] if root else [],
            "files": {f"{FOLDER}/{one.file}": one.url for one in self.weights} if root else {},
        }

    def findings(self, profile: Profile, given: Mapping[str, Any]) -> Iterator[Finding]:
        """What the node's answer ``given`` says of them."""
        if (self.data or self.weights) and not profile.paths.data:
            yield fail("data", "paths.data is not set", "name the folder of the image folders in the profile")
            return
        absent = [one.name for one in self.data if all("error" in got for got in given["data"][one.name].values())]
        for entry in self.data:
            if entry.name in absent and len(absent) < len(self.data):
                host, unable = given["host"], "tables that read it cannot be brought forward"
                yield warn(f"data {entry.name}", f"not on {host}", unable)
            else:
                yield from self._images(profile, given, entry)
        yield from _weights(profile, given, self.weights)

    def _images(self, profile: Profile, given: Mapping[str, Any], entry: FolderData) -> Iterator[Finding]:
        here = probe.splits(f"{profile.paths.data}/{entry.name}")
        pairs = entry.sizes()
        counted = given["data"][entry.name]
        counts = (counted["train"].get("images"), counted["val"].get("images"))
        # The two numbers of a release go together.
        fitting = [pair for pair in pairs if pair == counts] or (pairs if None in counts else pairs[:1])
        for part, expected in (("train", [pair[0] for pair in fitting]), ("val", [pair[1] for pair in fitting])):
            subject, got = f"data {entry.name}/{part}", counted[part]
            if expected[0] == 0:
                continue
            if "error" in got and part == "train" and self.weights:
                yield warn(subject, f"{got['error']} on {given['host']}", "nothing can be trained there")
            elif "error" in got:
                yield fail(subject, f"{got['error']} on {given['host']}", "put the images there, or set paths.data")
            elif got["classes"] != entry.classes or got["images"] not in expected:
                words = f"{got['images']} images of {got['classes']} classes, not {expected[0]} of {entry.classes}"
                yield fail(subject, words, "complete the folder; every accuracy would be of another set")
            elif "error" not in here[part] and here[part] != got:
                yield fail(subject, f"other files on {given['host']} than here", "is it a local copy on the node?")
            else:
                yield ok(subject, f"{got['images']} images of {got['classes']} classes, list {got['sha256'][:12]}")


def _weights(profile: Profile, given: Mapping[str, Any], weights: Sequence[PublishedFile]) -> Iterator[Finding]:
    if not weights:
        return
    folder, host = f"{profile.paths.data}/{FOLDER}", given["host"]
    places = {one.file: given["files"][f"{FOLDER}/{one.file}"] for one in weights}
    there = [name for name, how in places.items() if how == "there"]
    lacking = [name for name, how in places.items() if how == "nowhere"]
    coming = len(places) - len(there) - len(lacking)
    words = f"{len(there)} of {len(places)} files in {folder} on {host}"
    if coming:
        words += f", {coming} answer at their address"
    if lacking:
        yield fail("weights", f"{words}, not {', '.join(lacking)}", "download them here, and put them into that folder")
    else:
        yield ok("weights", words)


Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``warn`` costs time or comfort; with ``fail`` jobs would not run or would be lost."""

    level: Level
    subject: str
    text: str
    help: str = ""

    def __str__(self) -> str:
        advice = f"; {self.help}" if self.help else ""
        return f"{self.level:<4}  {self.subject}: {self.text}{advice}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warn(subject: str, text: str, help: str = "") -> Finding:
    return Finding("warn", subject, text, help)


def fail(subject: str, text: str, help: str = "") -> Finding:
    return Finding("fail", subject, text, help)
