"""Checkpoints of a training: one safetensors file each, whole or absent, checked when read."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from replicate.errors import UserError
from replicate.jobs.job import Job
from replicate.jobs.key import Texts, canonical
from replicate.store.files import FULL, write_bytes

log = logging.getLogger(__name__)

SECONDS = "REPLICATE_CHECKPOINT_SECONDS"
"""Environment variable: seconds between two checkpoints that nobody asked for, however long one takes."""

_SECONDS = 10.0
_TIMES = 20
"""Unless `SECONDS` is set, writing takes at most one part in so many of the time: DeiT-B with its optimiser's state and
its average is 1.4 GB, which may take as long as the steps between two checkpoints would."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """position: steps done since the start of the training. state: what is no tensor, as JSON."""

    position: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, object]


def weights_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file; the same bytes for the same tensors on any device and in any memory format."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(flat, dict(metadata) if metadata else None)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Its state under flat names, ``<parameter's number>/<name>``, such as ``3/exp_avg`` and ``3/step``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`, for an optimiser of the same parameters that has not stepped."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for flat, value in tensors.items():
        number, name = flat.split("/")
        like = parameters[int(number)]
        # A file knows no memory format, and the fused kernels pair elements by address. Always a copy:
        # what safetensors gives lies in the mapped file, which is going to be removed.
        target = torch.empty_like(like if value.shape == like.shape else value, requires_grad=False)
        state.setdefault(int(number), {})[name] = target.copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def restore_network(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    network.load_state_dict(dict(tensors))


def within(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named ``part/...``, without that prefix."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Checkpoints:
    """The checkpoints of one training, in the folder of its job.

    A checkpoint of another ``job`` is never resumed.
    Errors: `UserError` where `SECONDS` is no number of seconds.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        self.payload = hashlib.sha256(job.written(Texts())).hexdigest()
        self.last: Path | None = None
        self._asked = _asked_seconds()
        self._took = 0.0
        self._tried = time.monotonic()

    @property
    def seconds(self) -> float:
        """At least so long between two checkpoints that nobody asked for."""
        return max(_SECONDS, _TIMES * self._took) if self._asked is None else self._asked

    def due(self) -> bool:
        return time.monotonic() - self._tried >= self.seconds

    def newest(self) -> Snapshot | None:
        """The newest that is intact and of this payload, or None; each one skipped is logged."""
        for path in sorted(self.folder.glob("checkpoint-*.safetensors"), reverse=True):
            try:
                snapshot = self._read(path)
            except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: skipped, %s", path, error)
                continue
            self.last = path
            return snapshot
        return None

    def save(self, snapshot: Snapshot) -> bool:
        """Write ``snapshot``; the previous one is kept. On a full disk this logs it and returns False.

        Errors: `OSError` for any other failure to write.
        """
        begun = time.monotonic()
        self._remove(keep=self.last)
        header = {"payload": self.payload, "position": snapshot.position, "state": snapshot.state}
        header["sha256"] = _checksum(snapshot.tensors, header)
        path = self.folder / f"checkpoint-{snapshot.position:09d}.safetensors"
        try:
            write_bytes(path, weights_bytes(snapshot.tensors, {"checkpoint": canonical(header).decode()}))
        except OSError as error:
            if error.errno not in FULL:
                raise
            log.warning("%s: not written, %s; the last one is %s", path, error, self.last)
            return False
        finally:
            self._tried = time.monotonic()
            self._took = self._tried - begun
        self.last = path
        return True

    def clear(self) -> None:
        self._remove(keep=None)
        self.last = None

    def _remove(self, keep: Path | None) -> None:
        # The temporary files are those of a process that was killed while writing.
        for pattern in ("checkpoint-*.safetensors", ".checkpoint-*.tmp"):
            for path in self.folder.glob(pattern):
                if path != keep:
                    with suppress(FileNotFoundError):
                        path.unlink()

    def _read(self, path: Path) -> Snapshot:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        claimed = header.pop("sha256")
        if _checksum(tensors, header) != claimed:
            raise ValueError("its checksum does not match")
        if header["payload"] != self.payload:
            raise ValueError("it belongs to another payload")
        return Snapshot(header["position"], tensors, header["state"])


def _asked_seconds() -> float | None:
    text = os.environ.get(SECONDS, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{SECONDS} is no number of seconds from 0 on: '{text}'\n  correct it, or unset it")
    return seconds


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, object]) -> str:
    digest = hashlib.sha256(canonical(header))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
