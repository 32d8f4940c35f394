"""Images of a data set, or corrected labels of another one's test images: made once, read by every other job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from replicate.jobs.job import FILES_MB, Job, Line, Outcome, register
from replicate.specs.sources import AnyData, ArrayData, ImageData, LabelData
from replicate.text import pairs, plural

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander

IMAGE_SECONDS = 0.5e-3
"""To generate (or to find and list) one image."""

INDEX = "index.json"
"""Names, counts and a digest of the files of an image folder, which stay where they are."""


def images_file(split: str) -> str:
    """Where the images of ``train`` or ``test`` are: uint8 [N, 3, size, size]."""
    return f"{split}_images.npy"


def labels_file(split: str) -> str:
    """Where their labels are: int16 [N]."""
    return f"{split}_labels.npy"


@register
class Data(Job):
    """``data`` is the scale's entry; ``of`` the entry that corrected labels are of, which the payload spells out."""

    data: AnyData
    of: AnyData | None = None

    title = "Data"
    source = True
    pack = 4

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        if on is None:
            raise ValueError("data: the name of a data set expected, got none")
        return cls.named(expander, on)

    @classmethod
    def named(cls, expander: Expander, name: str, test_only: bool = False) -> Job:
        """The job of the scale's data set ``name``.

        test_only: of folders, only the images that networks are evaluated on, those under val/.
        """
        scale = expander.specs.scale
        whole = scale.data[name]
        data = whole.for_evaluation() if test_only else whole
        of = scale.data[data.of] if isinstance(data, LabelData) else None
        images = data.train + data.test if isinstance(data, ImageData) else 0
        job = cls(data=data, of=of, seconds=scale.job_seconds + IMAGE_SECONDS * float(images))
        return expander.add(job, data.source if data == whole else f"{data.source}-val")

    def own(self) -> dict[str, Any]:
        of = {} if self.of is None else {"of": self.of.model_dump()}
        return {"data": self.data.model_dump() | of}

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        data = payload.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("of"), Mapping):
            # The name of that entry decides nothing, and no payload has it.
            return {**payload, "data": {**data, "of": ""}, "of": data["of"]}
        return payload

    @property
    def on_disk(self) -> str:
        """The folder under ``$REPLICATE_DATA`` that it is read from; empty where it is generated."""
        return self.data.folder

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        # Images that lie in folders stay there.
        data = self.data
        return FILES_MB + (3 * data.size**2 * (data.train + data.test) / 1e6 if isinstance(data, ArrayData) else 0.0)

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        body = self.own()["data"]
        # No training images: whoever evaluates reads none (`Expander.test_data`).
        nouns = {"train": "training image", "test": "test image"}
        sizes = [plural(size, noun) for name, noun in nouns.items() if (size := body.pop(name, 0))]
        yield "sizes", ", ".join([*sizes, f"{body.pop('classes')} classes"])
        yield "data", pairs(body)
        if result is not None:
            yield "result", pairs(result.summary)
