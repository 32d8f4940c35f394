"""Tables to render: Table 3 as the paper has it, the same at the mini scale, and one of every state."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from replicate.judge.table import Cell, Claim, Column, Comparison, Note, Row, SeedValue, Table, Verdict
from replicate.specs.cell import CellRef
from replicate.text import Printed

COLUMNS = (
    Column("label", "label", "supervision", text=True),
    Column("teacher", "teacher", "supervision", text=True),
    Column("ti_224", "Ti 224", "ImageNet top-1 (%)"),
    Column("s_224", "S 224", "ImageNet top-1 (%)"),
    Column("b_224", "B 224", "ImageNet top-1 (%)"),
    Column("b_384", "B↑384", "ImageNet top-1 (%)"),
)
NUMBERS = ("ti_224", "s_224", "b_224", "b_384")
ROWS = (
    Row("none", "DeiT – no distillation"),
    Row("soft", "DeiT – usual distillation"),
    Row("hard", "DeiT – hard distillation"),
    Row("class", "DeiT⚗: class embedding", rule=True),
    Row("distil", "DeiT⚗: distil. embedding"),
    Row("both", "DeiT⚗: class+distillation"),
)
TEXTS = {
    "none": ("✓", "✗"),
    "soft": ("✗", "soft"),
    "hard": ("✗", "hard"),
    "class": ("✓", "hard"),
    "distil": ("✓", "hard"),
    "both": ("✓", "hard"),
}
PAPER = {
    "none": ("72.2", "79.8", "81.8", "83.1"),
    "soft": ("72.2", "79.8", "81.8", "83.2"),
    "hard": ("74.3", "80.9", "83.0", "84.0"),
    "class": ("73.9", "80.9", "83.0", "84.2"),
    "distil": ("74.6", "81.1", "83.1", "84.4"),
    "both": ("74.5", "81.2", "83.4", "84.5"),
}
OURS = {
    "none": ("72.2", "79.8", "81.9", "82.9"),
    "soft": ("72.4", "79.7", "81.8", "83.2"),
    "hard": ("74.1", "80.9", "82.6", "84.0"),
    "class": ("73.9", "80.8", "83.0", "84.2"),
    "distil": ("74.6", "81.2", "83.1", "84.4"),
    "both": ("74.5", "81.2", "83.4", "84.5"),
}
DIFFERENCES = {
    "none": ("0.0", "0.0", "+0.1", "−0.2"),
    "soft": ("+0.2", "−0.1", "0.0", "0.0"),
    "hard": ("−0.2", "0.0", "−0.4", "0.0"),
    "class": ("0.0", "−0.1", "0.0", "0.0"),
    "distil": ("0.0", "+0.1", "0.0", "0.0"),
    "both": ("0.0", "0.0", "0.0", "0.0"),
}
BOLD = {("distil", "ti_224"), ("distil", "s_224"), ("both", "s_224"), ("both", "b_224"), ("both", "b_384")}
PAPER_BOLD = {("distil", "ti_224"), ("both", "s_224"), ("both", "b_224"), ("both", "b_384")}
VERDICTS: dict[tuple[str, str], Verdict] = {
    ("none", "b_384"): "undecided",
    ("hard", "b_224"): "differs",
}


def at(row: str, column: str) -> CellRef:
    return CellRef("distillation_ablation", row, column)


def _text(row: str, column: str, shown: str) -> Cell:
    return Cell(at(row, column), "text", shown, origin="not run", verdict="not compared")


def _number(row: str, column: str, index: int) -> Cell:
    shown = OURS[row][index]
    correct = int(Fraction(shown) * 500)
    job = f"predict-{row}-{column}-0a1b2c3d"
    return Cell(
        at(row, column),
        "done",
        shown,
        bold=(row, column) in BOLD,
        value=Fraction(correct * 100, 50000),
        error=0.17,
        half=0.33,
        error_shown="0.3",
        error_of="seeds and test images",
        seeds=(SeedValue(0, Fraction(correct * 100, 50000), correct, 50000, (job,)),),
        paper=Printed(PAPER[row][index]),
        paper_bold=(row, column) in PAPER_BOLD,
        paper_source="arXiv:2012.12877v2, Table 3",
        difference_shown=DIFFERENCES[row][index],
        tolerance="0.3",
        origin="trained here",
        verdict=VERDICTS.get((row, column), "replicated"),
        reason="|difference| compared with the tolerance of 0.3",
        jobs=(job,),
    )


def _cells() -> dict[CellRef, Cell]:
    cells = {}
    for row in ROWS:
        for index, column in enumerate(("label", "teacher")):
            cells[at(row.key, column)] = _text(row.key, column, TEXTS[row.key][index])
        for index, column in enumerate(NUMBERS):
            cells[at(row.key, column)] = _number(row.key, column, index)
    return cells


CLAIMS = (
    Claim(
        text="hard distillation beats soft distillation, even without a distillation token",
        relation="above",
        within=0.0,
        see="Section 5.2",
        quote="Hard distillation significantly outperforms soft distillation for transformers",
        comparisons=(
            Comparison(at("hard", "ti_224"), at("soft", "ti_224"), 1.7, 0.15, 2.1, "holds"),
            Comparison(at("hard", "s_224"), at("soft", "s_224"), 1.2, 0.13, 1.1, "holds"),
        ),
        margin=1.45,
        error=0.1,
        margin_shown="+1.5",
        error_shown="0.2",
        half=0.2,
        p=1e-9,
        p_holm=2e-9,
        paper_margin_shown="+1.6",
        as_printed="holds",
        paper_verdict="holds",
        paper_note="",
        verdict="holds",
        reversed=False,
        reason="",
    ),
    Claim(
        text="the distillation embedding is slightly better than the class embedding",
        relation="above",
        within=0.0,
        see="Table 3, B 224",
        reading=True,
        comparisons=(Comparison(at("distil", "b_224"), at("class", "b_224"), 0.1, 0.1, 0.1, "undecided"),),
        margin=0.1,
        error=0.1,
        margin_shown="+0.1",
        error_shown="0.2",
        paper_margin_shown="+0.1",
        as_printed="holds",
        paper_verdict="holds",
        paper_note="",
        verdict="not decidable",
        reversed=False,
        reason="the margin is one standard error",
        half=0.2,
        p=0.16,
        p_holm=0.16,
        seeds_needed=8,
        needs="8 seeds",
    ),
)
NOTES = (
    Note(
        "a",
        "Printed without label supervision, but the loss uses the labels (Eq. 2 and 3).",
        "facebookresearch/deit#215",
        rows=("soft", "hard"),
    ),
    Note("b", "Fine-tuned from 224 to 384 pixels.", "", columns=("b_384",)),
)

TEACHER = Cell(
    at("@", "teacher"),
    "done",
    "82.9",
    value=Fraction(829, 10),
    paper=Printed("82.9"),
    origin="trained here",
    verdict="replicated",
)

TABLE3 = Table(
    id="distillation_ablation",
    number=3,
    caption="Distillation on ImageNet with DeiT, 300 epochs of pre-training.",
    metric="top1",
    unit="%",
    source="arXiv:2012.12877v2",
    scale="paper",
    banner="",
    corner="method ↓",
    columns=COLUMNS,
    rows=ROWS,
    cells=_cells() | {TEACHER.ref: TEACHER},
    references=(Row("teacher", "RegNetY-16GF, the teacher"),),
    seeds=(0,),
    claims=CLAIMS,
    notes=NOTES,
    spec="tables/distillation_ablation.toml",
    digest="9c1f7a52d0e4",
)
"""Table 3 at the paper's scale, all cells done."""

MINI_OURS = {
    "none": ("63.4", "72.9", "82.1", "82.9"),
    "soft": ("59.4", "76.1", "88.6", "87.9"),
    "hard": ("68.2", "78.2", "88.5", "88.9"),
    "class": ("60.6", "73.1", "80.2", "80.5"),
    "distil": ("63.5", "74.8", "81.8", "82.0"),
    "both": ("63.5", "75.0", "81.8", "81.8"),
}
MINI_BOLD = {("hard", "ti_224"), ("hard", "s_224"), ("soft", "b_224"), ("hard", "b_384")}


def _mini(cell: Cell) -> Cell:
    if cell.state == "text":
        return cell
    if cell.ref.is_reference:
        return replace(cell, shown="98.9", value=Fraction(1978, 20), verdict="not compared")
    shown = MINI_OURS[cell.row][NUMBERS.index(cell.column)]
    correct = int(Fraction(shown) * 20)
    seeds = tuple(
        SeedValue(seed, Fraction(correct + step, 20), correct + step, 2000, (f"predict-{cell.row}-{seed}",))
        for seed, step in ((0, -13), (1, 13))
    )
    return replace(
        cell,
        shown=shown,
        bold=(cell.row, cell.column) in MINI_BOLD,
        value=Fraction(correct * 100, 2000),
        error=1.04,
        half=2.04,
        error_shown="2.0",
        error_of="seeds and test images",
        spread=0.92,
        seeds=seeds,
        difference_shown="",
        tolerance="",
        verdict="not compared",
        reason="another experiment than the paper's",
        jobs=tuple(job for seed in seeds for job in seed.jobs),
    )


MINI = replace(
    TABLE3,
    scale="mini",
    banner="Mini scale: small networks on generated 32-pixel images. It shows that the pipeline works,"
    " and says nothing about ImageNet.",
    comparable=False,
    cells={key: _mini(cell) for key, cell in TABLE3.cells.items()},
    seeds=(0, 1),
    notes=(
        *NOTES,
        Note("c", "Unsteady.", cells=(at("hard", "ti_224"), at("soft", "b_384"))),
        Note("", "Made with changes that were not committed."),
    ),
    commits=("0123456789abcdef0123456789abcdef01234567",),
    uncommitted=True,
    claims=(
        replace(CLAIMS[0], margin_shown="+3.6", error_shown="1.6"),
        replace(
            CLAIMS[1],
            text="the distillation token beats hard distillation without it",
            margin_shown="−4.8",
            error_shown="1.2",
            paper_margin_shown="+0.2",
            verdict="fails",
            reversed=True,
            half=1.2,
            p=1.0,
            p_holm=1.0,
        ),
    ),
    digest="51be22c07f9d",
)
"""The same table at the mini scale: a banner, two seeds, nothing compared, notes at cells and about the whole."""


def _states() -> Table:
    cells = dict(TABLE3.cells)
    empty = {
        "value": None, "error": None, "error_shown": "", "seeds": (), "bold": False, "difference_shown": "",
        "origin": "not run", "verdict": "not run", "reason": "its jobs have not run",
    }  # fmt: skip
    for (row, column), state in {
        ("none", "b_384"): "pending",
        ("soft", "b_384"): "running",
        ("hard", "b_384"): "failed",
        ("both", "b_384"): "paper-only",
    }.items():
        cells[at(row, column)] = replace(cells[at(row, column)], state=state, shown="", **empty)
    released = cells[at("none", "b_224")]
    cells[at("none", "b_224")] = replace(released, origin="released weights")
    plain = ("none", "soft", "hard")
    rows = tuple(replace(row, group="no token" if row.key in plain else "token") for row in ROWS)
    return replace(TABLE3, cells=cells, rows=rows, digest="77aa00bb11cc")


STATES = _states()
"""Pending, running, failed and paper-only cells, mixed origins, row groups."""

HOSTILE_TEXT = r"\input{/etc/passwd} <script>alert(1)</script> a|b_c %d =cmd() ~^$&#{}" + "\"'`*[x](y)"

HOSTILE = replace(
    TABLE3,
    number=None,
    caption=HOSTILE_TEXT,
    banner="",
    corner=HOSTILE_TEXT,
    columns=tuple(replace(column, group=column.group and "g|" + HOSTILE_TEXT) for column in COLUMNS),
    rows=(replace(ROWS[0], label="=" + HOSTILE_TEXT), replace(ROWS[1], label="[5mm] *"), *ROWS[2:]),
    notes=(Note("a", HOSTILE_TEXT, HOSTILE_TEXT, rows=("none",)),),
    claims=(replace(CLAIMS[0], text=HOSTILE_TEXT),),
    spec="tables/x%\n\\input{y}.toml",
)
"""Text that each format would choke on or run if it were not escaped."""

SAMPLES = {"table3": TABLE3, "mini": MINI, "states": STATES, "hostile": HOSTILE}
