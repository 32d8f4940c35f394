"""What jobs read that no job makes: image folders and published weights, as a node sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from replicate.backends.doctor import probe
from replicate.backends.slurm.profile import Profile
from replicate.specs.scale import FOLDER, PublishedFile
from replicate.specs.sources.imagefolder import FolderData


@dataclass(frozen=True, slots=True)
class Files:
    """Of one scale; ``weights`` are empty unless they are read in place of training."""

    data: Sequence[FolderData]
    weights: Sequence[PublishedFile] = ()

    def question(self, profile: Profile, nonce: str, packages: Sequence[str]) -> probe.Question:
        """What `probe.answer` is asked, of them and of ``packages``."""
        root = profile.paths.data
        if not root:
            return probe.Question(nonce, packages)
        files = {f"{FOLDER}/{published.file}": published.url for published in self.weights}
        return probe.Question(nonce, packages, data_root=root, data=[entry.name for entry in self.data], files=files)

    def findings(self, profile: Profile, given: probe.Answer) -> Iterator[Finding]:
        """What the node's answer ``given`` says of them."""
        if (self.data or self.weights) and not profile.paths.data:
            yield fail("data", "paths.data is not set", "name the folder of the image folders in the profile")
            return
        there = {name: splits for name, splits in given.data.items() if not (splits.train.error and splits.val.error)}
        for entry in self.data:
            if there and entry.name not in there:
                unable = "tables that read it cannot be brought forward"
                yield warn(f"data {entry.name}", f"not on {given.host}", unable)
            else:
                yield from self._images(profile, given, entry)
        yield from _weights(profile, given, self.weights)

    def _images(self, profile: Profile, given: probe.Answer, entry: FolderData) -> Iterator[Finding]:
        here = probe.splits(f"{profile.paths.data}/{entry.name}")
        there = given.data[entry.name]
        pairs: Sequence[tuple[int, int]] = entry.sizes()
        if not (there.train.error or there.val.error):
            # The two numbers of a release go together.
            pairs = [pair for pair in pairs if pair == (there.train.images, there.val.images)] or pairs[:1]
        train, test = zip(*pairs, strict=True)
        for part, got, ours, expected in (
            ("train", there.train, here.train, train),
            ("val", there.val, here.val, test),
        ):
            subject = f"data {entry.name}/{part}"
            if expected[0] == 0:
                continue
            if got.error and part == "train" and self.weights:
                yield warn(subject, f"{got.error} on {given.host}", "nothing can be trained there")
            elif got.error:
                yield fail(subject, f"{got.error} on {given.host}", "put the images there, or set paths.data")
            elif got.classes != entry.classes or got.images not in expected:
                words = f"{got.images} images of {got.classes} classes, not {expected[0]} of {entry.classes}"
                yield fail(subject, words, "complete the folder; every accuracy would be of another set")
            elif not ours.error and ours != got:
                yield fail(subject, f"other files on {given.host} than here", "is it a local copy on the node?")
            else:
                yield ok(subject, f"{got.images} images of {got.classes} classes, list {got.sha256[:12]}")


def _weights(profile: Profile, given: probe.Answer, weights: Sequence[PublishedFile]) -> Iterator[Finding]:
    if not weights:
        return
    folder, host = f"{profile.paths.data}/{FOLDER}", given.host
    places = {published.file: given.files[f"{FOLDER}/{published.file}"] for published in weights}
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

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warn(subject: str, text: str, help: str = "") -> Finding:
    return Finding("warn", subject, text, help)


def fail(subject: str, text: str, help: str = "") -> Finding:
    return Finding("fail", subject, text, help)
