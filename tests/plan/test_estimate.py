"""What a plan says of the disk: by the parameters of the networks and the images of the data sets."""

from __future__ import annotations

import pytest
from filled_results import plan_of

from replicate.jobs.job import Job
from replicate.jobs.network import parameters
from replicate.jobs.train import Train


def training(start: str, scale: str) -> tuple[Job, float, float]:
    graph = plan_of(scale).graph
    (job,) = [job for job in graph if job.key.startswith(start)]
    return job, job.megabytes(graph.jobs), job.megabytes_meanwhile(graph.jobs)


@pytest.mark.parametrize(
    ("start", "count"),
    [
        # The first three as the released code counts them (deit's README: 5, 22 and 86 million).
        ("train-deit-ti-224-none", 5_717_416),
        ("train-deit-s-224-none", 22_050_664),
        ("train-deit-b-224-none", 86_567_656),
        # A token, its place and its head of 1,000 classes more; at 384 pixels 380 places more.
        ("train-deit-b-224-token", 86_567_656 + 2 * 768 + 769 * 1000),
        ("train-deit-b-384-token", 86_567_656 + 2 * 768 + 769 * 1000 + 380 * 768),
    ],
)
def test_parameters_of_a_transformer(start: str, count: int) -> None:
    job, megabytes, _ = training(start, "paper")
    assert isinstance(job, Train)
    assert parameters(job.model, job.size, 1000, job.distillation) == count
    # Four bytes each, twice: the last weights and the averaged ones.
    assert megabytes == pytest.approx(8e-6 * count, abs=0.1)


def test_checkpoints_have_the_moments_too_and_there_are_two() -> None:
    _, megabytes, meanwhile = training("train-deit-b-224-none", "paper")
    assert meanwhile == pytest.approx(2 * 2 * megabytes, rel=1e-3)
    assert training("predict-deit-b-224-none", "paper")[2] == 0


def test_generated_images_are_stored_and_folders_are_not() -> None:
    assert training("data-", "mini")[1] == pytest.approx((960 + 2000) * 3 * 56**2 / 1e6, abs=0.1)
    assert training("data-imagefolder-val", "paper")[1] < 0.1


def test_decisions_by_image_and_head() -> None:
    assert training("predict-deit-b-224-none", "paper")[1] == pytest.approx(50_000 * 12 / 1e6, abs=0.1)
    assert training("predict-deit-b-224-token", "paper")[1] == pytest.approx(50_000 * 42 / 1e6, abs=0.1)


def test_all_of_table_3_at_mini_scale() -> None:
    """48 MB were stored by `benchmarks/table3.py`."""
    graph = plan_of().graph
    assert sum(job.megabytes(graph.jobs) for job in graph) == pytest.approx(48, rel=0.05)


@pytest.mark.torch
@pytest.mark.parametrize("start", ["train-deit-ti-224-none", "train-deit-b-384-token", "train-regnety-16gf-224-none"])
def test_as_many_parameters_as_the_network_has(start: str) -> None:
    from replicate.engine import models

    job, _, _ = training(start, "mini")
    network = models.build(job.model, job.size, 10, job.recipe, 0)
    count = sum(parameter.numel() for parameter in network.parameters())
    expected = parameters(job.model, job.size, 10, job.distillation)
    assert expected == pytest.approx(count, rel=0 if "deit" in start else 0.01)
