"""Every number of the paper in every spec, against the transcription in tests/fixtures/deit_tables.yaml.

Which cell is which entry there is written down by hand, so that a slip in a spec cannot hide in a clever rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import ROOT

from replicate.specs.load import Specs, load
from replicate.specs.table import TableSpec, Written
from replicate.text import Printed

PAPER: Mapping[str, Any] = yaml.safe_load((ROOT / "tests" / "fixtures" / "deit_tables.yaml").read_text())

Cells = dict[tuple[str, str], Written]

DECISIONS = {
    "truth": "groundtruth",
    "convnet": "convnet_RegNetY",
    "deit": "DeiT",
    "class": "⚗_class",
    "distillation": "⚗_distil",
    "joint": "⚗_class+distil",
}
"""Rows and columns of Table 4."""

PLAIN: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, str]]] = {
    # table: (entry, row key -> row there, column key -> column there)
    "model_variants": (
        "T1",
        {"deit_ti": "DeiT-Ti", "deit_s": "DeiT-S", "deit_b": "DeiT-B"},
        {
            "embed_dim": "embedding_dim",
            "heads": "heads",
            "layers": "layers",
            "params": "params",
            "resolution": "training_resolution",
            "throughput": "throughput_im_s",
        },
    ),
    "teacher_comparison": (
        "T2",
        {
            "deit_b": "DeiT-B",
            "regnety_4gf": "RegNetY-4GF",
            "regnety_8gf": "RegNetY-8GF",
            "regnety_12gf": "RegNetY-12GF",
            "regnety_16gf": "RegNetY-16GF",
        },
        {"teacher": "teacher_acc", "student_224": "student_pretrain_224", "student_384": "student_ft_384"},
    ),
    "distillation_ablation": (
        "T3",
        {
            "none": "no_distillation",
            "soft": "usual_soft_distillation",
            "hard": "hard_distillation",
            "token_class": "⚗_class_embedding",
            "token_dist": "⚗_distil_embedding",
            "token_both": "⚗_class+distillation",
        },
        {"ti_224": "Ti_224", "s_224": "S_224", "b_224": "B_224", "b_384": "B_384"},
    ),
    "decision_agreement": (
        "T4",
        DECISIONS,
        DECISIONS,
    ),
    "efficiency": (
        "T5",
        {
            "resnet_18": "ResNet-18",
            "resnet_50": "ResNet-50",
            "resnet_101": "ResNet-101",
            "resnet_152": "ResNet-152",
            "regnety_4gf": "RegNetY-4GF*",
            "regnety_8gf": "RegNetY-8GF*",
            "regnety_16gf": "RegNetY-16GF*",
            "efficientnet_b0": "EfficientNet-B0",
            "efficientnet_b1": "EfficientNet-B1",
            "efficientnet_b2": "EfficientNet-B2",
            "efficientnet_b3": "EfficientNet-B3",
            "efficientnet_b4": "EfficientNet-B4",
            "efficientnet_b5": "EfficientNet-B5",
            "efficientnet_b6": "EfficientNet-B6",
            "efficientnet_b7": "EfficientNet-B7",
            "efficientnet_b5_ra": "EfficientNet-B5 RA",
            "efficientnet_b7_ra": "EfficientNet-B7 RA",
            "kdforaa_b8": "KDforAA-B8",
            "vit_b16": "ViT-B/16",
            "vit_l16": "ViT-L/16",
            "deit_ti": "DeiT-Ti",
            "deit_s": "DeiT-S",
            "deit_b": "DeiT-B",
            "deit_b_384": "DeiT-B_384",
            "deit_ti_dist": "DeiT-Ti_⚗",
            "deit_s_dist": "DeiT-S_⚗",
            "deit_b_dist": "DeiT-B_⚗",
            "deit_ti_dist_1000": "DeiT-Ti_⚗_1000ep",
            "deit_s_dist_1000": "DeiT-S_⚗_1000ep",
            "deit_b_dist_1000": "DeiT-B_⚗_1000ep",
            "deit_b_dist_384": "DeiT-B_⚗_384",
            "deit_b_dist_384_1000": "DeiT-B_⚗_384_1000ep",
        },
        {"params": "params", "throughput": "im_s", "top1": "imagenet", "real": "real", "v2": "v2_mf"},
    ),
    "datasets": (
        "T6",
        {
            "imagenet": "ImageNet",
            "inat18": "iNaturalist 2018",
            "inat19": "iNaturalist 2019",
            "flowers": "Flowers-102",
            "cars": "Stanford Cars",
            "cifar100": "CIFAR-100",
            "cifar10": "CIFAR-10",
        },
        {"train": "train", "test": "test", "classes": "classes"},
    ),
    "transfer": (
        "T7",
        {
            "grafit_resnet_50": "Grafit ResNet-50",
            "grafit_regnety_8gf": "Grafit RegNetY-8GF",
            "resnet_152": "ResNet-152 (Chu et al.)",
            "efficientnet_b7": "EfficientNet-B7",
            "vit_b32": "ViT-B/32",
            "vit_b16": "ViT-B/16",
            "vit_l32": "ViT-L/32",
            "vit_l16": "ViT-L/16",
            "deit_b": "DeiT-B",
            "deit_b_384": "DeiT-B_384",
            "deit_b_dist": "DeiT-B_⚗",
            "deit_b_dist_384": "DeiT-B_⚗_384",
        },
        {
            "imagenet": "imagenet",
            "cifar10": "cifar10",
            "cifar100": "cifar100",
            "flowers": "flowers",
            "cars": "cars",
            "inat18": "inat18",
            "inat19": "inat19",
            "throughput": "im_s",
        },
    ),
    "augmentation_ablation": (
        "T8",
        {
            "none": "none: DeiT-B",
            "sgd": "pretrain SGD",
            "sgd_finetuning": "finetune SGD",
            "no_randaugment": "no RandAugment",
            "autoaugment": "AutoAugment instead of RandAugment",
            "no_mixup": "no Mixup",
            "no_cutmix": "no CutMix",
            "no_mixing": "no Mixup, no CutMix",
            "no_erasing": "no random erasing",
            "no_stoch_depth": "no stochastic depth",
            "no_repeated_aug": "no repeated augmentation",
            "dropout": "with dropout",
            "ema": "with EMA",
        },
        {"acc_224": "acc_224", "acc_384": "acc_384"},
    ),
    "ingredients": (
        "T9",
        {
            "epochs": "Epochs",
            "batch": "Batch size",
            "optimizer": "Optimizer",
            "lr": "Learning rate",
            "lr_decay": "Learning rate decay",
            "weight_decay": "Weight decay",
            "warmup": "Warmup epochs",
            "label_smoothing": "Label smoothing eps",
            "dropout": "Dropout",
            "stoch_depth": "Stoch. depth",
            "repeated_aug": "Repeated aug",
            "gradient_clip": "Gradient clip",
            "rand_augment": "Rand Augment",
            "mixup": "Mixup prob.",
            "cutmix": "Cutmix prob.",
            "erasing": "Erasing prob.",
        },
        {"vit_b": "ViT-B", "deit_b": "DeiT-B"},
    ),
    "resolution": (
        "T10",
        {"at_160": 160, "at_224": 224, "at_320": 320, "at_384": 384},  # type: ignore[dict-item]
        {"throughput": "im_s", "top1": "imagenet", "real": "real", "v2": "v2_mf"},
    ),
}

TOKENS = PAPER["text_claims"]["tokens"]
SCRATCH = PAPER["T7b_cifar10_from_scratch"]["rows"]

SINGLE: Mapping[str, Cells] = {
    "scratch_cifar10": {
        ("regnety_16gf", "cifar10"): SCRATCH["RegNetY-16GF"],
        ("deit_b", "cifar10"): SCRATCH["DeiT-B"],
        ("deit_b_dist", "cifar10"): SCRATCH["DeiT-B_⚗"],
    },
    "token_similarity": {
        ("distillation", "input"): TOKENS["cos_class_vs_distil_tokens_input"]["value"],
        ("distillation", "output"): TOKENS["cos_class_vs_distil_last_layer"]["value"],
        ("distillation", "top1"): PAPER["T3"]["rows"]["⚗_class+distillation"]["B_224"],
        ("two_class", "input"): TOKENS["cos_two_class_tokens"],
    },
}

FIGURE3 = PAPER["Fig3"]["rows"]

REFERENCES: Mapping[str, Mapping[str, float]] = {
    "distillation_ablation": {"teacher": PAPER["T2"]["rows"]["RegNetY-16GF"]["teacher_acc"]},
    "efficiency": {
        "none_400": PAPER["Fig3"]["no_distillation_dotted_line"]["value"],
        "soft_300": FIGURE3[300]["soft"]["value"],
        "soft_1000": FIGURE3[1000]["soft"]["value"],
        "hard_300": FIGURE3[300]["hard"]["value"],
        "hard_1000": FIGURE3[1000]["hard"]["value"],
        "vit_b_jft": PAPER["text_claims"]["headline"]["vit_b_jft_384"],
    },
    "scratch_cifar10": {"pretrained": PAPER["T7"]["rows"]["DeiT-B"]["cifar10"]},
    "token_similarity": {
        "one_class": PAPER["T3"]["rows"]["no_distillation"]["B_224"],
        "vanilla": PAPER["T3"]["rows"]["usual_soft_distillation"]["B_224"],
    },
}

STARRED = {("augmentation_ablation", "no_erasing"), ("augmentation_ablation", "no_stoch_depth")}

MARKS = {True: "✓", False: "✗"}


@pytest.fixture(scope="module")
def specs() -> Specs:
    return load(ROOT / "tables", "paper")


def transcribed(value: Any) -> Any:
    """An entry is a plain value, or a value with remarks."""
    return value["value"] if isinstance(value, dict) else value


def expected(table: str) -> Cells:
    if table in SINGLE:
        return dict(SINGLE[table])
    entry, rows, columns = PLAIN[table]
    found = {}
    for row, there in rows.items():
        for column, name in columns.items():
            value = transcribed(PAPER[entry]["rows"][there][name])
            if value is not None:
                found[row, column] = value
    return found


def given(spec: TableSpec) -> Cells:
    return {(row.key, column): value for row in spec.rows for column, value in row.paper.items()}


@pytest.mark.parametrize("table", [*PLAIN, *SINGLE])
def test_every_printed_number_is_the_papers(table: str, specs: Specs) -> None:
    spec = specs.table(table)
    ours, theirs = given(spec), expected(table)
    assert ours.keys() == theirs.keys()
    wrong = {}
    for place, value in theirs.items():
        if isinstance(value, bool):
            same = ours[place] == MARKS[value]
        elif isinstance(value, str):
            same = ours[place] == value.replace(" x ", " × ")
        else:
            same = Printed(ours[place]).number == float(value)
        if not same:
            wrong[place] = (ours[place], value)
    assert not wrong


@pytest.mark.parametrize("table", [*PLAIN])
def test_every_row_of_the_paper_is_there_in_its_order(table: str, specs: Specs) -> None:
    entry, rows, _ = PLAIN[table]
    assert [row.key for row in specs.table(table).rows] == list(rows)
    assert list(rows.values()) == list(PAPER[entry]["rows"])


def test_every_reference_with_a_number_is_the_papers(specs: Specs) -> None:
    found = {
        table: {
            reference.key: Printed(reference.paper).number
            for reference in spec.references
            if reference.paper is not None
        }
        for table, spec in specs.tables.items()
    }
    assert {table: values for table, values in found.items() if values} == REFERENCES


def test_stars_are_kept_and_explained(specs: Specs) -> None:
    starred = {
        (table, row.key)
        for table, spec in specs.tables.items()
        for row in spec.rows
        for value in row.paper.values()
        if str(value).endswith("*")
    }
    assert starred == STARRED
    notes = specs.table("augmentation_ablation").notes
    assert any(set(note.rows) == {row for _, row in STARRED} for note in notes)


def test_columns_of_table_3_are_the_papers(specs: Specs) -> None:
    _, _, columns = PLAIN["distillation_ablation"]
    assert list(columns.values()) == PAPER["T3"]["columns"]
    numbers = [column.key for column in specs.table("distillation_ablation").table.columns if not column.text]
    assert numbers == list(columns)


def test_supervision_in_table_3_is_the_papers(specs: Specs) -> None:
    _, rows, _ = PLAIN["distillation_ablation"]
    for row in specs.table("distillation_ablation").rows:
        there = PAPER["T3"]["rows"][rows[row.key]]
        label = MARKS[bool(transcribed(there["label_column_printed"]))]
        assert row.text == {"label": label, "teacher": there["teacher_column"] or "✗"}


def test_ticks_of_the_ablation_are_the_papers(specs: Specs) -> None:
    _, rows, _ = PLAIN["augmentation_ablation"]
    names = {"pretraining": "pretrain_optimizer", "finetuning": "finetune_optimizer"}
    for row in specs.table("augmentation_ablation").rows:
        there = PAPER["T8"]["rows"][rows[row.key]]
        for column, text in row.text.items():
            value = there[names.get(column, column)]
            assert text == (MARKS[value] if isinstance(value, bool) else value), (row.key, column)


def test_image_sizes_of_table_5_are_the_papers(specs: Specs) -> None:
    _, rows, _ = PLAIN["efficiency"]
    for row in specs.table("efficiency").rows:
        size = PAPER["T5"]["rows"][rows[row.key]]["image_size"]
        assert row.text == {"size": f"{size}²"}
        assert row.run is not None
        assert specs.runs.runs[row.run].resolution == size


def test_against_the_truth_table_4_is_table_3() -> None:
    truth, rows = PAPER["T4"]["rows"]["groundtruth"], PAPER["T3"]["rows"]
    pairs = {
        "DeiT": "no_distillation",
        "⚗_class": "⚗_class_embedding",
        "⚗_distil": "⚗_distil_embedding",
        "⚗_class+distil": "⚗_class+distillation",
    }
    for here, there in pairs.items():
        assert round(1 - truth[here], 3) == round(rows[there]["B_224"] / 100, 3)


NOTED: Mapping[str, tuple[str, str]] = {
    "C1": ("teacher_comparison", "The ICML version prints 83.0 and 83.9, 83.0 and 84.0"),
    "C3": ("distillation_ablation", "the loss uses the label"),
    "C4": ("efficiency", "the released code averages the logits"),
    "C5": ("efficiency", "Table 7 prints 84.4 and 85.9 images/s for the same network"),
    "C6": ("resolution", "Table 5 prints 292.3 images/s"),
    "C7": ("efficiency", "the released weights reach 79.854"),
    "C8": ("efficiency", "the released weights reach 82.890"),
    "C9": ("efficiency", "Plotted at 81.9 in Figure 1"),
    "C10": ("efficiency", "almost surely a slip"),
    "C11": ("datasets", "usually counted as 265,213 and 3,030"),
    "C12": ("ingredients", "the α of the Beta distribution"),
    "C13": ("scratch_cifar10", "in an issue the authors say 1000"),
    "C15": ("resolution", "30 epochs in the README of the release, 25 in the paper"),
    "C16": ("resolution", "AdamW"),
    "C17": ("ingredients", "the distillation token has it"),
    "C18": ("transfer", "another answer of the authors gives AdamW for CIFAR-10"),
    "C19": ("transfer", "rate 7.5e-5 after scaling"),
    "C20": ("efficiency", "The first version of the paper printed 0.22 to 0.63"),
    "C21": ("distillation_ablation", "divided by the number of classes too"),
}
"""Where the versions of the paper, its release and its authors disagree -> the note of a table that says so."""


def test_every_conflict_about_a_table_is_noted(specs: Specs) -> None:
    """C2 (tau) and C14 (the size of ViT-H) are about numbers that no cell prints."""
    assert {conflict["id"] for conflict in PAPER["conflicts"]} - {"C2", "C14"} == set(NOTED)
    for number, (table, words) in NOTED.items():
        texts = [note for note in specs.table(table).notes if words in note.text]
        assert texts, f"{number}: {words}"
        assert all(note.see for note in texts), number


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        (81.8, 81.8),
        ("86M", 86e6),
        ("4.3*", 4.3),
        ("0.06", 0.06),
        ("78.9†", 78.9),
        ("78.9 ‡", 78.9),
        ("79.9 ± 0.1", 79.9),
        ("79.9±0.1*", 79.9),
        ("5k†", 5e3),
        ("79.9 ±", None),
        ("78.9?", None),
        ("−1.5", -1.5),
        ("+0.3", 0.3),
        ("5k", 5e3),
        ("nan", None),
        ("", None),
        ("9/0.5", None),
        ("✗", None),
    ],
)
def test_the_number_that_was_printed(printed: Written, number: float | None) -> None:
    assert Printed(printed).number == number


def test_the_transcription_is_whole() -> None:
    """A table of the paper that no spec maps would go unnoticed."""
    there = {name for name in PAPER if name.startswith("T") and name != "T7b_cifar10_from_scratch"}
    assert there == {entry for entry, _, _ in PLAIN.values()}
    assert Path(ROOT, "tests", "fixtures", "deit_tables.yaml").is_file()
