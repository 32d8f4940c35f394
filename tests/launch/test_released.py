"""Published weights in place of training: from a file, from an address, and what is wrong with either."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from stage import Call
from world import JOBS, World, ended, new_world

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from safetensors.torch import load_file, save_file  # noqa: E402

STUDENT, TEACHER = "deit-ti-224/none", "regnety-16gf"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny table, all of it trained."""
    world = new_world(tmp_path_factory.mktemp("trained"))
    done = world.table()
    assert done.returncode == 0, done.stderr
    return world


def named(path: Path, stem: str) -> str:
    """Renames ``path`` as released files are: with the first digits of its SHA-256."""
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"{stem}-{digits}{path.suffix}")).name


@pytest.fixture(scope="module")
def files(trained: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``$REPLICATE_DATA`` with the weights of a student, as the DeiT release has them, and of the teacher."""
    root = tmp_path_factory.mktemp("datasets")
    (root / "weights").mkdir()
    tensors = load_file(trained.results / trained.key("train-deit-ti-224-none") / "model.safetensors")
    # What a training of the released code writes has both; the averaged ones are never reported (deit#67).
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"model": tensors, "model_ema": other}, root / "weights" / "student.pth")
    tensors = load_file(trained.results / trained.key("train-regnety") / "model.safetensors")
    save_file(tensors, root / "weights" / "teacher.safetensors")
    return root


@pytest.fixture(scope="module")
def names(files: Path) -> dict[str, str]:
    folder = files / "weights"
    return {
        STUDENT: named(folder / "student.pth", "student"),
        TEACHER: named(folder / "teacher.safetensors", "teacher"),
    }


def released(world: World, *arguments: str, data: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return world.table("--from", "released", *arguments, REPLICATE_DATA=str(data), **env)


def cells_of(world: World) -> list[dict[str, Any]]:
    found = json.loads((world.folder / "out" / "tiny-released" / "tiny.json").read_text())
    return [cell for cell in found["cells"] if cell["row"] != "@"]


def test_the_numbers_are_those_of_the_training_that_was_published(
    trained: World, files: Path, names: dict[str, str], tmp_path: Path
) -> None:
    world = new_world(tmp_path, released=names)
    done = released(world, data=files)
    assert done.returncode == 0, done.stderr
    assert len(list(world.results.glob("*/result.json"))) == JOBS
    assert {path.name.split("-")[1] for path in world.results.glob("weights-*")} == {"deit", "regnety"}
    assert not list(world.results.glob("train-deit-ti-224-none*")) + list(world.results.glob("train-regnety*"))
    # The student that was published decides as it did, and those of the published teacher come out the same.
    assert set(world.decisions().values()) == set(trained.decisions().values())
    assert set(world.weights().values()) < set(trained.weights().values())
    origins = {(cell["row"], cell["column"]): cell["origin"] for cell in cells_of(world)}
    assert origins.pop(("none", "ti_224")) == "released weights"
    assert set(origins.values()) == {"trained here"}
    page = (world.folder / "out" / "tiny-released" / "tiny.md").read_text()
    assert "Numbers: trained here and released weights; n" in page
    assert "‡ released weights (unmarked: trained here)" in page


def test_without_training_the_published_are_evaluated_and_the_rest_waits(
    files: Path, names: dict[str, str], tmp_path: Path
) -> None:
    world = new_world(tmp_path, released=names)
    done = released(world, "--no-train", data=files)
    assert done.returncode == 3, done.stderr
    assert not list(world.results.glob("train-*"))
    assert {cell["origin"] for cell in cells_of(world)} == {"released weights", "not run"}
    # What it says of a number says where the network is from, and the command it prints leads there.
    said = ended(world.start("explain", "tiny", "none", "ti_224", "--from", "released")).stdout
    assert names[STUDENT] in said
    assert "released weights" in said
    assert "--from released" in said


def test_a_training_that_is_there_is_evaluated_without_another(trained: World, tmp_path: Path) -> None:
    world = new_world(tmp_path)
    done = ended(world.start("run", next(trained.results.glob("train-deit-s-224-none*")).name))
    assert done.returncode == 0, done.stderr
    assert world.table("--no-train").returncode == 3
    assert [cell["state"] for cell in world.json()["cells"]].count("done") == 1
    assert len(list(world.results.glob("train-*/result.json"))) == 1


def test_another_file_than_its_name_says_is_refused(files: Path, names: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "datasets"
    (data / "weights").mkdir(parents=True)
    whole = (files / "weights" / names[STUDENT]).read_bytes()
    (data / "weights" / names[STUDENT]).write_bytes(whole[:-100])
    world = new_world(tmp_path / "world", released={STUDENT: names[STUDENT]})
    done = released(world, "--no-train", data=data)
    assert done.returncode == 1
    assert f"a file whose SHA-256 begins with {names[STUDENT][-12:-4]}, got " in done.stderr


def test_weights_of_another_network_are_refused(files: Path, names: dict[str, str], tmp_path: Path) -> None:
    world = new_world(tmp_path, released={"deit-s-224/none": names[STUDENT]})
    done = released(world, "--no-train", data=files)
    assert done.returncode == 1
    assert "those of another network" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("holds", [{}, {"model": {}}, [1]], ids=["nothing", "an empty model", "a list"])
def test_a_file_without_weights_is_refused(tmp_path: Path, holds: Any) -> None:
    """Of none at all timm would fetch its own."""
    (tmp_path / "weights").mkdir()
    torch.save(holds, tmp_path / "weights" / "empty.pth")
    world = new_world(tmp_path / "world", released={STUDENT: named(tmp_path / "weights" / "empty.pth", "empty")})
    done = released(world, "--no-train", data=tmp_path)
    assert done.returncode == 1
    assert "weights of deit_tiny_patch16_224 at 32 pixels with 10 classes, got a file " in done.stderr


def test_patches_of_another_size_are_refused(files: Path, names: dict[str, str], tmp_path: Path) -> None:
    """timm would resample them to the network, which nobody has published then."""
    (tmp_path / "weights").mkdir()
    tensors = torch.load(files / "weights" / names[STUDENT], weights_only=True)["model"]
    name = "patch_embed.proj.weight"
    tensors[name] = torch.nn.functional.interpolate(tensors[name], scale_factor=2)
    torch.save({"model": tensors}, tmp_path / "weights" / "patches.pth")
    world = new_world(tmp_path / "world", released={STUDENT: named(tmp_path / "weights" / "patches.pth", "patches")})
    done = released(world, "--no-train", data=tmp_path)
    assert done.returncode == 1
    assert "those of another network or size: patch_embed.proj.weight: " in done.stderr


def test_a_scale_inherits_no_published_weights(names: dict[str, str], tmp_path: Path, replicate: Call) -> None:
    """They are of the data and the networks of the scale that names them."""
    folder = new_world(tmp_path, released=names).folder / "tables"
    text = 'id = "own"\nextends = "tiny"\ntitle = "mine"\nseed_sd = 1.0\nseed_sd_source = "a guess"\n'
    (folder / "scales" / "own.toml").write_text(text)
    done = replicate("plan", "--from", "released", "--scale", "own", "--tables", str(folder))
    assert done.returncode == 2
    assert "a scale that names published weights, got 'own'" in done.stderr


def test_a_file_that_runs_code_when_it_is_read_runs_none(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "weights").mkdir()
    torch.save({"model": Trap()}, tmp_path / "weights" / "trap.pth")
    world = new_world(tmp_path / "world", released={STUDENT: named(tmp_path / "weights" / "trap.pth", "trap")})
    done = released(world, "--no-train", data=tmp_path)
    assert done.returncode == 1
    assert "a file that cannot be read" in done.stderr
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_says_where_it_belongs(tmp_path: Path) -> None:
    world = new_world(tmp_path, released={STUDENT: "student-0123abcd.pth"})
    done = released(world, "--no-train", data=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/weights/student-0123abcd.pth: the published weights" in done.stderr


@pytest.fixture(scope="module")
def site(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An https server of ``files`` on this machine: its address, and the certificate that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "site.crt", folder / "site.key"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    served = partial(SimpleHTTPRequestHandler, directory=str(files / "weights"))
    server = ThreadingHTTPServer(("localhost", 0), served)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}", certificate
    server.shutdown()
    server.server_close()


def test_what_lies_nowhere_is_downloaded(
    trained: World, site: tuple[str, Path], names: dict[str, str], tmp_path: Path
) -> None:
    address, certificate = site
    world = new_world(tmp_path, released={STUDENT: f"{address}/{names[STUDENT]}"})
    done = released(world, "--no-train", data=tmp_path, SSL_CERT_FILE=str(certificate))
    assert "failed" not in done.stderr
    assert set(world.decisions().values()) < set(trained.decisions().values())
    # Neither the file nor what an interrupted download left of it stays beside the result.
    (folder,) = world.results.glob("weights-*")
    assert not list(folder.glob(f".{names[STUDENT]}*"))
    other = new_world(tmp_path / "killed", released={STUDENT: f"{address}/{names[STUDENT]}"})
    left = other.results / folder.name / f".{names[STUDENT]}.0123.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    # Without a folder of data sets, too: nothing has to lie in it.
    again = other.table("--from", "released", "--no-train", REPLICATE_DATA="", SSL_CERT_FILE=str(certificate))
    assert again.returncode == 3
    assert (left.parent / "model.safetensors").is_file()
    assert not left.exists()


def test_a_download_that_fills_the_disk_is_no_fault_of_the_network(
    site: tuple[str, Path], names: dict[str, str], tmp_path: Path, disk: Callable[..., Path]
) -> None:
    address, certificate = site
    world = new_world(tmp_path, released={STUDENT: f"{address}/{names[STUDENT]}"})
    keys = [job["key"] for job in world.json_of("plan", "--from", "released")["jobs"] if job["kind"] == "weights"]
    world.results.symlink_to(disk("size=100k"))
    process = world.start("run", *keys, "--from", "released", SSL_CERT_FILE=str(certificate))
    done = ended(process)
    assert done.returncode == 1
    assert "disk full" in done.stderr
    assert "cannot be downloaded" not in done.stderr


def test_without_a_network_it_says_what_to_do(site: tuple[str, Path], names: dict[str, str], tmp_path: Path) -> None:
    address, certificate = site
    for url, env in (
        (f"https://localhost:9/{names[STUDENT]}", {}),
        (f"{address}/{names[STUDENT]}", {}),
        (f"{address}/absent-0123abcd.pth", {"SSL_CERT_FILE": str(certificate)}),
    ):
        world = new_world(tmp_path / str(len(list(tmp_path.iterdir()))), released={STUDENT: url})
        done = released(world, "--no-train", data=tmp_path, **env)
        assert done.returncode == 1
        assert f"{url}: cannot be downloaded from here (" in done.stderr
        assert "fetch it where there is a network, and put it under $REPLICATE_DATA/weights" in done.stderr
