"""A first profile, from what a cluster of GPUs and a partition of CPUs says of itself."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from command_line import ROOT

from replicate.actions.paper import Paper, open_paper
from replicate.backends.doctor.draft import draft
from replicate.backends.slurm.choose import find_profile
from replicate.backends.slurm.client import Answer, Client
from replicate.backends.slurm.gpus import misfits
from replicate.backends.slurm.profile import Profile, load_profile
from replicate.backends.slurm.waves import over_time_limit, unsplittable_batches
from replicate.cli import doctor_command
from replicate.cli.workspace import Workspace
from replicate.errors import UserError
from replicate.jobs.job import Job
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

SINFO = """\
login*|up|30:00|4|16000|(null)|(null)
gpu|up|1-00:00:00|64|512000|gpu:a100:8(S:0-1)|ib,a100
old|drain|2-00:00:00|64|256000|gpu:v100:4|v100
cpu|up|infinite|128|256000|(null)|(null)
"""


class Site(Client):
    """Answers as a university's cluster does; ``sinfo`` may be changed."""

    def __init__(self, sinfo: str = SINFO) -> None:
        super().__init__({"PATH": "/nowhere"})
        self.sinfo = sinfo

    def call(self, *command: str) -> Answer:
        answers = {
            "sinfo": self.sinfo,
            "scontrol config": "ClusterName = uni\nMaxArraySize = 1001\n",
            "sacctmgr": "vision\n",
            "scontrol node": "NodeName=g1 NodeHostName=g1\nNodeName=g2 NodeHostName=g2\n",
        }
        name = f"scontrol {command[2]}" if command[0] == "scontrol" else command[0]
        return Answer(0, answers[name], "")


def jobs_of(scale: str) -> list[Job]:
    specs = load(ROOT / "tables", scale)
    return list(plan_tables(specs, ["distillation_ablation"], (0,)).graph)


def drafted(folder: Path, jobs: list[Job], sinfo: str = SINFO) -> tuple[str, Profile]:
    text = draft(Site(sinfo), "login1.uni.edu", {"SCRATCH": "/scratch/me"}, "lab", jobs)
    path = folder / "lab.toml"
    path.write_text(text)
    return text, load_profile(path)


def test_a_draft_for_the_paper_can_finish_it(tmp_path: Path) -> None:
    jobs = jobs_of("paper")
    _, profile = drafted(tmp_path, jobs)
    request = profile.request("train")
    assert request["account"] == "vision"
    assert (request["partition"], request["ntasks_per_node"], request["gpus_per_node"]) == ("gpu", 8, "8")
    assert list(misfits(jobs, profile)) == list(unsplittable_batches(jobs, profile)) == []
    assert list(over_time_limit(jobs, profile)) == []
    # Evaluations stay on GPUs; building data does not wait for one.
    assert profile.request("predict")["partition"] == "gpu"
    assert profile.request("data")["partition"] == profile.request("weights")["partition"] == "cpu"
    assert "gpus_per_node" not in profile.request("data")


def test_a_draft_for_the_miniature_evaluates_without_gpus(tmp_path: Path) -> None:
    jobs = jobs_of("mini")
    text, profile = drafted(tmp_path, jobs)
    for kind in ("data", "predict", "probe"):
        assert profile.request(kind)["partition"] == "cpu"
        assert "gpus_per_node" not in profile.request(kind)
    assert profile.request("measure")["gpus_per_node"] == "a100:1"
    assert list(misfits(jobs, profile)) == list(unsplittable_batches(jobs, profile)) == []
    assert '# NCCL_SOCKET_IFNAME = "ib0"' in text


@pytest.mark.parametrize("sinfo", ["all*|up|1:00:00|8|32000|(null)|(null)\n", "all*|up|1:00:00|8|32000|gpu:2|(null)\n"])
def test_a_cluster_of_one_partition(tmp_path: Path, sinfo: str) -> None:
    _, profile = drafted(tmp_path, jobs_of("mini"), sinfo)
    assert {profile.request(kind)["partition"] for kind in ("train", "data", "predict", "measure")} == {"all"}
    assert "gpus_per_node" not in profile.request("data")


def test_a_draft_is_found_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_command, "Client", lambda environment, patience: Site())
    paper = open_paper(ROOT / "tables")
    workspace = Workspace(**{field.name: getattr(paper, field.name) for field in fields(Paper)})
    workspace = replace(workspace, root=tmp_path)
    assert doctor_command.draft_profile(workspace, "lab", overwrite=False) == 0
    told = capsys.readouterr().out
    assert f"wrote {tmp_path / 'slurm' / 'lab.toml'}" in told
    assert told.endswith("then: python -m replicate doctor --cluster lab\n")
    assert "CHECK: must exist on the nodes" in told
    found = find_profile("lab", tmp_path / "slurm", {}, "login1")
    assert found is not None
    assert found.name == "lab"
    with pytest.raises(UserError, match="exists\n  write over it with --overwrite"):
        doctor_command.draft_profile(workspace, "lab", overwrite=False)
    assert doctor_command.draft_profile(workspace, "lab", overwrite=True) == 0
    for name in ("local", "../lab", "a b", "-x"):
        with pytest.raises(UserError, match="it is what --cluster will take"):
            doctor_command.draft_profile(workspace, name, overwrite=False)
    capsys.readouterr()
    assert doctor_command.draft_profile(workspace, "", overwrite=False) == 0
    assert 'name   = "uni"' in capsys.readouterr().out
