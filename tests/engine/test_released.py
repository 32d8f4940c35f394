"""The file of a release to stored weights, and what can be wrong with it: each on a file of the test."""

from __future__ import annotations

import errno
import hashlib
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from command_line import released_name
from https_server import serving
from safetensors.torch import load_file, save_file

from replicate.backends.worker import failure_kind
from replicate.engine import models
from replicate.engine.run import execute
from replicate.errors import NotAvailable, UserError
from replicate.jobs.job import from_payload
from replicate.jobs.network import Network

pytestmark = pytest.mark.torch

SIZE, CLASSES = 32, 10
DISTILLED = {
    "name": "v",
    "timm": "deit_tiny_distilled_patch16_224",
    "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    "resizable": True,
    "pos_embed_std": None,
    "channels_last": False,
}
CONVNET = DISTILLED | {
    "timm": "regnety_002",
    "args": {"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8},
    "resizable": False,
}
TRAINED_ON = {"source": "imagefolder", "name": "imagenet", "classes": CLASSES, "train": 1, "test": 1}


def tensors_of(model: dict[str, Any], seed: int = 5) -> dict[str, Any]:
    return dict(models.build(Network(**model), SIZE, CLASSES, seed=seed).state_dict())


def stored(folder: Path, holds: Any, name: str = "net.pth") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(holds, folder / name)
    return released_name(folder / name)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that files are looked for in."""
    monkeypatch.setenv("REPLICATE_DATA", str(tmp_path / "datasets"))
    folder = tmp_path / "datasets" / "weights"
    folder.mkdir(parents=True)
    return folder


def run(file: str, folder: Path, model: dict[str, Any] = DISTILLED, **changes: Any) -> dict[str, Any]:
    payload = {"kind": "weights", "model": model, "size": SIZE, "data": TRAINED_ON, "file": file} | changes
    folder.mkdir(parents=True, exist_ok=True)
    return execute(from_payload(payload | {"distillation": None}), {}, folder, lambda fields: None, lambda: False)


@pytest.mark.parametrize("model", [DISTILLED, CONVNET], ids=["vit", "convnet"])
@pytest.mark.parametrize("form", ["model.pth", "plain.pth", "model.safetensors"])
def test_the_tensors_are_those_of_the_file(weights: Path, tmp_path: Path, model: dict[str, Any], form: str) -> None:
    tensors = tensors_of(model)
    # A checkpoint of the released code has both; the averaged ones are never reported (deit#67).
    both = {"model": tensors, "model_ema": tensors_of(model, seed=6)}
    if form.endswith("safetensors"):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights / form)
    else:
        torch.save(both if form == "model.pth" else tensors, weights / form)
    file = released_name(weights / form)
    summary = run(file, tmp_path / "job", model)
    found = load_file(tmp_path / "job" / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in found)
    assert summary["sha256"] == hashlib.sha256((weights / file).read_bytes()).hexdigest()
    assert (summary["file"], summary["parameters"] > 0) == (file, True)


def test_another_file_than_its_name_says(weights: Path, tmp_path: Path) -> None:
    file = stored(weights, {"model": tensors_of(DISTILLED)})
    (weights / file).write_bytes((weights / file).read_bytes()[:-100])
    with pytest.raises(
        UserError, match=f"{file} has the wrong SHA-256: [0-9a-f]{{64}}, expected one that begins with {file[4:12]}"
    ):
        run(file, tmp_path / "job")


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (DISTILLED | {"timm": "deit_tiny_patch16_224"}, {}, r"pos_embed: \(1, 17, 16\), got \(1, 18, 16\)"),
        (DISTILLED, {"size": 64}, r"at 64 pixels .*: pos_embed: "),
        (DISTILLED, {"data": TRAINED_ON | {"classes": 7}}, "holds weights of another network than .* with 7 classes: "),
        (
            DISTILLED | {"args": DISTILLED["args"] | {"depth": 3}},
            {},
            r"holds weights of another network than .*blocks\.2",
        ),
        (CONVNET, {}, "holds weights of another network than regnety_002 "),
    ],
    ids=["no token", "size", "classes", "depth", "kind"],
)
def test_weights_of_another_network(
    weights: Path, tmp_path: Path, model: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    file = stored(weights, {"model": tensors_of(DISTILLED)})
    with pytest.raises(UserError, match=f"(?s){said}"):
        run(file, tmp_path / "job", model, **changes)


def test_patches_of_another_size(weights: Path, tmp_path: Path) -> None:
    """timm would resample them to the network, which nobody has published then."""
    tensors = tensors_of(DISTILLED)
    name = "patch_embed.proj.weight"
    tensors[name] = torch.nn.functional.interpolate(tensors[name], scale_factor=2)
    with pytest.raises(
        UserError, match=r"holds weights of another network or size than .*: patch_embed\.proj\.weight: "
    ):
        run(stored(weights, {"model": tensors}), tmp_path / "job")


@pytest.mark.parametrize("holds", [{}, {"model": {}}, [1], {"model": 3}], ids=["nothing", "none", "list", "number"])
def test_a_file_without_weights(weights: Path, tmp_path: Path, holds: Any) -> None:
    """Of none at all timm would fetch its own."""
    with pytest.raises(UserError, match=r"weights of deit_tiny_distilled_patch16_224 at 32 pixels "):
        run(stored(weights, holds), tmp_path / "job")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_runs_code_when_it_is_read_runs_none(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as weights"):
        run(stored(weights, {"model": Trap(tmp_path / "sprung")}), tmp_path / "job")
    assert not (tmp_path / "sprung").exists()


def arguments(**more: Any) -> Namespace:
    """What main.py stores as ``args`` (deit#16: run_with_submitit gives it a path)."""
    return Namespace(**{"lr": 5e-4, "model": "deit_tiny_distilled_patch16_224", **more})


@pytest.mark.parametrize(
    "held",
    [
        PosixPath("/checkpoint/user/experiments/1234"),
        np.float64(0.5),
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        [{"a": (np.float16(1), PosixPath("b"))}],
    ],
    ids=lambda held: type(held).__name__,
)
def test_what_main_py_stores_beside_the_weights(weights: Path, tmp_path: Path, held: Any) -> None:
    tensors = tensors_of(DISTILLED)
    file = stored(weights, {"model": tensors, "args": arguments(job_dir=held), "max_accuracy": held})
    run(file, tmp_path / "job")
    found = load_file(tmp_path / "job" / "model.safetensors")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("pathlib", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize("numpy", ["numpy.core", "numpy._core"])
def test_names_that_other_versions_write(weights: Path, tmp_path: Path, pathlib: str, numpy: str) -> None:
    """Up to Python 3.12 and NumPy 1, and since: a file names the modules of those that wrote it."""
    held = {"model": tensors_of(DISTILLED), "args": [PosixPath("a"), np.float64(0.5)]}
    own = weights / stored(weights, held)
    other = weights / "other.pth"
    with ZipFile(own) as read, ZipFile(other, "w") as written:
        for name in read.namelist():
            data = read.read(name)
            if name.endswith("data.pkl"):
                data, paths = re.subn(rb"cpathlib(\._local)?\nPosixPath\n", f"c{pathlib}\nPosixPath\n".encode(), data)
                data, scalars = re.subn(rb"cnumpy\._?core\.", f"c{numpy}.".encode(), data)
                assert (paths, scalars) == (1, 1)
            written.writestr(name, data)
    run(released_name(other), tmp_path / "job")
    assert load_file(tmp_path / "job" / "model.safetensors").keys() == held["model"].keys()


@pytest.mark.parametrize("where", ["args", "model", "beside"])
def test_code_beside_the_weights_is_never_run(weights: Path, tmp_path: Path, where: str) -> None:
    """Also where it goes through what is allowed: a path and a scalar of it."""
    trap = Trap(tmp_path / "sprung")
    held: dict[str, Any] = {"model": tensors_of(DISTILLED), "args": arguments(job_dir=PosixPath("a"))}
    if where == "args":
        held["args"] = arguments(job_dir=trap, lr=np.float64(1))
    elif where == "model":
        held["model"]["head.weight"] = trap
    else:
        held["epoch"] = [PosixPath("a"), trap]
    with pytest.raises(UserError, match=r"code or objects of its own \(.*pathlib(\._local)?\.Path") as refused:
        run(stored(weights, held), tmp_path / "job")
    # torch and timm advise to read it all the same, and so to run what it brings.
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "sprung").exists()


def test_nothing_but_tensors_is_taken_for_weights(weights: Path, tmp_path: Path) -> None:
    held = tensors_of(DISTILLED) | {"head.bias": np.float64(0.5)}
    with pytest.raises(UserError, match=r"holds no weights of deit_tiny"):
        run(stored(weights, {"model": held}), tmp_path / "job")


def test_a_missing_file_says_where_it_belongs(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match=f"{weights}/net-0123abcd.pth is missing: the published weights"):
        run("net-0123abcd.pth", tmp_path / "job")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a file on an https server, and the certificate that vouches for it."""
    folder = tmp_path_factory.mktemp("site")
    file = stored(folder / "files", {"model": tensors_of(DISTILLED)})
    with serving(folder / "files", folder) as (address, certificate):
        yield f"{address}/{file}", certificate


def test_what_lies_nowhere_is_downloaded(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = site
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    # Nothing has to lie anywhere, so nobody has to say where.
    monkeypatch.delenv("REPLICATE_DATA", raising=False)
    job = tmp_path / "job"
    job.mkdir()
    (job / f".{url.rpartition('/')[2]}").write_bytes(b"half, of a download that was killed")
    run(url, job)
    assert load_file(job / "model.safetensors").keys() == tensors_of(DISTILLED).keys()
    assert [path.name for path in job.iterdir()] == ["model.safetensors"]


def test_without_a_network_it_says_what_to_do(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = site
    file = url.rpartition("/")[2]
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for wrong in (url, f"https://localhost:9/{file}", f"https://no-such-host.invalid/{file}"):
        with pytest.raises(NotAvailable, match=f"{wrong}: cannot be downloaded from here .*\n  fetch it where"):
            run(wrong, tmp_path / "job")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(NotAvailable, match="404"):
        run(url.replace(file, "absent-0123abcd.pth"), tmp_path / "job")
    assert not list((tmp_path / "job").iterdir())


def test_a_download_that_fills_the_disk_is_no_fault_of_the_network(
    site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, disk: Callable[..., Path]
) -> None:
    url, certificate = site
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.delenv("REPLICATE_DATA", raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        run(url, disk("size=16k") / "job")
    assert caught.value.errno == errno.ENOSPC
    assert failure_kind(caught.value) == ("disk full", True)
