"""A scale: what the logical names of the specs are bound to (tables/scales/*.toml)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_never

from pydantic import AfterValidator, Field, model_validator

from replicate.specs.file import RunName, Word
from replicate.specs.noise import Noise
from replicate.specs.recipe import Attention, Count, NonNegative, Positive, Precision, Strict
from replicate.specs.sources import AnyData
from replicate.specs.watch import Watch

DATA_ROOT = "REPLICATE_DATA"
"""Environment variable: the folder that holds the data sets which are files on disk."""


def _plain(args: dict[str, object]) -> dict[str, object]:
    """Keys of jobs are hashes of JSON, which has no dates and nothing that is not finite."""
    try:
        json.dumps(args, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("should be finite numbers, words, true or false, and lists of them") from None
    return args


class Model(Strict):
    """A timm model. ``timm_distilled`` is its twin with a distillation token, None where there is none."""

    timm: str
    timm_distilled: str | None = None
    args: Annotated[dict[str, object], AfterValidator(_plain)] = {}
    resizable: bool = False
    """True where the resolution is an argument of the model (``img_size``), as for a ViT."""
    pos_embed_std: Positive | None = None
    channels_last: bool = False
    seconds: dict[str, Positive] = {}
    """Cost of one training image by the paper's resolution: seconds of one ``processor`` of the scale."""


Protocol = Literal["paper", "paired"]


class Measure(Strict):
    """How throughput is measured at a scale (paper/recipes.md, "Throughput").

    ``paper``: fp32, the explicit product of attention, the largest of ``batches`` that fits, the mean of ``runs``.
    ``paired``: ``windows`` of
    ``window_seconds`` each, interleaved with the model ``reference`` in one process.
    """

    name: Protocol
    batches: tuple[Count, ...]
    runs: Count = 30
    windows: Count = 11
    window_seconds: Positive = 0.05
    reference: str | None = None
    reference_resolution: int = 224
    job_seconds: NonNegative
    """Expected cost of one measurement."""
    attention: Attention = Field(default_factory=lambda fields: _attention(fields.get("name", "paired")))
    """Of the network and of the reference. Not written: the explicit product under ``paper``, timm's fused kernel
    under ``paired``."""


def _attention(protocol: Protocol) -> Attention:
    match protocol:
        case "paper":
            return "explicit"
        case "paired":
            return "fused"
        case _:
            assert_never(protocol)


class Scale(Strict):
    """One file of tables/scales/. ``extends`` names a scale whose entries this one changes."""

    id: str
    extends: str | None = None
    title: str
    banner: str = ""
    """Printed above everything that is made at this scale, such as what experiment it is instead of the paper's."""
    comparable: bool = Field(default_factory=lambda fields: not fields.get("banner"))
    """Whether numbers may be compared with the paper's. Not written: only at a scale without a banner."""
    processor: str
    """What a second of ``seconds`` is a second of, such as ``CPU core`` or ``V100``."""
    device: Literal["cpu", "auto"] = "auto"
    """What jobs on this machine compute on: ``auto`` is a GPU where there is one. (On a cluster, what the profile asks
    for.)"""
    seconds_source: str = ""
    """Where the models' ``seconds`` come from; empty where they were measured here."""
    noise: tuple[Noise, ...] = ()
    """What another seed does. Where a comparable scale states none, what is known of the paper's own trainings."""
    data: dict[Word, AnyData]
    resolutions: dict[str, Count]
    models: dict[Word, Model]
    precision: Precision | None = None
    """Of every training, whatever its recipe says. Not written: that of the recipe."""
    recipes: dict[str, dict[str, object]] = {}
    """Fields of runs.toml's recipes that have another value at this scale."""
    released: dict[RunName, Weights] = {}
    """Published weights of runs, read in place of training them where that was asked for (``--from released``)."""
    measure: Measure
    watch: Watch = Watch()
    """When a training counts as suspicious, and whether it is then stopped."""
    job_seconds: NonNegative = 0.0
    """What starting a job and writing its result costs on top."""
    predict_share: Positive = 0.3
    """Cost of evaluating an image as a share of training on it."""
    stream_seconds: NonNegative = 0.0
    """What making a training image costs the processor that trains; nothing where others make it for a GPU."""

    @model_validator(mode="before")
    @classmethod
    def _noise_as_before(cls, raw: Any) -> Any:
        """Read the form before ``[[noise]]``: one number for all accuracies, which did not say on how many trainings it
        was measured. Three are taken."""
        if not isinstance(raw, dict) or "seed_sd" not in raw:
            return raw
        rest = {key: value for key, value in raw.items() if key not in _NOISE_BEFORE}
        source = raw.get("seed_sd_source", "")
        entries = [{"sd": raw["seed_sd"], "trainings": 3, "source": source}]
        if "head_sd" in raw:
            entries.append({"sd": raw["head_sd"], "trainings": 3, "source": source, "of": "heads"})
        return rest | {"noise": tuple(entries)}


_NOISE_BEFORE = ("seed_sd", "seed_sd_source", "head_sd")


FOLDER = "weights"
"""In ``$REPLICATE_DATA``: where a file is looked for before it is downloaded."""

_FILE = re.compile(
    r"(?:https://[A-Za-z0-9._-]+(?::\d+)?/(?:[A-Za-z0-9._~-]+/)*)?"
    r"(?P<file>[A-Za-z0-9][A-Za-z0-9._-]*-(?P<sha256>[0-9a-f]{8,64})\.(?:pth|safetensors))"
)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """``file`` is its name on disk, ``sha256`` the first digits of its checksum, ``url`` empty where there is none."""

    file: str
    sha256: str
    url: str

    @classmethod
    def of(cls, text: str) -> PublishedFile:
        """Errors: ValueError for what no `Weights` can be."""
        match = _FILE.fullmatch(text)
        if match is None:
            raise ValueError(
                "should be the name of a file or its https address, ending as torch.hub's do in - and the first 8 or "
                "more hex digits of its SHA-256, then .pth or .safetensors"
            )
        return cls(match["file"], match["sha256"], text if "/" in text else "")


def _checked(text: str) -> str:
    PublishedFile.of(text)
    return text


Weights = Annotated[str, AfterValidator(_checked)]
"""What `PublishedFile.of` reads, as an entry of ``[released]`` writes it."""
