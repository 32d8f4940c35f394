"""A data source made from nothing: two files, one with its entry and one with its images. A network trains on it.

Inside the package they would be replicate/specs/sources/ramps.py and replicate/engine/sources/ramps.py, and nothing
would import them by name; a package from outside imports its own entry, as is done here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from command_line import ROOT, copied_tables
from paper_recipe import data_job

from replicate.engine import train
from replicate.engine.data import data_facts, make_data, open_data, source_of
from replicate.errors import SpecError, UserError
from replicate.jobs.job import from_payload
from replicate.specs.load import load
from replicate.specs.sources import ImageData, LabelData, register, source

pytestmark = pytest.mark.torch

ENTRY = '''
from typing import Annotated, Literal

from pydantic import Field

from replicate.specs.recipe import Count, NonNegative
from replicate.specs.sources import ArrayData, register


@register
class RampsData(ArrayData):
    """Ramps of grey that rise to the right, down, to the left or up."""

    source: Literal["ramps"]
    version: Literal[1]
    classes: Literal[4]
    size: Count
    train: Count
    test: Count
    seed: Annotated[int, Field(ge=0)]
    grain: NonNegative = 0.1

    engine = "ramps_images:Ramps"
    mean = (0.5, 0.5, 0.5)
    std = (0.2, 0.2, 0.2)
'''

IMAGES = """
import numpy as np
from ramps_entry import RampsData

from replicate.engine.data import ArraySource
from replicate.engine.keyed_random import uniforms


class Ramps(ArraySource[RampsData]):
    def arrays(self, data):
        for part, count in (("train", data.train), ("test", data.test)):
            labels = (np.arange(count) % data.classes).astype(np.int16)
            ramp = np.tile(np.linspace(0.2, 0.8, data.size), (data.size, 1))
            images = np.stack([np.rot90(ramp, -label) for label in labels])[:, None].repeat(3, axis=1)
            grain = uniforms(data.seed, f"ramps {part}", 0, 0, count, images[0].size).reshape(images.shape)
            yield ((images + data.grain * (grain - 0.5)) * 255).astype(np.uint8), labels
"""

RAMPS = {"source": "ramps", "version": 1, "classes": 4, "size": 16, "train": 64, "test": 32, "seed": 5, "grain": 0.1}


@pytest.fixture
def ramps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files on the path, and the entry imported."""
    (tmp_path / "ramps_entry.py").write_text(ENTRY)
    (tmp_path / "ramps_images.py").write_text(IMAGES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(source, "_SOURCES", dict(source._SOURCES))
    for name in ("ramps_entry", "ramps_images"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module("ramps_entry")


def stored(folder: Path, payload: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"key": folder.name, "payload": payload}))
    return folder


def test_a_network_learns_it(ramps: None, tmp_path: Path) -> None:
    data = stored(tmp_path / "data", {"kind": "data", "version": 1, "data": RAMPS})
    make_data(data_job(RAMPS), data)
    assert data_facts(data_job(RAMPS), data) == {"train": 64, "test": 32, "classes": 4}
    assert open_data(data_job(RAMPS), data).mean == (0.5, 0.5, 0.5)
    recipe = load(ROOT / "tables", "mini").runs.recipes["deit"].model_dump(mode="json")
    recipe |= {"batch": 32, "mix_batch": 32, "lr": 2e-3, "lr_batch": 32, "epochs": 20, "warmup_epochs": 0, "flip": 0.0}
    recipe |= {"auto_augment": "", "mix_prob": 0.0, "erase": 0.0, "drop_path": 0.0, "precision": "fp32"}
    model = {
        "name": "v", "timm": "deit_tiny_patch16_224",
        "args": {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 8},
        "resizable": True, "pos_embed_std": 0.1, "channels_last": False,
    }  # fmt: skip
    payload = {"kind": "train", "seed": 1, "size": 16, "model": model, "recipe": recipe, "distillation": None}
    payload |= {"inputs": {"data": "data"}}
    folder = stored(tmp_path / "train", payload)
    job = from_payload(payload, "train")
    summary = train.run(job, {"data": data}, folder, lambda report: None, lambda: False)
    curve = json.loads((folder / "curve.json").read_text())
    assert summary["images"] == 20 * 64
    assert curve[-1]["validation"] > 60  # chance is 25
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_a_scale_may_name_it(ramps: None, tmp_path: Path) -> None:
    tables = copied_tables(tmp_path)
    scale = tables / "scales" / "mini.toml"
    entry = "\n".join(f"{name} = {json.dumps(value)}" for name, value in RAMPS.items())
    text = scale.read_text() + f"\n[data.ramps]\n{entry}\n"
    scale.write_text(text)
    bound = load(tables, "mini").scale.data["ramps"]
    assert isinstance(bound, ImageData)
    assert bound.model_dump() == RAMPS
    assert load(tables, "mini").scale.model_dump()["data"]["ramps"] == RAMPS
    scale.write_text(
        text.replace('source = "ramps"', 'source = "ramp"').replace("[data.ramps]", "[data.ramps]\nseeds=1")
    )
    with pytest.raises(SpecError) as faults:
        load(tables, "mini")
    assert "data.ramps.source: there is no data source 'ramp'\n  did you mean 'ramps'?" in str(faults.value)
    scale.write_text(text.replace("[data.ramps]", "[data.ramps]\nsize_px = 3"))
    with pytest.raises(SpecError) as faults:
        load(tables, "mini")
    assert "data.ramps.size_px: unknown key 'size_px'" in str(faults.value)
    assert "keys: classes, grain, seed, size, source, test, train, version" in str(faults.value)


class Incomplete(ImageData):
    mean = std = (0.5, 0.5, 0.5)
    engine = "ramps_images:Ramps"


class NoStatistics(ImageData):
    engine = "ramps_images:Ramps"


class Nowhere(LabelData):
    engine: ClassVar[str] = "ramps_images"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Incomplete, "Incomplete: fields are missing: classes, source, test, train, version"),
        (NoStatistics, "NoStatistics: mean and std of its three channels are missing"),
        (Nowhere, "Nowhere: fields are missing: classes, of, source, version"),
    ],
)
def test_an_entry_that_lacks_a_fact_is_refused_when_it_is_registered(spec: type[ImageData], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        register(spec)


def test_a_name_is_given_once(ramps: None, tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text(ENTRY.replace("RampsData", "OtherData"))
    with pytest.raises(TypeError, match="data source OtherData: 'ramps' is the name of RampsData already"):
        importlib.import_module("again")


def test_a_maker_that_cannot_be_found_is_named(ramps: None, tmp_path: Path) -> None:
    (tmp_path / "ramps_images.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=r"^nothing makes data.source 'ramps': ramps_images:Ramps cannot be imported"):
        make_data(data_job(RAMPS), tmp_path)


def test_every_source_of_the_package_has_a_maker() -> None:
    for name in source.names():
        source_of(source.find(name).model_construct(source=name))


def test_entries_are_read_without_torch() -> None:
    code = "import sys, replicate.specs.sources; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
