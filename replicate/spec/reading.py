"""What the cell of a row and a column reads: the row's entry, else the column's, else the table's."""

from __future__ import annotations

from dataclasses import dataclass

from replicate.spec.recipe import Recipe
from replicate.spec.run import RunsFile, RunSpec
from replicate.spec.table import ColumnSpec, Head, Metric, Reading, ReferenceSpec, RowSpec, TableHead

TOKEN_HEADS: tuple[Head, ...] = ("class", "distillation", "softmax-sum", "logit-mean")
ACCURACIES: tuple[Metric, ...] = ("top1", "top5", "real", "disagreement", "similarity")
"""Metrics of a trained network; the others need no training."""

FIELDS: dict[Metric, tuple[str, ...]] = {
    "architecture": ("parameters", "embed_dim", "heads", "layers", "size"),
    "similarity": ("input", "input_with_position", "last"),
    "data": ("train", "test", "classes"),
    "recipe": (*sorted(Recipe.model_fields), "lr_decay"),
}
"""Values of ``field`` by metric; a similarity can also name a layer, counted from 1."""


@dataclass(frozen=True, slots=True)
class Read:
    """Everything that says what one number is. ``against`` is the other network of a disagreement."""

    metric: Metric
    run: str | None
    head: Head
    on: str | None = None
    field: str | None = None
    against: tuple[str, Head] | None = None


def read_of(table: TableHead, row: RowSpec | ReferenceSpec, column: ColumnSpec | None = None) -> Read | None:
    """None where neither names what is to be read: the cell is a dash, or printed in the paper only."""
    # No loop over the three: this is asked for each of 100,000 cells.
    under: Reading = table if column is None else column
    metric = row.metric or under.metric or table.metric
    if metric is None:
        return None
    field = row.field or under.field or table.field
    on = row.on or under.on or table.on
    if metric == "disagreement":
        if column is None or row.run is None or column.run is None:
            return None
        return Read(metric, row.run, row.head or "class", on, field, (column.run, column.head or "class"))
    run = (row.runs.get(column.key) if isinstance(row, RowSpec) and column else None) or (
        _run(row.run, column.run if column else None) or table.run
    )
    if isinstance(row, RowSpec) and row.not_run and metric in ACCURACIES:
        return None
    if run is None and metric != "data":
        return None
    return Read(metric, run, row.head or under.head or table.head or "class", on, field)


def _run(row: str | None, column: str | None) -> str | None:
    if row is None:
        return None if column is None or "{row}" in column else column
    if column is not None and "{row}" in column:
        return column.replace("{row}", row)
    if "{column}" not in row:
        return row
    return None if column is None else row.replace("{column}", column)


def heads_of(run: RunSpec, runs: RunsFile) -> tuple[Head, ...]:
    """The heads that a network can be read at."""
    how = runs.distillation.get(run.distillation) if run.distillation else None
    return TOKEN_HEADS if how is not None and how.token else ("class",)
