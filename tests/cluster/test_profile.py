"""Profiles: every fault of a file at once, nothing that could reach a shell, and the right one chosen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from replicate.backends.slurm.choose import find_profile
from replicate.backends.slurm.profile import Profile, file_system, load_profile
from replicate.backends.slurm.sbatch import Sbatch, arguments, minutes
from replicate.backends.slurm.waves import over_time_limit, unsplittable_batches
from replicate.errors import SpecError, UnknownName, UserError
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
name   = "lab"
python = "/opt/python"
[paths]
shared = "/shared/deit"
[sbatch]
partition = "gpu"
time      = 60
"""


def write(folder: Path, text: str, name: str = "lab") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_profile(write(folder, text))
    return str(caught.value)


def test_the_example_loads() -> None:
    profile = load_profile(ROOT / "slurm" / "example.toml")
    assert profile.request("train")["time"] == 2880
    assert profile.request("predict")["time"] == 120
    assert profile.request("data")["partition"] == "cpu"
    assert "gpus_per_node" not in profile.request("data")


def test_the_example_can_finish_the_paper() -> None:
    profile = load_profile(ROOT / "slurm" / "example.toml")
    assert profile.processes("train") == 8
    specs = load(ROOT / "tables", "paper")
    jobs = list(plan_tables(specs, list(specs.tables), (0,)).graph)
    assert list(over_time_limit(jobs, profile)) == []
    one = profile.model_copy(update={"kinds": {}})
    (strain,) = over_time_limit(jobs, one)
    assert str(strain).startswith("train-deit-b-224-")


def test_batches_that_cannot_be_shared() -> None:
    profile = load_profile(ROOT / "slurm" / "example.toml")
    specs = load(ROOT / "tables", "paper")
    jobs = list(plan_tables(specs, ["distillation_ablation"], (0,)).graph)
    assert list(unsplittable_batches(jobs, profile)) == []
    many = profile.model_copy(update={"kinds": {"train": Sbatch(nodes=3, ntasks_per_node=3)}})
    at_224, at_384 = map(str, unsplittable_batches(jobs, many))
    assert at_224.startswith("slurm/example.toml: train-deit-ti-224-none-s0-")
    assert at_224.endswith(
        " and 12 more: recipe.batch does not split over 9 processes: got 1024 images\n"
        "  use another number of processes: nodes and ntasks_per_node in [kinds.train], now 9 in all"
    )
    assert "does not split over 9 processes: got 512 images" in at_384


def test_the_example_names_every_key() -> None:
    text = (ROOT / "slurm" / "example.toml").read_text()
    names = set(Profile.model_fields) - {"kinds", "shared_is_local"}
    assert not [name for name in names if name not in text]


def test_a_kind_changes_the_common_request_option_by_option(tmp_path: Path) -> None:
    profile = load_profile(
        write(
            tmp_path, GOOD + "mem = '8G'\nextra = { cluster-constraint = 'ib' }\n[kinds.train]\ntime = '1-00:00:00'\n"
        )
    )
    assert profile.request("train") == {
        "partition": "gpu",
        "time": 1440,
        "mem": "8G",
        "cluster_constraint": "ib",
        "ntasks_per_node": 1,
    }
    assert profile.request("predict")["time"] == 60
    assert profile.request("measure")["exclusive"] is True
    assert profile.packed("train") == 1
    assert arguments(profile.request("measure")) == [
        "--cluster-constraint=ib",
        "--exclusive",
        "--mem=8G",
        "--ntasks-per-node=1",
        "--partition=gpu",
        "--time=60",
    ]


def test_an_option_of_all_is_taken_back_for_a_kind(tmp_path: Path) -> None:
    common = GOOD + "mem = '8G'\ngpus_per_node = 'a100:1'\nextra = { cluster-constraint = 'ib' }\n"
    profile = load_profile(
        write(tmp_path, common + "[kinds.data]\nunset = ['gpus_per_node', 'cluster-constraint']\nmem_per_cpu = '2G'\n")
    )
    assert profile.request("data") == {"partition": "gpu", "time": 60, "mem_per_cpu": "2G", "ntasks_per_node": 1}
    assert profile.request("predict")["gpus_per_node"] == "a100:1"
    by_task = load_profile(write(tmp_path, common + "[kinds.train]\ngpus_per_task = 1\nextra = { ntasks = 4 }\n"))
    request = by_task.request("train")
    assert ("gpus_per_node" in request, "ntasks_per_node" in request, request["ntasks"]) == (False, False, 4)
    assert by_task.processes("train") == 4
    by_gres = load_profile(write(tmp_path, common + "[kinds.train]\ngres = 'gpu:4'\n"))
    assert "gpus_per_node" not in by_gres.request("train")
    assert "[sbatch] does not set 'gpus'" in refused(tmp_path, common + "[kinds.data]\nunset = ['gpus']\n")
    assert "in [kinds.KIND] only" in refused(tmp_path, GOOD + "unset = ['mem']\n")
    assert "needed for train jobs" in refused(tmp_path, GOOD + "[kinds.train]\nunset = ['time']\n")
    assert "should have one of mem, mem_per_gpu" in refused(tmp_path, common + "mem_per_gpu = '8G'\n")


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "REPLICATE_TASK", "A B", "A=B", "1A", "A\n"])
def test_variables_that_no_profile_sets(tmp_path: Path, name: str) -> None:
    quoted = name.replace("\n", "\\n")
    assert "environment" in refused(tmp_path, GOOD + f'[environment]\n"{quoted}" = "1"\n')
    assert "pass_environment[0]" in refused(tmp_path, f'pass_environment = ["{quoted}"]\n' + GOOD)


@pytest.mark.parametrize("value", ["true", "1.5", '"a\\nb"', "[1]"])
def test_values_that_no_variable_has(tmp_path: Path, value: str) -> None:
    assert "environment.A: expected text of one line, in quotes, or a whole number" in refused(
        tmp_path, GOOD + f"[environment]\nA = {value}\n"
    )


def test_all_faults_of_a_file_together(tmp_path: Path) -> None:
    message = refused(
        tmp_path,
        """
name = "other"
pyton = "/opt/python"
setup = "module load torch"
[paths]
shared = "/tmp/deit"
data = "~/images"
[sbatch]
partion = "gpu"
time = "5 hours"
gpus_per_node = "many"
[kinds.train]
time = 2
[kinds.trian]
time = 60
""",
    )
    assert "name: expected the file's own name 'lab', got 'other'" in message
    assert "unknown key 'pyton'\n  did you mean 'python'?" in message
    assert "python: this key is required" in message
    assert "'/tmp/deit' is not on a shared file system" in message
    assert "paths.data: expected an absolute path" in message
    assert "unknown key 'partion'\n  did you mean 'partition'?" in message
    assert "sbatch.time: expected a time: minutes, 'HH:MM:SS' or 'D-HH:MM:SS', got '5 hours'" in message
    assert "sbatch.gpus_per_node: expected a number or 'type:number'" in message
    assert "kinds.train.time: too short, got 2: train jobs are told to stop 90 seconds before it" in message
    assert "kinds.trian: should be a kind of job (did you mean 'train'?; kinds: answers," in message
    assert "setup: should be a list, got 'module load torch'" in message


@pytest.mark.parametrize(
    ("written", "expected"),
    [(60, 60), ("90", 90), ("30:00", 30), ("00:30:01", 31), ("2:00:00", 120), ("1-00:00:00", 1440), ("2-12", 3600)],
)
def test_times(written: int | str, expected: int) -> None:
    assert minutes(written) == expected


@pytest.mark.parametrize("written", [0, -5, True, 1.5, "", "0", "1h", "1:2:3", "1-", "UNLIMITED", "10\n", "٣"])
def test_no_times(written: object) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        minutes(written)


@pytest.mark.parametrize("limit", ["2", '"00:02:00"', '"0-00:01:30"'])
def test_a_limit_that_leaves_a_training_no_time(tmp_path: Path, limit: str) -> None:
    message = refused(tmp_path, GOOD.replace("60", limit))
    assert "sbatch.time" in message
    assert "too short" in message
    assert "use 3 minutes or more" in message
    # The same limit is no fault of jobs that are not resumed.
    assert load_profile(
        write(tmp_path, GOOD.replace("60", limit) + "[kinds.train]\ntime = 3\n[kinds.answers]\ntime = 3\n")
    )


def test_a_limit_is_measured_by_the_time_of_the_signal(tmp_path: Path) -> None:
    assert load_profile(write(tmp_path, "signal_seconds = 30\n" + GOOD.replace("60", "1")))
    early = "signal_seconds = 600\n" + GOOD.replace("60", "12")
    assert "use 20 minutes or more" in refused(tmp_path, early)


def test_a_time_is_required(tmp_path: Path) -> None:
    assert "needed for answers, architecture, data, measure, predict, probe, train, weights jobs" in refused(
        tmp_path, GOOD.replace("time      = 60", "")
    )
    message = refused(tmp_path, GOOD.replace("time      = 60", "[kinds.train]\ntime = 60"))
    assert "needed for answers, architecture, data, measure, predict, probe, weights jobs" in message
    # Published weights ask what a data set does, unless they have a section.
    message = refused(tmp_path, GOOD.replace("time      = 60", "[kinds.data]\ntime = 60"))
    assert "needed for answers, measure, predict, probe, train jobs" in message


def test_published_weights_ask_what_a_data_set_does(tmp_path: Path) -> None:
    found = load_profile(write(tmp_path, GOOD + "[kinds.data]\ntime = 30\n"))
    assert found.request("weights") == found.request("data") == {"partition": "gpu", "time": 30, "ntasks_per_node": 1}
    assert found.packed("weights") == found.packed("data") > 1
    own = load_profile(write(tmp_path, GOOD + "[kinds.data]\ntime = 30\n[kinds.weights]\ntime = 90\n"))
    assert own.request("weights") == {"partition": "gpu", "time": 90, "ntasks_per_node": 1}


HOSTILE = ["gpu; rm -rf x", "gpu\n#SBATCH --uid=0", "$(touch x)", "`touch x`", "a b", "--uid=0", "", "a'b", 'a\\"b']


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "key", ["partition", "account", "qos", "constraint", "nodelist", "gpus_per_node", "mem", "gres"]
)
def test_hostile_options_are_refused(tmp_path: Path, key: str, value: str) -> None:
    text = GOOD.replace('partition = "gpu"', f'{key} = "{value}"' if "\n" not in value else f"{key} = '''{value}'''")
    assert f"sbatch.{key}: expected" in refused(tmp_path, text)


@pytest.mark.parametrize("value", ["/a;b", "/a b", "/a$(b)", "/a%j", "/a'b", "/a/../b", "/a\\nb", "b", "~/b"])
@pytest.mark.parametrize("old", ["/opt/python", "/shared/deit"])
def test_hostile_paths_are_refused(tmp_path: Path, old: str, value: str) -> None:
    assert "expected a" in refused(tmp_path, GOOD.replace(old, value))


def test_what_is_set_here_cannot_be_set_there(tmp_path: Path) -> None:
    assert "'array' is set by replicate itself" in refused(tmp_path, GOOD + "extra = { array = '0-9' }\n")
    assert "'kill-on-invalid-dep' is set by" in refused(tmp_path, GOOD + "extra = { kill-on-invalid-dep = 'no' }\n")
    assert "'time' is checked; write it as a key" in refused(tmp_path, GOOD + "extra = { time = 5 }\n")
    assert "one line" in refused(tmp_path, GOOD + 'extra = { tmp = "1\\n#SBATCH --uid=0" }\n')
    assert "long names" in refused(tmp_path, GOOD + 'extra = { "a\\nb" = "1" }\n')
    assert "setup[0]: expected one line" in refused(tmp_path, 'setup = ["a\\nb"]\n' + GOOD)


def test_what_passes_through_reaches_no_shell(tmp_path: Path) -> None:
    mark = tmp_path / "touched"
    profile = load_profile(write(tmp_path, GOOD + f'extra = {{ tmp = "$(touch {mark}); touch {mark}" }}\n'))
    done = subprocess.run(["echo", *arguments(profile.request("train"))], capture_output=True, text=True, check=True)
    assert f"$(touch {mark})" in done.stdout
    assert not mark.exists()


def test_folders_that_no_other_machine_sees(tmp_path: Path) -> None:
    for folder in ("/tmp/deit", "/var/tmp/deit", "/dev/shm/deit", "/run/deit"):
        text = GOOD.replace("/shared/deit", folder)
        if folder == "/run/deit" and file_system(Path("/run")) != "tmpfs":
            continue
        assert "is not on a shared file system" in refused(tmp_path, text)
        assert load_profile(write(tmp_path, "shared_is_local = true\n" + text))


def test_file_systems() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/dev/shm/not/there")) == "tmpfs"


def test_a_missing_image(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD + "[container]\nruntime = 'apptainer'\nimage = '/images/none.sif'\n")
    assert "container.image: no such image, got '/images/none.sif'" in message


def test_clients_get_a_clean_environment(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "SBATCH_PARTITION": "x",
        "SLURM_JOB_ID": "7",
        "SLURM_CONF": "/etc/s.conf",
        "SQUEUE_USERS": "x",
    }
    plain = load_profile(write(tmp_path, GOOD))
    assert plain.client_environment(environ) == {"PATH": "/bin", "SLURM_CONF": "/etc/s.conf"}
    own = load_profile(write(tmp_path, GOOD.replace("[sbatch]", 'slurm_conf = "/own/slurm.conf"\n[sbatch]')))
    assert own.client_environment(environ)["SLURM_CONF"] == "/own/slurm.conf"


def test_which_profile_is_chosen(tmp_path: Path) -> None:
    match = "[match]\nhostnames = ['login*.lab']\nclusters = ['lab']\n"
    write(tmp_path, GOOD + match)
    write(tmp_path, GOOD.replace('"lab"', '"two"'), "two")

    def chosen(name: str | None = None, environ: dict[str, str] | None = None, host: str = "laptop") -> str | None:
        profile = find_profile(name, tmp_path, environ or {}, host)
        return profile.name if profile else None

    assert chosen() is None
    assert chosen(host="login1.lab") == "lab"
    assert chosen(environ={"SLURM_CLUSTER_NAME": "lab"}) == "lab"
    assert chosen(environ={"REPLICATE_CLUSTER": "two"}, host="login1.lab") == "two"
    assert chosen("lab", {"REPLICATE_CLUSTER": "two"}) == "lab"
    assert chosen("local", {"REPLICATE_CLUSTER": "two"}) is None
    assert chosen(str(tmp_path / "two.toml")) == "two"
    with pytest.raises(UnknownName, match="did you mean 'lab'"):
        chosen("labb")
    with pytest.raises(UnknownName):
        chosen("..")
    with pytest.raises(UserError, match="--cluster names no file: "):
        chosen("/nowhere/lab.toml")
    write(tmp_path, GOOD.replace('"lab"', '"two"') + match, "two")
    with pytest.raises(UserError, match="more than one profile fits"):
        chosen(host="login1.lab")


def test_a_broken_file_is_no_reason_to_train_on_a_login_node(tmp_path: Path) -> None:
    write(tmp_path, "name = ")
    with pytest.raises(SpecError, match="not TOML"):
        find_profile(None, tmp_path, {}, "laptop")
    assert find_profile("local", tmp_path, {}, "laptop") is None
