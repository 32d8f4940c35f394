"""What the scales bind: networks that timm builds, of the paper's sizes or in their order, and data that is made."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from paper_recipe import data_job

from replicate.engine import models
from replicate.engine.run import execute
from replicate.specs.load import load
from replicate.specs.scale import PublishedFile, Scale

pytestmark = pytest.mark.torch

TABLES = Path(__file__).parents[2] / "tables"


@cache
def scale(name: str) -> Scale:
    return load(TABLES, name).scale


def parameters(scale_name: str, name: str, distilled: bool = False) -> int:
    model = scale(scale_name).models[name]
    return count((model.timm_distilled or "") if distilled else model.timm, json.dumps(model.args))


@cache
def count(name: str, args: str) -> int:
    with torch.device("meta"):
        return models.parameter_count(timm.create_model(name, num_classes=1000, **json.loads(args)))


# Tables 1 and 5, in millions.
PAPER = {
    "deit-ti": 5, "deit-s": 22, "deit-b": 86, "resnet-18": 12, "resnet-50": 25, "resnet-101": 45, "resnet-152": 60,
    "regnety-4gf": 21, "regnety-8gf": 39, "regnety-16gf": 84, "efficientnet-b0": 5, "efficientnet-b1": 8,
    "efficientnet-b2": 9, "efficientnet-b3": 12, "efficientnet-b4": 19, "efficientnet-b5": 30, "efficientnet-b6": 43,
    "efficientnet-b7": 66, "efficientnet-b8": 87, "vit-b16": 86,
}  # fmt: skip


def test_networks_of_the_paper_scale_have_the_printed_sizes() -> None:
    for name, millions in PAPER.items():
        # Printed rounded or cut off.
        assert parameters("paper", name) / 1e6 == pytest.approx(millions, abs=1.0), name
    # Exact counts of the release.
    assert parameters("paper", "deit-s") == 22_050_664
    assert parameters("paper", "deit-b") == 86_567_656
    # A second token, its position and its head: 2 * 768 + 768 * 1000 + 1000.
    assert parameters("paper", "deit-b", distilled=True) == 86_567_656 + 2 * 768 + 769_000


@pytest.mark.parametrize(
    "family",
    [
        ["deit-ti", "deit-s", "deit-b", "vit-l16"],
        ["regnety-4gf", "regnety-8gf", "regnety-12gf", "regnety-16gf"],
        ["resnet-18", "resnet-50", "resnet-101", "resnet-152"],
        [f"efficientnet-b{number}" for number in range(9)],
    ],
)
def test_networks_of_both_scales_grow_in_the_papers_order(family: list[str]) -> None:
    for name in ("mini", "paper"):
        sizes = [parameters(name, model) for model in family]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == len(sizes)


def test_vit_b_is_the_network_of_deit_b() -> None:
    for name in ("mini", "paper"):
        assert parameters(name, "vit-b16") == parameters(name, "deit-b")


@pytest.mark.parametrize("name", ["mini", "mini-digits", "paper"])
def test_both_scales_bind_the_same_names(name: str) -> None:
    mini, other = scale("mini"), scale(name)
    for kind in ("models", "data", "resolutions"):
        assert set(getattr(other, kind)) >= set(getattr(mini, kind))


def test_resolutions_are_distinct_and_in_order() -> None:
    sizes = {int(paper): mini for paper, mini in scale("mini").resolutions.items()}
    ordered = [sizes[paper] for paper in sorted(sizes)]
    assert len(set(ordered)) == len(ordered)
    assert [sizes[paper] for paper in (160, 224, 320, 384)] == [24, 32, 40, 48]


def test_the_mini_scale_makes_every_data_set(tmp_path: Path) -> None:
    """Every set is made with the classes that it says, and opened."""
    bound = scale("mini").data
    for name, spec in bound.items():
        data: dict[str, Any] = small(spec.model_dump())
        if "of" in data:
            data["of"] = small(bound[data["of"]].model_dump())
        folder = tmp_path / name
        folder.mkdir()
        summary = execute(data_job(data), {}, folder, lambda fields: None, lambda: False)
        assert summary["classes"] == spec.classes
        if name != "imagenet-real":
            assert (summary["train"], summary["test"]) == (data["train"], data["test"])
        else:
            assert summary["test"] == 60


def small(data: dict[str, Any]) -> dict[str, Any]:
    """The same data set with a few images only: 60 for each split that has any."""
    return data | {split: min(60, data[split]) for split in ("train", "test") if split in data}


def test_published_weights_are_the_files_that_timm_has_for_these_networks() -> None:
    """An independent list of the release: timm names the address of each file and the network that reads it."""
    specs = load(TABLES, "paper", released=True)
    assert len(specs.scale.released) == 9
    for name, text in specs.scale.released.items():
        run = specs.runs.runs[name]
        model = specs.scale.models[run.model]
        token = run.distillation is not None and specs.runs.distillation[run.distillation].token
        network = (model.timm_distilled or "") if token else model.timm
        tag = "deit_in1k" if network.startswith("regnety") else "fb_in1k"
        config = timm.get_pretrained_cfg(f"{network.replace('_224', f'_{run.resolution}')}.{tag}")
        assert config is not None
        assert PublishedFile.of(text).url == config.url == text
        assert config.num_classes == specs.scale.data[run.data].classes
