"""Dimensions of a network: counted without its weights, alike a measurement, and read from an old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import ROOT

from replicate.actions.paper import open_paper
from replicate.engine import models
from replicate.engine.run import execute
from replicate.jobs.architecture import Architecture
from replicate.jobs.measure import Measure
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.store.result import commit_result
from replicate.store.store import Store

pytestmark = pytest.mark.torch
VARIANTS = "model_variants"


def plan_of(scale: str) -> Plan:
    return plan_tables(load(ROOT / "tables", scale), [VARIANTS, "efficiency"], (0,))


def test_a_network_without_weights_has_the_dimensions_of_one_with(tmp_path: Path) -> None:
    jobs = [job for job in plan_of("mini").graph if isinstance(job, Architecture)]
    assert len(jobs) > 10
    for job in jobs:
        found = execute(job, {}, tmp_path, lambda fields: None, lambda: False)
        network = models.build(job.model, job.size, job.classes)
        assert found == {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "architecture": models.architecture(network),
        }
        assert (tmp_path / "architecture.json").exists()


def test_the_largest_take_no_memory(tmp_path: Path) -> None:
    jobs = [job for job in plan_of("paper").graph if isinstance(job, Architecture)]
    (large,) = [job for job in jobs if job.model.name == "vit-l16"]
    assert execute(large, {}, tmp_path, lambda fields: None, lambda: False)["parameters"] == 304_715_752


def test_parameters_wait_for_no_clock() -> None:
    plan = plan_of("paper")
    needed = plan.graph.needed_for(plan.cell(CellRef(VARIANTS, "deit_ti", "params")).keys)
    assert [job.kind for job in needed] == ["architecture"]


def test_an_old_measurement_says_them_until_they_are_counted(tmp_path: Path) -> None:
    paper, store, place = open_paper(results=tmp_path), Store(tmp_path), CellRef(VARIANTS, "deit_ti", "params")
    graph = plan_of("mini").graph
    (fact,) = paper.plan([VARIANTS]).cell(place).jobs
    assert isinstance(fact, Architecture)
    (measured,) = [job for job in graph if isinstance(job, Measure) and job.network == fact.network]
    for job, now in ((measured, measured), (fact, fact)):
        commit_result(store.prepare(job), job.key, [], {}, {}, {})
        plan = paper.plan([VARIANTS])
        assert plan.cell(place).jobs == (now,)
        assert (fact.key in plan.graph.jobs) == (now is fact)
