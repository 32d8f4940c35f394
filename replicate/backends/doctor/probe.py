"""What runs on a node for `doctor`. A copy of this file is started there, so it uses the standard library only.

``python probe.py FOLDER``: reads FOLDER/question.json, writes FOLDER/answer.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from importlib import metadata
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Question:
    """data: names of folders of images under ``data_root``. files: names of files there, with their addresses.

    torch: whether it is to be imported. gpu: whether it is to compute something on a GPU, too.
    """

    nonce: str
    packages: Sequence[str]
    torch: bool = False
    gpu: bool = False
    data_root: str = ""
    data: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Images of training or of test; ``error`` says why the folder cannot be read.

    sha256: the fingerprint of the list of files, as `replicate.engine.sources.imagefolder.Listing` makes it.
    """

    classes: int = 0
    images: int = 0
    sha256: str = ""
    error: str = ""


@dataclass(frozen=True)
class Splits:
    train: Split
    val: Split


@dataclass(frozen=True)
class Torch:
    """What torch did. error: why it cannot be imported. gpu: the GPU that it computed on, else ``gpu_error``."""

    version: str = ""
    cuda: str = ""
    error: str = ""
    gpu: str = ""
    gpu_error: str = ""


@dataclass(frozen=True)
class Answer:
    """Who and what a machine is. files: see `whereabouts`."""

    nonce: str = ""
    host: str = ""
    time: float = 0.0
    python: str = ""
    executable: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    gpus_given: Sequence[str] = ()
    gpus_seen: Sequence[str] = ()
    torch: Torch = field(default_factory=Torch)
    data: Mapping[str, Splits] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Answer:
        """Raises ValueError where ``text`` is not whole."""
        # Only who asked calls this; a node may lack it.
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_json(text)


def answer(question: Question) -> Answer:
    return Answer(
        nonce=question.nonce,
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        time=time.time(),
        python=platform.python_version(),
        executable=sys.executable,
        packages={name: version(name) for name in question.packages},
        gpus_given=[index for index in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if index],
        gpus_seen=gpus(),
        torch=torch_here(question.gpu) if question.torch else Torch(),
        data={name: splits(os.path.join(question.data_root, name)) for name in question.data},
        files=whereabouts(question.data_root, question.files),
    )


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """Names of the GPUs, from nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


_TRY = """
import json, sys
import torch
said = {"version": str(torch.__version__), "cuda": str(torch.version.cuda or "")}
if sys.argv[1] == "gpu":
    try:
        ones = torch.ones(2, 2, device="cuda")
        if float((ones @ ones).sum().item()) != 8.0:
            raise RuntimeError("it computed 2 x 2 wrongly")
        said["gpu"] = torch.cuda.get_device_name(0)
    except Exception as error:
        said["gpu_error"] = (str(error).strip().splitlines() or [type(error).__name__])[0]
print("\\n" + json.dumps(said))
"""
"""In a process of its own, since a wrong library may end it. A driver that is too old shows here and nowhere else."""


def torch_here(gpu: bool) -> Torch:
    command = [sys.executable, "-c", _TRY, "gpu" if gpu else "cpu"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        return Torch(error="import torch took over 300 s")
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        return Torch(error=words[-1].strip() if words else f"its process ended with code {done.returncode}")
    # A library may print words of its own before it, or at its end.
    for line in reversed(done.stdout.splitlines()):
        with suppress(ValueError, TypeError):
            return Torch(**json.loads(line))
    return Torch(error="its process said nothing of torch")


def splits(folder: str) -> Splits:
    return Splits(_split(os.path.join(folder, "train")), _split(os.path.join(folder, "val")))


def _split(root: str) -> Split:
    try:
        classes = [name for name in os.listdir(root) if not name.startswith(".") and _is_folder(root, name)]
        files = [f"{name}/{file}" for name in classes for file in _images(os.path.join(root, name))]
    except OSError as error:
        return Split(error=f"{root}: {error.strerror}")
    digest = hashlib.sha256()
    for file in sorted(os.fsencode(file).decode("utf-8", "surrogateescape") for file in files):
        digest.update(file.encode("utf-8", "surrogateescape") + b"\n")
    return Split(len(classes), len(files), digest.hexdigest())


def whereabouts(root: str, files: Mapping[str, str]) -> dict[str, str]:
    """Of each file under ``root``: ``there``, ``downloadable`` where its address answers, else ``nowhere``."""
    found: dict[str, str] = {}
    silent: set[str] = set()
    for name, url in files.items():
        host = url.split("/")[2] if url else ""
        found[name] = "nowhere"
        if os.path.isfile(os.path.join(root, name)):
            found[name] = "there"
        elif host and host not in silent:
            # As the download will ask: by the same name, through the proxies of the environment, for this very file.
            try:
                urlopen(Request(url, headers={"User-Agent": "deit-replicate"}, method="HEAD"), timeout=10.0).close()
                found[name] = "downloadable"
            except HTTPError:
                pass
            except (OSError, ValueError, HTTPException):
                silent.add(host)
    return found


def _images(folder: str) -> list[str]:
    """As `replicate.engine.sources.imagefolder` lists them."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES)
            and not entry.name.startswith(".")
            and not entry.is_dir(follow_symlinks=False)
        ]


def _is_folder(root: str, name: str) -> bool:
    return os.path.isdir(os.path.join(root, name))


def main(folder: str) -> None:
    with open(os.path.join(folder, "question.json"), encoding="utf-8") as file:
        question = Question(**json.load(file))
    target = os.path.join(folder, "answer.json")
    with open(target + ".new", "w", encoding="utf-8") as file:
        json.dump(asdict(answer(question)), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(target + ".new", target)


if __name__ == "__main__":
    main(sys.argv[1])
