"""Training images a second of one core: this project's stream beside timm's, on real photographs.

    OMP_NUM_THREADS=1 python benchmarks/input.py [TURNS] [--folder IMAGES] [--smallest]

timm's is the pipeline of the released code: Pillow decodes every copy of an image, `create_transform` augments it and
`Mixup` mixes the batch. Both read the same files in the same order with the paper's recipe of DeiT-B at 224, three
copies of an image, one batch each by turns in one process, so that a busy machine slows both alike: median images a
second of processor time, and the median ratio to timm's of the same turn with its quartiles. The photographs are the
two that scikit-learn ships, cut elsewhere for every file to ImageNet's usual size; --folder names a folder of class
folders instead.

Where a GPU trains, the processor decodes, crops and resizes, and draws the noise of random erasing; the rest is the
GPU's (`TrainBatches.crops`). That part is measured in one process, and with 1 and 2 processes that decode for it, whose
processor time counts with its own.

The last rows count how often an image is decoded for each of its copies, over an epoch's first batches of 1,024.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import Mixup, auto_augment, create_transform
from torch import Tensor, distributed

from replicate.engine.batches import TrainBatches, epoch_order
from replicate.engine.data import DataSet
from replicate.engine.ranks import Ranks
from replicate.engine.shared_crops import join
from replicate.engine.sources.imagefolder import SUFFIXES, decode
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.specs.recipe import Recipe
from replicate.specs.sources.imagefolder import FolderData
from replicate.text import plural

SIZE = 224
TURNS = 20
BATCH = 192
PHOTOGRAPH = 375, 500
"""Height and width [pixels] that most files of ImageNet have."""
JPEG_QUALITY = 92
NETWORKS = {"B": "deit-b-224/none", "S": "deit-s-224/none"}
PROCESSES = (1, 4, 8)
WARM = 2
"""Turns that are not counted: they read the files and build tables, and processes get ahead."""
FOR_GPU = "the processor's part for a GPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=TURNS)
    parser.add_argument("--folder", type=Path, help="one folder a class, as ImageNet's train")
    parser.add_argument("--smallest", action="store_true", help="one turn of few images, one count of decodings")
    call = parser.parse_args()
    print("| what | images/s of a core | beside timm's | half of the turns |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = call.folder or photographs(Path(made), 64 if call.smallest else 256)
        for words in measured(folder, 1 if call.smallest else call.turns, 64 if call.smallest else BATCH):
            print(f"| {' | '.join(words)} |", flush=True)
    for network, run in NETWORKS.items():
        for processes in PROCESSES[:1] if call.smallest else PROCESSES:
            share = f"{decodings(paper_recipe(run), processes):.2f}"
            print(f"| decodings a copy, {network}, {processes} process(es) | {share} | | |", flush=True)


def quick(smallest: bool) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as made:
        folder = photographs(Path(made), 64 if smallest else 256)
        rows = measured(folder, 1 if smallest else TURNS // 4, 64 if smallest else BATCH)
        return {f"{what}, beside timm's": ratio for what, _, ratio, _ in rows}


def paper_recipe(run: str) -> Recipe:
    specs = load(Path(__file__).resolve().parents[1] / "tables", "paper")
    return plan_tables(specs, ["distillation_ablation"], (0,)).expander.recipe(run)


def photographs(folder: Path, count: int) -> Path:
    """``count`` cuts of two photographs, in one folder a photograph."""
    places = np.random.default_rng(0)
    for number, photograph in enumerate(load_sample_images().images):
        (folder / str(number)).mkdir()
        for index in range(number, count, 2):
            (top, left), (height, width) = places.integers(np.subtract(photograph.shape[:2], PHOTOGRAPH)), PHOTOGRAPH
            cut = Image.fromarray(photograph[top : top + height, left : left + width])
            cut.save(folder / str(number) / f"{index}.JPEG", quality=JPEG_QUALITY)
    return folder


class Photographs:
    """A split of the images below ``folder``."""

    mean: tuple[float, ...] = FolderData.mean
    std: tuple[float, ...] = FolderData.std

    def __init__(self, folder: Path) -> None:
        self.files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
        names = sorted({path.parent.name for path in self.files})
        self.classes = len(names)
        self.labels = np.array([names.index(path.parent.name) for path in self.files], np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Tensor:
        return decode(self.files[index])


class Counted:
    """A split of blank images, which counts how many were asked for."""

    mean: tuple[float, ...] = FolderData.mean
    std: tuple[float, ...] = FolderData.std

    def __init__(self, count: int) -> None:
        self.labels = np.zeros(count, np.int64)
        self.decoded = 0

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Tensor:
        self.decoded += 1
        return torch.zeros(3, 8, 8, dtype=torch.uint8)


def decodings(recipe: Recipe, processes: int) -> float:
    """Images that all processes of one machine together decode for a global batch, per image of it."""
    context: Any = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        counts = context.SimpleQueue()
        started = [
            context.Process(target=_count, args=(recipe, rank, processes, f"file://{folder}/store", counts))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        return sum(counts.get() for _ in started) / recipe.batch


def _count(recipe: Recipe, rank: int, processes: int, store: str, counts: Any) -> None:
    split = Counted(4 * recipe.batch)
    data = DataSet(split, split, 2, split.mean, split.std)
    distributed.init_process_group("gloo", store, world_size=processes, rank=rank)
    shared = join(Ranks(rank, processes), torch.device("cpu"), (recipe.batch, 3, 8, 8))
    TrainBatches(data, recipe, 8, 0, rank, processes, shared=shared).crops(0, 0)
    counts.put(split.decoded)


class ReleasedInput:
    """What the released code makes of a batch (its datasets.py and main.py, at timm's defaults)."""

    def __init__(self, split: Photographs, recipe: Recipe) -> None:
        self.split = split
        # Pillow 13 refuses 0 bits, which timm asks for; the Pillow of the paper's time made a black image.
        posterize = auto_augment.NAME_TO_OP["PosterizeIncreasing"]
        auto_augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **words: (
            posterize(image, bits, **words) if bits else Image.new("RGB", image.size)
        )
        self.transform = create_transform(
            SIZE,
            is_training=True,
            color_jitter=0.3,
            auto_augment=recipe.auto_augment,
            interpolation="bicubic",
            re_prob=recipe.erase,
            re_mode="pixel",
        )
        self.mixup = Mixup(
            mixup_alpha=recipe.mixup,
            cutmix_alpha=recipe.cutmix,
            prob=recipe.mix_prob,
            switch_prob=recipe.mix_switch,
            label_smoothing=recipe.label_smoothing,
            num_classes=split.classes,
        )

    def batch(self, chosen: list[int]) -> tuple[Tensor, Tensor]:
        images = []
        for index in chosen:
            with Image.open(self.split.files[index]) as image:
                images.append(self.transform(image.convert("RGB")))
        return self.mixup(torch.stack(images), torch.from_numpy(self.split.labels[chosen]))


def _decoded(data: DataSet, recipe: Recipe, count: int) -> TrainBatches:
    shared = join(Ranks(), torch.device("cpu"), (recipe.batch, 3, SIZE, SIZE), decoders=True)
    return TrainBatches(data, recipe, SIZE, 0, shared=shared, decoders=count)


def _seconds(stream: TrainBatches | None) -> float:
    """Processor time that the processes of ``stream`` which decode have used."""
    processes = stream.decoders.processes if stream and stream.decoders else ()
    return sum(int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) for process in processes) / 1e9


def measured(folder: Path, turns: int, batch: int) -> Iterator[list[str]]:
    """Rows of the table: what, images a second, the ratio to timm's, and its quartiles."""
    torch.set_num_threads(1)
    split = Photographs(folder)
    recipe = paper_recipe(NETWORKS["B"]).model_copy(update={"batch": batch})
    data = DataSet(split, split, split.classes, split.mean, split.std)
    ours, released = TrainBatches(data, recipe, SIZE, 0), ReleasedInput(split, recipe)
    ways: dict[str, Callable[[int, list[int]], object]] = {
        "timm's pipeline": lambda turn, chosen: released.batch(chosen),
        "this project's stream": lambda turn, chosen: ours.batch(turn, 0),
        FOR_GPU: lambda turn, chosen: ours.crops(turn, 0),
    }
    streams = {
        f"{FOR_GPU}, {plural(count, 'process', 'processes')} decode": _decoded(data, recipe, count) for count in (1, 2)
    }
    for way, stream in streams.items():
        ways[way] = lambda turn, chosen, stream=stream: stream.crops(turn, 0)
    ways["decoding every copy, nothing else"] = lambda turn, chosen: list(map(split.image, chosen))
    taken: dict[str, list[float]] = {way: [] for way in ways}
    used = dict.fromkeys(ways, 0.0)
    for turn in range(WARM + turns):
        chosen = epoch_order(len(split), recipe.repeats, 0, turn)[:batch].tolist()
        for way, make in ways.items():
            begun = time.process_time()
            make(turn, chosen)
            # Processes that decode are ahead: since the last turn they made as much as one batch.
            before, used[way] = used[way], _seconds(streams.get(way))
            taken[way].append(time.process_time() - begun + used[way] - before)
    for stream in streams.values():
        stream.close()
    base = taken["timm's pipeline"]
    for way, times in taken.items():
        ratios = [theirs / own for theirs, own in zip(base, times, strict=True)][WARM:]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        yield [way, f"{batch / median(times[WARM:]):.0f}", f"{median(ratios):.2f}", f"{low:.2f} to {high:.2f}"]


if __name__ == "__main__":
    main()
