"""What is needed of submitit: its public names, and those that are private, each with what it must do."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from pathlib import Path

from command_line import ROOT
from submitit import helpers
from submitit.slurm import slurm

from replicate.backends.slurm.sbatch import Sbatch

GUARDED = {"_get_default_parameters", "_make_submission_file_text", "_get_job_id_from_submission_command"}


def test_no_other_private_name_is_used() -> None:
    private = {name for owner in (slurm, slurm.SlurmExecutor) for name in vars(owner) if re.match(r"_[a-z]", name)}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "replicate").rglob("*.py"))
    assert {name for name in private if re.search(rf"\b{name}\b", source)} <= GUARDED


def test_the_extra_names_the_versions_that_were_tried() -> None:
    (line,) = re.findall(r'^slurm = \["submitit>=([\d.]+),<([\d.]+)"\]', (ROOT / "pyproject.toml").read_text(), re.M)
    lowest, next_one = (tuple(map(int, text.split("."))) for text in line)
    assert lowest <= tuple(map(int, version("submitit").split(".")[:3])) < next_one


def test_the_names_of_its_options() -> None:
    """`_get_default_parameters`: options that it checks itself; whatever it does not know is passed on beside them."""
    known = slurm._get_default_parameters()
    assert {"job_name", "comment", "wckey", "signal_delay_s", "setup", "srun_args", "additional_parameters"} <= set(
        known
    )
    assert {"partition", "account", "time", "mem", "nodes", "cpus_per_task", "gpus_per_node"} <= set(known)
    assert not {"partition", "time", "exclusive"} - Sbatch.model_fields.keys()


def test_the_text_of_a_script(tmp_path: Path) -> None:
    """`_make_submission_file_text`: options, then setup as it was given, then one srun of the command."""

    class Anywhere(slurm.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Anywhere(tmp_path, python="/opt/python")
    executor.update_parameters(
        time=60,
        wckey=None,
        setup=["first 'line'", "second $line"],
        srun_args=["--ntasks=2"],
        signal_delay_s=30,
        additional_parameters={"array": "0-3,7%2", "export-file": "/dev/null", "requeue": True},
    )
    executor.parameters["map_count"] = 5
    text = executor._make_submission_file_text("the command", "")
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    for option in ("time=60", "array=0-3,7%2", "export-file=/dev/null", "signal=USR2@30", "open-mode=append"):
        assert f"#SBATCH --{option}" in lines
    assert "#SBATCH --requeue" in lines
    assert "wckey" not in text
    setup = lines.index("first 'line'")
    assert lines[setup + 1] == "second $line"
    (srun,) = [line for line in lines if line.startswith("srun ")]
    assert lines.index(srun) > setup
    assert srun.endswith(" --ntasks=2 the command")
    # A log for each task of an element, by array and index.
    assert "%A_%a_%t_log.out" in srun


def test_the_environment_of_processes_that_train_together() -> None:
    exported = inspect.signature(helpers.TorchDistributedEnvironment.export).parameters
    assert {"overwrite", "set_cuda_visible_devices"} <= set(exported)
    fields = inspect.getsource(helpers.TorchDistributedEnvironment.__init__)
    for name in ("master_addr", "master_port", "rank", "world_size", "local_rank", "local_world_size"):
        assert f"self.{name}" in fields
