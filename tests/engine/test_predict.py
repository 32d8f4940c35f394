import io
import json
import time
import zipfile
from collections.abc import Iterator
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from paper_recipe import trained_payload
from torch import nn

from replicate.engine import models, predict
from replicate.engine.batches import evaluation_batches
from replicate.engine.checkpoint import weights_bytes
from replicate.engine.input_results import data_set
from replicate.engine.micro_batch import MicroBatches
from replicate.engine.run import execute
from replicate.errors import JobError, UnknownName, UserError
from replicate.jobs.job import from_payload
from replicate.jobs.network import Network
from replicate.specs.recipe import Evaluation

pytestmark = pytest.mark.torch

TEST_IMAGES = 300
DIGITS = {
    "source": "digits",
    "version": 1,
    "classes": 10,
    "size": 16,
    "train": 40,
    "test": TEST_IMAGES,
    "seed": 1,
    "skip": 0,
}
EVALUATION = {"crop": 0.875, "interpolation": "bicubic", "weights": "last"}


def quiet(fields: Any) -> None:
    pass


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    payload = {"kind": "data", "data": DIGITS}
    execute(from_payload(payload), {}, folder, quiet, never)
    (folder / "job.json").write_text(json.dumps({"key": "d", "payload": payload}))
    return folder


def images_of(data: Path) -> torch.Tensor:
    """All test images, as a network gets them."""
    split = data_set({"data": data}).test
    return next(evaluation_batches(split, 16, Evaluation(**EVALUATION), TEST_IMAGES))[0]


def trained(folder: Path, distilled: bool, data: Path, classes: int = 10) -> Path:
    """The result of a train job whose weights were drawn, wide enough for the images to matter."""
    model = {
        "name": "v", "timm": "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}, "resizable": True,
        "pos_embed_std": 0.5, "channels_last": False,
    }  # fmt: skip
    for seed, file in enumerate(("model.safetensors", "ema.safetensors")):
        network = models.build(Network(**model), 16, classes, seed=seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(15 if parameter.ndim > 1 else 1)
            # Centred, or one class would win on every image.
            network.head.bias -= models.heads(network.eval(), images_of(data))["class"].mean(dim=0)
        (folder / file).write_bytes(weights_bytes(network.state_dict()))
    (folder / "job.json").write_text(json.dumps({"key": "n", "payload": trained_payload(model)}))
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["one head", "two heads"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return trained(tmp_path_factory.mktemp("network"), request.param, data)


def run(
    folder: Path, network: Path, data: Path, size: int = 16, **evaluation: Any
) -> tuple[dict[str, object], dict[str, NDArray[Any]]]:
    folder.mkdir(exist_ok=True)
    payload = {"kind": "predict", "size": size, "evaluation": EVALUATION | evaluation, "inputs": {}}
    summary = execute(from_payload(payload), {"network": network, "data": data}, folder, quiet, never)
    with np.load(folder / "decisions.npz", allow_pickle=False) as file:
        return summary, dict(file)


def test_the_artefact(tmp_path: Path, network: Path, data: Path) -> None:
    summary, arrays = run(tmp_path / "p", network, data)
    two = "distilled" in json.loads((network / "job.json").read_text())["payload"]["model"]["timm"]
    heads = ["class", "distillation", "softmax-sum", "logit-mean"] if two else ["class"]
    assert list(arrays) == ["labels", *heads]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int16)}
    assert arrays["labels"].shape == (TEST_IMAGES,)
    assert all(arrays[head].shape == (TEST_IMAGES, 5) for head in heads)
    assert np.array_equal(arrays["labels"], np.load(data / "test_labels.npy"))
    assert summary["images"] == TEST_IMAGES
    for head in heads:
        right = [int(row[0]) == int(label) for row, label in zip(arrays[head], arrays["labels"], strict=True)]
        assert summary["correct"][head] == sum(right)


def memory_of(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """Networks that run out of memory with more than so many images; the sizes they were given."""
    sizes = []
    heads = models.heads

    def forward(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(batch))
        if len(batch) > images:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return heads(network, batch)

    monkeypatch.setattr(models, "heads", forward)
    return sizes


def test_without_memory_for_the_batch_it_goes_on_with_parts(
    tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    summary, _ = run(tmp_path / "whole", network, data)
    sizes = memory_of(monkeypatch, 100)
    assert run(tmp_path / "parts", network, data)[0] == summary
    assert (tmp_path / "parts" / "decisions.npz").read_bytes() == (tmp_path / "whole" / "decisions.npz").read_bytes()
    assert sizes == [256, 128, 64, 64, 64, 64, 44]
    assert "going on with 64 images at a time (REPLICATE_MICRO_BATCH)" in caplog.text


def test_as_many_images_at_a_time_as_are_asked_for(
    tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = memory_of(monkeypatch, 1000)
    monkeypatch.setenv("REPLICATE_MICRO_BATCH", "100")
    run(tmp_path / "p", network, data)
    assert sizes == [100, 100, 56, 44]


@pytest.mark.parametrize(
    ("size", "device", "images"),
    [(16, "cpu", 256), (64, "cpu", 256), (224, "cpu", 20), (384, "cpu", 7), (2000, "cpu", 1), (384, "cuda", 256)],
)
def test_a_cpu_gets_as_many_pixels_at_a_time_as_its_memory_takes(size: int, device: str, images: int) -> None:
    assert MicroBatches.of_evaluation(256, size, torch.device(device)).images == images


def test_what_does_not_fit_in_any_parts_fails(
    tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = memory_of(monkeypatch, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(tmp_path / "p", network, data)
    assert sizes[-2:] == [2, 1]


def test_the_class_heads_decisions_are_those_of_its_logits(tmp_path: Path, network: Path, data: Path) -> None:
    _, arrays = run(tmp_path / "p", network, data)
    stored = json.loads((network / "job.json").read_text())["payload"]["model"]
    net = models.build(Network(**stored), 16, 10)
    models.load_weights(net, network / "model.safetensors")
    with torch.no_grad():
        logits = models.heads(net.eval(), images_of(data))["class"].numpy()
    assert len(set(logits.argmax(axis=1))) > 1
    # A batch of another size may round otherwise, so near ties may swap.
    sorted_logits = np.sort(logits, axis=1)[:, ::-1]
    clear = (sorted_logits[:, :5] - sorted_logits[:, 1:6]).min(axis=1) > 1e-4
    assert clear.sum() > TEST_IMAGES / 2
    assert np.array_equal(arrays["class"][clear], np.argsort(-logits, axis=1)[clear, :5])


def test_the_averaged_weights_are_read_where_asked(tmp_path: Path, network: Path, data: Path) -> None:
    _, last = run(tmp_path / "a", network, data)
    _, ema = run(tmp_path / "b", network, data, weights="ema")
    assert not np.array_equal(last["class"], ema["class"])


def test_another_size_than_the_trainings(tmp_path: Path, network: Path, data: Path) -> None:
    assert run(tmp_path / "p", network, data, size=32)[0]["images"] == TEST_IMAGES


def test_softmax_sum_and_logit_mean_can_differ() -> None:
    first = torch.tensor([[log(8), log(1), log(1)]])  # .8 .1 .1
    second = torch.tensor([[log(1), log(49), log(50)]])  # .01 .49 .50
    scores = predict.fused({"class": first, "distillation": second})
    assert scores["softmax-sum"].tolist() == [pytest.approx([0.81, 0.59, 0.60], rel=1e-6)]
    assert scores["logit-mean"].tolist() == [pytest.approx([log(8) / 2, log(49) / 2, log(50) / 2], rel=1e-6)]
    decided = {head: predict.best(score)[0].tolist() for head, score in scores.items()}
    assert decided == {
        "class": [0, 1, 2], "distillation": [2, 1, 0], "softmax-sum": [0, 2, 1], "logit-mean": [2, 1, 0]
    }  # fmt: skip


def test_of_equal_scores_the_lowest_class_comes_first() -> None:
    many = torch.zeros(2, 1000)
    many[1, [7, 3, 900]] = 1.0
    assert predict.best(many).tolist() == [[0, 1, 2, 3, 4], [3, 7, 900, 0, 1]]


def test_the_same_bytes_at_any_time(tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "a", network, data)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 2e9)
        patch.setattr(time, "localtime", lambda *seconds: time.gmtime(2e9))
        run(tmp_path / "b", network, data)
    content = (tmp_path / "a" / "decisions.npz").read_bytes()
    assert content == (tmp_path / "b" / "decisions.npz").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_missing_image_is_an_error(
    tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*arguments: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in evaluation_batches(*arguments):
            yield images[1:], labels[1:]

    monkeypatch.setattr(predict, "evaluation_batches", short)
    with pytest.raises(JobError, match="decided 298 images of the 300 in the test split"):
        run(tmp_path / "p", network, data)
    assert not (tmp_path / "p" / "decisions.npz").exists()


def test_scores_that_are_not_finite_are_an_error(
    tmp_path: Path, network: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = models.heads
    monkeypatch.setattr(models, "heads", lambda *given: {h: x * float("nan") for h, x in real(*given).items()})
    with pytest.raises(JobError, match="head 'class' are not finite"):
        run(tmp_path / "p", network, data)


def test_a_network_of_other_classes_is_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "n").mkdir()
    network = trained(tmp_path / "n", False, data, classes=7)
    with pytest.raises(UserError, match=r"head\.weight: \(10, 16\) expected, got \(7, 16\)"):
        run(tmp_path / "p", network, data)


def test_a_data_jobs_summary_tells_data_sets_apart(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(execute(from_payload({"kind": "data", "data": DIGITS | {"seed": seed}}), {}, folder, quiet, never))
    assert {key: found[0][key] for key in ("train", "test", "classes")} == {
        "train": 40, "test": TEST_IMAGES, "classes": 10
    }  # fmt: skip
    assert found[0] == found[1]
    assert found[0]["fingerprint"] != found[2]["fingerprint"]


def test_an_unknown_kind_of_job(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        from_payload({"kind": "trian"})
