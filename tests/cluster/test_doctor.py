"""`doctor` on a real cluster: what is right is said, and each thing that is wrong is found and named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from https_server import serving

from cluster.testbed import Testbed, wait_for
from replicate.backends.doctor import probe
from replicate.backends.slurm.profile import load_profile

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def changed(testbed: Testbed, folder: Path, *changes: tuple[str, str], add: str = "") -> Path:
    """The testbed's profile with pieces of text replaced."""
    text = testbed.profile.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "testbed.toml"
    path.write_text(text + add)
    return path


def levels(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Subject -> level."""
    found = [line.split(None, 1) for line in done.stdout.splitlines() if line[:4] in ("ok  ", "warn", "fail")]
    return {rest.partition(":")[0]: level for level, rest in found}


def gone(testbed: Testbed) -> bool:
    """Whether the doctor's job left the queue: it has ended, and Slurm may be clearing up behind it."""
    deadline = time.monotonic() + 30
    while "replicate-doctor" in (queue := testbed.run("squeue", "-h", "-o", "%j")) and time.monotonic() < deadline:
        time.sleep(0.2)
    return "replicate-doctor" not in queue


def test_a_cluster_in_order(testbed: Testbed, replicate: Call) -> None:
    done = replicate("doctor", "--cluster", str(testbed.profile))
    assert done.returncode == 0, done.stdout + done.stderr
    found = levels(done)
    assert "fail" not in found.values()
    # There is no GPU behind the fake ones, and that is the only thing to be said against it.
    assert [subject for subject, level in found.items() if level == "warn" and subject != "shared folder"] in (
        [],
        ["node's GPUs"],
    )
    for subject in ("controller", "accounting", "MaxArraySize", "MaxSubmitJobs", "MinJobAge", "preemption", "GPUs"):
        assert found[subject] == "ok"
    assert "small x2, large x2" in done.stdout
    assert "read and wrote" in done.stdout
    assert not list(testbed.shared.glob(".doctor-*"))
    assert gone(testbed)


def test_json(testbed: Testbed, replicate: Call) -> None:
    done = replicate("doctor", "--cluster", str(testbed.profile), "--wait", "0", "--json")
    told = json.loads(done.stdout)
    assert told["cluster"] == "testbed"
    assert {entry["level"] for entry in told["findings"]} <= {"ok", "warn"}
    # Without the job on a node nothing is said of nodes.
    assert not [entry for entry in told["findings"] if entry["subject"] in ("node", "python", "packages")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('partition     = "main"', 'partition     = "mian"', "no partition 'mian'; did you mean 'main'?"),
        ('account       = "lab"', 'account       = "lob"', "Invalid account"),
        ('partition     = "main"', 'partition     = "main"\nqos = "gold"', "Invalid qos"),
        ("gpus_per_node = 1", "gpus_per_node = 5", "Requested node configuration is not available"),
        ("gpus_per_node = 1", 'gpus_per_node = "a100:1"', "Requested node configuration is not available"),
        (
            "time          = 30",
            'time          = "2-00:00:00"',
            "2880 minutes, but main allows 1440; lower time in [kinds.",
        ),
        ('mem           = "1800M"', 'mem           = "99G"', "Requested node configuration is not available"),
        (
            'partition     = "main"',
            'partition     = "main"\nextra = { nonsense = "$(touch x); y" }',
            "unrecognized option",
        ),
    ],
)
def test_requests_that_slurm_would_refuse(
    testbed: Testbed, replicate: Call, tmp_path: Path, old: str, new: str, message: str
) -> None:
    done = replicate("doctor", "--cluster", str(changed(testbed, tmp_path, (old, new))), "--wait", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_trainings_that_cannot_end_in_time(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    """What a step says when it submits them is known before."""
    call = ("doctor", "--wait", "0", "--cluster")
    done = replicate(*call, str(testbed.profile), "--scale", "paper")
    assert done.returncode == 0, done.stdout
    assert levels(done)["time of train jobs"] == "warn"
    assert "in 1 process (of the scale's processor), but may take 0.5 h 4 times; raise ntasks_per_node" in done.stdout
    # At the other scale the same limits are plenty, and so are longer ones at this.
    assert levels(replicate(*call, str(testbed.profile)))["time"] == "ok"
    enough = ("time          = 30", 'time          = "20-00:00:00"\nntasks_per_node = 8')
    done = replicate(*call, str(changed(testbed, tmp_path, enough)), "--scale", "paper")
    assert levels(done)["time"] == "ok"


def test_an_interpreter_that_is_not_there(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    profile = changed(testbed, tmp_path, (sys.executable, "/opt/none/bin/python"))
    done = replicate("doctor", "--cluster", str(profile))
    assert done.returncode == 2
    assert levels(done)["node"] == "fail"
    assert "/opt/none/bin/python" in done.stdout


def test_an_interpreter_without_the_packages(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = replicate("doctor", "--cluster", str(changed(testbed, tmp_path, (sys.executable, f"{bare}/bin/python"))))
    assert done.returncode == 2
    assert levels(done)["packages"] == "fail"
    assert "torch, torchvision, timm" in done.stdout


def test_setup_that_fails_is_told_with_its_words(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    broken = 'setup           = ["echo no such module >&2; exit 3"]'
    profile = changed(testbed, tmp_path, ('setup           = ["export OMP_NUM_THREADS=1"]', broken))
    done = replicate("doctor", "--cluster", str(profile))
    assert done.returncode == 2
    assert "no such module" in done.stdout


def test_a_folder_that_a_node_does_not_mount(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root gives a daemon another view of the disks")
    other = testbed.folder / "other"
    other.mkdir(mode=0o700, exist_ok=True)
    try:
        testbed.kill("n4", signal.SIGTERM)
        start = f"mount -t tmpfs tmpfs {other} && exec slurmd -N n4 -f {testbed.environ['SLURM_CONF']}"
        environ = {**testbed.environ, "PATH": testbed.environ["PATH"] + ":/usr/sbin:/sbin"}
        subprocess.run(["unshare", "--mount", "sh", "-c", start], check=True, timeout=30, env=environ)
        wait_for(lambda: testbed.run("sinfo", "-h", "-n", "n4", "-p", "main", "-o", "%T") == "idle", 30, "n4 is not up")
        profile = changed(
            testbed,
            tmp_path,
            (f'"{testbed.shared}"', f'"{other}"'),
            ('partition     = "main"', 'partition     = "main"\nnodelist = "n4"'),
            ('"large:1"', "1"),
        )
        done = replicate("doctor", "--cluster", str(profile), "--wait", "60")
        assert done.returncode == 2, done.stdout
        assert levels(done)["shared folder"] == "fail"
        assert "name a folder in paths.shared that all nodes mount" in done.stdout
    finally:
        testbed.kill("n4", signal.SIGTERM)
        testbed.clear()


def test_a_folder_that_others_can_write(testbed: Testbed, replicate: Call) -> None:
    before = stat.S_IMODE(testbed.shared.stat().st_mode)
    testbed.shared.chmod(0o777)
    try:
        done = replicate("doctor", "--cluster", str(testbed.profile), "--wait", "0")
        assert levels(done)["shared folder"] == "warn"
        assert "chmod go-w" in done.stdout
    finally:
        testbed.shared.chmod(before)


def test_a_busy_cluster_is_no_failure(testbed: Testbed, replicate: Call) -> None:
    try:
        for _ in range(4):
            testbed.submit("sleep 100", "--exclusive")
        done = replicate("doctor", "--cluster", str(testbed.profile), "--wait", "5")
        assert done.returncode == 0, done.stdout
        assert levels(done)["node"] == "warn"
        assert "no answer within 5 s: PENDING" in done.stdout
        assert gone(testbed)
    finally:
        testbed.clear()


def test_without_accounting(bare_testbed: Testbed, replicate: Call) -> None:
    done = replicate("doctor", "--cluster", str(bare_testbed.profile), "--wait", "0")
    assert done.returncode == 0, done.stdout
    assert levels(done)["accounting"] == "warn"
    assert levels(done)["MinJobAge"] == "warn"


def test_no_controller(bare_testbed: Testbed, replicate: Call) -> None:
    bare_testbed.kill("slurmctld", signal.SIGTERM)
    try:
        done = replicate("doctor", "--cluster", str(bare_testbed.profile))
        assert done.returncode == 2
        assert levels(done)["controller"] == "fail"
        assert "Traceback" not in done.stderr
    finally:
        bare_testbed.up()


def test_no_slurm_here(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    done = replicate("doctor", "--cluster", str(testbed.profile), env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "not found: sbatch" in done.stdout


def test_no_cluster(replicate: Call) -> None:
    done = replicate("doctor")
    assert done.returncode == 2
    assert "error: no cluster is chosen: no --cluster" in done.stderr
    assert "--draft" in done.stderr


@pytest.fixture
def images(tables: Path, tmp_path: Path) -> Path:
    """Two classes of 512 and one images, a batch of the recipes, and a paper scale that says so."""
    scale = tables / "scales" / "paper.toml"
    text = scale.read_text()
    for old, new in (
        ("classes = 1000", "classes = 2"),
        ("train   = 1281167", "train = 1024"),
        ("test    = 50000", "test = 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    scale.write_text(text)
    root = tmp_path / "images"
    for part, count in (("train", 512), ("val", 1)):
        for name in ("n01", "n02"):
            folder = root / "imagenet-1k" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.JPEG").write_bytes(b"")
    return root


GPU_TORCH = """
from types import SimpleNamespace as Some
__version__, version, cuda = "2.9.9", Some(cuda="12.6"), Some(get_device_name=lambda number: "A Stand-in")
class Tensor:
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return 8.0
def ones(*size, device): return Tensor()
"""
"""The testbed's GPUs are files, and no torch computes on those."""


def with_gpus(testbed: Testbed, folder: Path, *changes: tuple[str, str]) -> Path:
    """A profile whose jobs find a torch that has a GPU."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "torch.py").write_text(GPU_TORCH)
    return changed(testbed, folder, *changes, add=f'\n[environment]\nPYTHONPATH = "{folder / "site"}"\n')


def test_no_gpu_at_paper_scale(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    """No CPU trains in fp16."""
    call = ("doctor", "--scale", "paper", "--cluster")
    assert levels(replicate(*call, str(testbed.profile)))["node's GPUs"] == "fail"
    assert levels(replicate(*call, str(with_gpus(testbed, tmp_path))))["node's GPUs"] == "ok"


def test_images_on_the_nodes(testbed: Testbed, replicate: Call, tables: Path, images: Path, tmp_path: Path) -> None:
    call = ("doctor", "--scale", "paper", "--tables", str(tables), "--cluster")
    without = replicate(*call, str(testbed.profile))
    assert without.returncode == 2
    assert "paths.data is not set" in without.stdout

    profile = with_gpus(testbed, tmp_path, ("[paths]\n", f'[paths]\ndata = "{images}"\n'))
    done = replicate(*call, str(profile))
    assert done.returncode == 0, done.stdout
    assert "1024 images of 2 classes" in done.stdout

    (images / "imagenet-1k" / "val" / "n02" / "0.JPEG").unlink()
    short = replicate(*call, str(profile))
    assert short.returncode == 2
    assert levels(short)["data imagenet-1k/val"] == "fail"
    assert "1 images of 2 classes, not 2 of 2" in short.stdout

    # ImageNet-V2 is only evaluated on: it has no training images, and needs none.
    for name in ("0", "1"):
        (images / "imagenet-v2" / "val" / name).mkdir(parents=True)
    seen = replicate(*call, str(profile))
    assert "data imagenet-v2/train" not in levels(seen)
    assert levels(seen)["data imagenet-v2/val"] == "fail"


def test_published_weights_on_the_nodes(
    testbed: Testbed, replicate: Call, tables: Path, images: Path, tmp_path: Path
) -> None:
    files = tmp_path / "site"
    files.mkdir()
    near, far, nowhere = "near-0123abcd.pth", "far-0123abcd.pth", "nowhere-0123abcd.pth"
    (files / far).write_bytes(b"")
    (images / "weights").mkdir()
    (images / "weights" / near).write_bytes(b"")
    scale = tables / "scales" / "paper.toml"
    before, _, rest = scale.read_text().partition("[released]\n")
    with serving(files, tmp_path) as (address, certificate):
        entries = {
            "deit-s-224/none": near,
            "deit-ti-224/none": f"{address}/{far}",
            "deit-b-224/none": nowhere,
            "deit-b-384/none": f"{address}/absent-0123abcd.pth",
        }
        own = "".join(f'"{run}" = "{file}"\n' for run, file in entries.items())
        scale.write_text(f"{before}[released]\n{own}{rest[rest.index(chr(10) * 2) :]}")
        known = ("export OMP_NUM_THREADS=1", f"export OMP_NUM_THREADS=1 SSL_CERT_FILE={certificate}")
        profile = with_gpus(testbed, tmp_path, ("[paths]\n", f'[paths]\ndata = "{images}"\n'), known)
        call = ("doctor", "--scale", "paper", "--tables", str(tables), "--cluster", str(profile), "--from", "released")
        lacking = replicate(*call)
        for file in (nowhere, "absent-0123abcd.pth"):
            (images / "weights" / file).write_bytes(b"")
        shutil.rmtree(images / "imagenet-1k" / "train")
        whole = replicate(*call)
    assert levels(lacking)["weights"] == "fail"
    assert "1 answer at their address, not nowhere-0123abcd.pth, absent-0123abcd.pth" in lacking.stdout
    assert levels(whole)["weights"] == "ok", whole.stdout
    assert f"3 of 4 files in {images}/weights on n" in whole.stdout
    # Who only evaluates needs no training images.
    assert levels(whole)["data imagenet-1k/train"] == "warn"
    assert whole.returncode == 0, whole.stdout


@pytest.mark.torch
def test_the_fingerprint_is_the_engines(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagefolder = pytest.importorskip("replicate.engine.sources.imagefolder")
    monkeypatch.setenv("REPLICATE_DATA", str(images))
    train, val = imagefolder.list_splits("imagenet-1k", 2)
    found = probe.splits(str(images / "imagenet-1k"))
    assert found.train.sha256 == train.fingerprint()["sha256"]
    assert found.val.sha256 == val.fingerprint()["sha256"]


def test_the_draft_is_a_profile_that_passes(testbed: Testbed, replicate: Call, tmp_path: Path) -> None:
    environ = {"SLURM_CONF": testbed.environ["SLURM_CONF"], "SCRATCH": str(tmp_path)}
    done = replicate("doctor", "--draft", env=environ)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "testbed.toml"
    path.write_text(done.stdout)
    profile = load_profile(path)
    assert profile.request("train") == {
        "partition": "main",
        "account": "lab",
        "time": 1440,
        "cpus_per_task": 1,
        "mem": "1800M",
        # Two would tear the images of the small teacher's BatchNorm.
        "ntasks_per_node": 1,
        "gpus_per_node": "1",
    }
    assert profile.request("measure")["gpus_per_node"] == "large:1"
    checked = replicate("doctor", "--cluster", str(path))
    assert checked.returncode == 0, checked.stdout


def test_a_draft_needs_a_cluster(replicate: Call, tmp_path: Path) -> None:
    done = replicate("doctor", "--draft", env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "scontrol: no such program on this machine" in done.stderr
