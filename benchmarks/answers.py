"""What a step of a distilled training costs when its teacher's answers are stored, beside a live teacher and none.

    OMP_NUM_THREADS=1 python benchmarks/answers.py [TURNS] [--smallest]

DeiT-Ti and DeiT-S at 224 pixels as the paper has them (recipe, token, RegNetY-16GF with random weights, generated
images), but with batches of 8 images. Of each network a step without distillation, one with stored answers, and one
that asks the teacher take turns in one process, so that a busy machine slows all alike: median processor seconds of a
whole step, stream of images included, and the ratio to the undistilled step of its turn.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import torch

from replicate.engine import answers, models
from replicate.engine.checkpoint import weights_bytes
from replicate.engine.data import make_data
from replicate.engine.train import Training
from replicate.jobs.job import Job, from_payload, to_json
from replicate.jobs.network import WEIGHTS
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

BATCH, STEPS, TURNS = 8, 8, 12
CLASSES = 10
WAYS = ("none", "stored", "live")
SAID = {"none": "without distillation", "stored": "stored answers", "live": "live teacher"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=TURNS)
    parser.add_argument("--smallest", action="store_true", help="one turn of Ti at mini scale")
    call = parser.parse_args()
    print("| network | teacher | s a step | ratio | half of the turns |\n|---|---|---|---|---|")
    rows = measured("mini", ["deit-ti"], 1) if call.smallest else measured("paper", ["deit-ti", "deit-s"], call.turns)
    for words in rows:
        print(f"| {' | '.join(words)} |", flush=True)


def quick(smallest: bool) -> dict[str, str]:
    rows = measured("mini", ["deit-ti"], 1) if smallest else measured("paper", ["deit-ti"], 3)
    return {f"{name}, {way}, a step beside one without distillation": ratio for name, way, _, ratio, _ in rows[1:]}


def measured(scale: str, names: list[str], turns: int) -> list[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    rows = []
    for name in names:
        # A training says where its answers come from.
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            trainings = prepared(scale, name, Path(folder))
            seconds = [{way: step(trainings[way], turn) for way in WAYS} for turn in range(turns + 1)][1:]
        for way in WAYS:
            ratios = sorted(turn[way] / turn["none"] for turn in seconds)
            low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            each = f"{median(turn[way] for turn in seconds):.3f}"
            rows.append([name, SAID[way], each, f"{median(ratios):.3f}", f"{low:.3f} to {high:.3f}"])
    return rows


def step(training: Training, turn: int) -> float:
    """Processor seconds of a step."""
    begun = time.process_time()
    training.step(0, turn % training.steps)
    return time.process_time() - begun


def prepared(scale: str, name: str, root: Path) -> dict[str, Training]:
    """The trainings of network ``name``, with all that they read in ``root``."""
    specs = load(Path(__file__).resolve().parents[1] / "tables", scale)
    plan = plan_tables(specs, ["distillation_ablation"], (0,))
    jobs = {method: plan.expander.network(f"{name}-224/{method}", 0) for method in ("none", "token")}
    student, alone = jobs["token"], jobs["none"]
    assert isinstance(student, Train)
    assert isinstance(alone, Train)
    count = BATCH * STEPS
    entry = {"source": "shapes", "version": 2, "classes": CLASSES, "size": student.size, "train": count, "test": 8}
    data = from_payload({"kind": "data", "data": entry | {"seed": 0, "label_noise": 0.0}}, "data")
    make_data(data, folder(root, data))
    teacher = plan.graph.jobs[student.inputs["teacher"]]
    assert isinstance(teacher, Train)
    teacher = replace(teacher, inputs={"data": "data"})
    network = models.build(teacher.model, teacher.size, CLASSES)
    (folder(root, teacher) / WEIGHTS["last"]).write_bytes(weights_bytes(network.state_dict()))
    change = {"batch": BATCH, "mix_batch": BATCH, "precision": "fp32", "epochs": 1, "warmup_epochs": 0}
    recipe = student.recipe.model_copy(update=change)
    alone = replace(alone, recipe=recipe, inputs={"data": "data"})
    student = replace(student, recipe=recipe, inputs={"data": "data", "teacher": teacher.key})
    inputs = {role: root / key for role, key in student.inputs.items()}
    ((role, block),) = student.aids().items()
    answers.run(block, inputs, folder(root, block), lambda fields: None, lambda: False)
    return {
        "none": Training(alone, {"data": inputs["data"]}),
        "stored": Training(student, inputs | {role: root / block.key}),
        "live": Training(student, inputs),
    }


def folder(root: Path, job: Job) -> Path:
    made = root / job.key
    made.mkdir()
    (made / "job.json").write_text(json.dumps(to_json(job)))
    return made


if __name__ == "__main__":
    main()
