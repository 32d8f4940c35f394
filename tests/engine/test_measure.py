"""Throughput: protocols on a clock that the test turns, facts by hand, and one real measurement."""

from __future__ import annotations

import json
import types
from typing import Any

import numpy as np
import pytest
import torch

from replicate.engine import measure
from replicate.engine.run import execute
from replicate.errors import JobError, StoreFault
from replicate.jobs.job import from_payload
from replicate.store.provenance import processor_name

pytestmark = pytest.mark.torch


def vit(width: int = 24, distilled: bool = False) -> dict[str, Any]:
    args = {"patch_size": 8, "embed_dim": width, "depth": 2, "num_heads": 3}
    timm = "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224"
    flags = {"resizable": True, "pos_embed_std": None, "channels_last": False}
    return {"name": f"v{width}", "timm": timm, "args": args} | flags


CONVNET = {
    "name": "c", "timm": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8},
    "resizable": False, "pos_embed_std": None, "channels_last": True,
}  # fmt: skip
PAPER = {"name": "paper", "batches": [2, 8, 4], "runs": 5}
PAIRED = {
    "name": "paired", "batches": [4], "windows": 10, "window_seconds": 3.0,
    "reference": {"model": vit(48), "size": 16, "classes": 10},
}  # fmt: skip


def run(folder: Any, protocol: dict[str, Any], model: dict[str, Any] | None = None) -> tuple[Any, Any, list[Any]]:
    reports: list[Any] = []
    payload: dict[str, Any] = {"kind": "measure", "version": 1, "model": model or vit(), "size": 32, "classes": 10}
    payload["protocol"] = {"runs": 30, "windows": 11, "window_seconds": 0.05} | protocol
    summary = execute(from_payload(payload), {}, folder, reports.append, lambda: False)
    return summary, json.loads((folder / "measure.json").read_text()), reports


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Batches take the (wall, CPU) seconds that the test gives for a width; sizes above ``fits`` do not fit."""
    state = types.SimpleNamespace(wall=0.0, cpu=0.0, costs={24: (2.0, 1.0), 48: (1.0, 0.8)}, fits=10**9, ran=[])

    def one(subject: measure.Subject) -> None:
        if len(subject.images) > state.fits:
            raise torch.OutOfMemoryError("no")
        width = subject.network.embed_dim
        state.ran.append((width, len(subject.images)))
        costs = state.costs[width]
        wall, cpu = costs(len(state.ran)) if callable(costs) else costs
        state.wall += wall
        state.cpu += cpu

    fake = types.SimpleNamespace(perf_counter=lambda: state.wall, process_time=lambda: state.cpu)
    monkeypatch.setattr(measure, "time", fake)
    monkeypatch.setattr(measure.Subject, "run", one)
    return state


def test_paper_protocol_is_the_mean_over_the_runs_of_the_largest_batch(clock: Any, tmp_path: Any) -> None:
    clock.costs[24] = lambda number: (float(number), 0.1)
    summary, stored, _ = run(tmp_path, PAPER)
    # Three warm-up batches, then batches of 4, 5, 6, 7 and 8 s: 6 s on average for 8 images.
    assert clock.ran == [(24, 8)] * 8
    assert summary["images_per_second"] == pytest.approx(8 / 6)
    assert summary["ratio"] is None
    assert [window["wall"] for window in stored["windows"]["network"]] == [4, 5, 6, 7, 8]
    assert stored["conditions"]["batches_tried"] == [{"batch": 8, "fits": True}]


def test_paper_protocol_steps_down_to_what_fits(clock: Any, tmp_path: Any) -> None:
    clock.fits = 3
    summary, stored, _ = run(tmp_path, PAPER)
    assert summary["batch"] == 2
    assert summary["images_per_second"] == pytest.approx(2 / 2)
    tried = [(entry["batch"], entry["fits"]) for entry in stored["conditions"]["batches_tried"]]
    assert tried == [(8, False), (4, False), (2, True)]


def test_nothing_fits(clock: Any, tmp_path: Any) -> None:
    clock.fits = 1
    with pytest.raises(JobError, match=r"no batch of \[8, 4, 2\] fits on cpu"):
        run(tmp_path, PAPER)


def test_paired_windows_alternate_and_give_rate_and_ratio(clock: Any, tmp_path: Any) -> None:
    summary, stored, _ = run(tmp_path, PAIRED)
    # A window of 3 s: two batches of 2 s of the network, three of 1 s of the reference.
    assert clock.ran[:6] == [(24, 4)] * 3 + [(48, 4)] * 3  # warm-up
    first, second = [(24, 4)] * 2, [(48, 4)] * 3
    assert clock.ran[6:16] == first + second + second + first
    assert summary["images_per_second"] == pytest.approx(4 / 2)
    # By wall time 2 images/s against 4; by CPU time 8 images in 2 s against 12 in 2.4 s.
    half = {"median": 0.5, "low": 0.5, "high": 0.5, "half_width_percent": 0.0, "steady": True}
    assert stored["ratio_wall"] == half
    assert summary["ratio"] == stored["ratio"]
    assert stored["ratio"]["median"] == pytest.approx(4 / 5)
    assert len(stored["windows"]["network"]) == len(stored["windows"]["reference"]) == 10


def test_a_slow_spell_that_hits_both_leaves_the_ratio(clock: Any, tmp_path: Any) -> None:
    """The machine is ten times slower from the 40th batch on: the rates move, the ratios do not."""
    clock.costs = {
        width: lambda number, wall=wall: (wall * (10 if number > 40 else 1), wall)
        for width, wall in ((24, 2.0), (48, 1.0))
    }
    summary, stored, _ = run(tmp_path, PAIRED)
    rates = {round(window["images"] / window["wall"], 6) for window in stored["windows"]["network"]}
    assert rates == {2.0, 0.2}
    assert summary["ratio"]["median"] == pytest.approx(0.5)
    assert stored["ratio_wall"]["median"] == pytest.approx(0.5)
    assert summary["ratio"]["steady"]


def test_bootstrap_by_hand() -> None:
    # 25 ratios, 12 at 0.9, 1 at 1.0, 12 at 1.1: resampled medians fall on 0.9 or 1.1 nearly always.
    ratio = measure.bootstrap([0.9] * 12 + [1.0] + [1.1] * 12)
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.9, 1.1)
    assert ratio.half_width_percent == pytest.approx(10.0)
    assert ratio.steady is False
    assert measure.bootstrap([0.9] * 12 + [1.0] + [1.1] * 12) == ratio


def test_bootstrap_interval_has_the_width_of_a_median() -> None:
    """Normal ratios with sd .1, n = 400: the median's standard error is 1.2533 * .1 / 20 = .00627."""
    ratio = measure.bootstrap(np.random.default_rng(0).normal(1.0, 0.1, 400).tolist())
    assert (ratio.high - ratio.low) / 2 == pytest.approx(1.96 * 0.00627, rel=0.3)


@pytest.mark.parametrize(("high", "steady"), [(1.0399, True), (1.0401, False)])
def test_steady_up_to_two_per_cent(high: float, steady: bool) -> None:
    assert measure.ratio(1.0, 1.0, high).steady is steady


def test_too_few_windows_for_an_interval() -> None:
    with pytest.raises(JobError, match="7 windows are too few for an interval, at least 8 are needed"):
        measure.bootstrap([1.0] * 7)


def test_facts_of_a_vit_are_exact(clock: Any, tmp_path: Any) -> None:
    summary, _, _ = run(tmp_path, PAPER)
    assert summary["architecture"] == {"embed_dim": 24, "heads": 3, "layers": 2, "patch": 8, "size": 32}
    # Patches 8*8*3*24 + 24; class token 24; positions 17*24; per block qkv 24*72 + 72, projection 24*24 + 24,
    # MLP 24*96 + 96 + 96*24 + 24, two norms 4*24; norm 2*24; head 24*10 + 10.
    block = 24 * 72 + 72 + 24 * 24 + 24 + 24 * 96 + 96 + 96 * 24 + 24 + 4 * 24
    assert summary["parameters"] == 192 * 24 + 24 + 24 + 17 * 24 + 2 * block + 48 + 250


def test_a_second_token_costs_its_vector_position_and_head(clock: Any, tmp_path: Any) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = (run(tmp_path / name, PAPER, vit(distilled=name == "b"))[0]["parameters"] for name in "ab")
    assert two - one == 24 + 24 + 250


def test_a_real_measurement_says_its_conditions(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    protocol = PAIRED | {"windows": 8, "window_seconds": 0.005}
    summary, stored, reports = run(tmp_path, protocol, CONVNET)
    assert summary["images_per_second"] > 0
    assert set(summary["architecture"].values()) == {None}
    found = stored["conditions"]
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert found["size"] == 32
    assert found["tf32"] is False
    assert found["device"] == summary["device"] != ""
    assert found["batches_tried"] == [{"batch": 4, "fits": True}]
    assert stored["ratio"]["low"] <= stored["ratio"]["median"] <= stored["ratio"]["high"]
    assert reports[0] == {"window": 0, "of": 8}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 8
    assert said[-1].startswith("window 8 of 8: images/s of network ")
    each = stored["windows"]["network"] + stored["windows"]["reference"]
    assert len(each) == 16
    assert all(window["wall"] >= 0.005 and window["images"] % 4 == 0 for window in each)


def test_precision_flags_are_put_back() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with measure.exact_fp32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.allow_tf32 is False
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_unknown_protocol(tmp_path: Any) -> None:
    with pytest.raises(StoreFault, match=r"protocol\.name: Input should be 'paper' or 'paired'"):
        run(tmp_path, PAPER | {"name": "papper"})


def test_the_processor_is_named(tmp_path: Any) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n"
    )
    assert processor_name(file) == "Some CPU @ 2 GHz"
    assert processor_name(tmp_path / "absent") != ""


def test_on_a_cpu_what_other_processes_take_is_not_in_the_ratio(clock: Any, tmp_path: Any) -> None:
    """Every third batch waits 5 s for its core: wall times scatter, CPU times do not."""
    clock.costs = {
        width: lambda number, cost=cost: (cost + (5.0 if number % 3 == 0 else 0.0), cost)
        for width, cost in ((24, 2.0), (48, 1.0))
    }
    summary, stored, _ = run(tmp_path, PAIRED)
    assert summary["ratio"] == {"median": 0.5, "low": 0.5, "high": 0.5, "half_width_percent": 0.0, "steady": True}
    assert not stored["ratio_wall"]["steady"]
