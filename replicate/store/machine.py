"""The machine that computed a result, and how it was told to compute, as the engine found them.

Apart from `replicate.store.provenance`, whose facts are known before a job begins and without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from replicate.store.code import UNKNOWN
from replicate.text import megabytes, value

_NOT = "no"


@dataclass(frozen=True, slots=True)
class Machine:
    """None is what nobody recorded, or what such a device does not have.

    device: the name of the GPU that was used, else of the processor. memory_mb, driver, cuda, cudnn: of the GPU and
    of the torch that used it. processes: those that shared the job. matmul: precision of float32 products
    (`torch.get_float32_matmul_precision`). tf32: whether products or convolutions may round their inputs to it.
    autocast: type that a training computes in. augmentation: kind of device whose kernels augmented its images (they
    differ in the last bit of rotations). compiled: which steps of a training were those of a network that torch had
    compiled (``no``, ``yes``, ``partly``). attention: kernels that scaled_dot_product_attention may choose among.
    """

    device: str = UNKNOWN
    kind: Literal["cpu", "cuda", "unknown"] = "unknown"
    memory_mb: int | None = None
    driver: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    host: str = UNKNOWN
    processes: int | None = None
    matmul: str | None = None
    tf32: bool | None = None
    autocast: str | None = None
    augmentation: str | None = None
    compiled: str | None = None
    deterministic: bool | None = None
    attention: tuple[str, ...] | None = None

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Self:
        """Read what is recorded; fields of later versions are passed over."""
        names = {each.name for each in fields(cls)}
        known = {name: given for name, given in recorded.items() if name in names and given is not None}
        if "attention" in known:
            known["attention"] = tuple(known["attention"])
        return cls(**known)

    def recorded(self) -> dict[str, object]:
        """Return it as plain JSON."""
        found = asdict(self)
        return found | {"attention": None if self.attention is None else list(self.attention)}

    @property
    def hardware(self) -> str:
        """The device with what belongs to it, for people; of a processor its name alone."""
        if self.kind != "cuda":
            return self.device
        parts = [
            UNKNOWN if self.memory_mb is None else megabytes(self.memory_mb),
            *(f"{name} {given or UNKNOWN}" for name, given in self._software()),
        ]
        return f"{self.device} ({', '.join(parts)})"

    @property
    def precision(self) -> str:
        """How it computed, for people."""
        if self.kind == UNKNOWN:
            return UNKNOWN
        flags = [*self._flags(), *([("augmentation on", self.augmentation)] if self.augmentation else [])]
        if self._compiled != _NOT:
            flags.append(("compiled", self._compiled))
        return ", ".join(f"{name} {value(given)}" for name, given in flags)

    @property
    def _compiled(self) -> str:
        """What was recorded before torch could compile was not compiled."""
        return self.compiled or _NOT

    def _software(self) -> Iterator[tuple[str, str | None]]:
        yield "driver", self.driver
        yield "CUDA", self.cuda
        yield "cuDNN", self.cudnn

    def _flags(self) -> Iterator[tuple[str, object]]:
        yield "float32 products", self.matmul
        yield "TF32", self.tf32
        yield "autocast", self.autocast
        yield "deterministic algorithms", self.deterministic
        yield "attention kernels", self.attention

    def changes(self, now: Machine) -> list[str]:
        """What of it can move a number and is another in ``now``: ``device NVIDIA V100 → NVIDIA H100``, flags.

        The host is none of it, and what is not recorded of one of the two is not compared, but for a GPU's name.
        """
        changed = []
        if self.device != now.device and "cuda" in (self.kind, now.kind):
            changed.append(f"device {self.device} → {now.device}")
        if UNKNOWN in (self.kind, now.kind):
            return changed
        was_and_now = [
            ("memory of the device", self.memory_mb, now.memory_mb),
            *((name, was, other) for (name, was), (_, other) in zip(self._software(), now._software(), strict=True)),
            ("processes", self.processes, now.processes),
            # Trainings alone have it, and those that were recorded before it are not another training for that.
            *(
                [("augmentation on", self.augmentation, now.augmentation)]
                if self.augmentation and now.augmentation
                else []
            ),
            ("compiled", self._compiled, now._compiled),
            *((name, was, other) for (name, was), (_, other) in zip(self._flags(), now._flags(), strict=True)),
        ]
        return changed + [f"{name} {value(was)} → {value(other)}" for name, was, other in was_and_now if was != other]
