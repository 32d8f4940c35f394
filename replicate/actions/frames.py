"""Cells, claims and decisions as pandas frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from replicate.actions.paper import Paper, check_name
from replicate.errors import NotAvailable, UserError
from replicate.judge.finish import Finisher
from replicate.judge.table import Table
from replicate.judge.values import CellReader, DecisionReader
from replicate.specs.cell import CellRef

if TYPE_CHECKING:
    from pandas import DataFrame


def cells(paper: Paper, table_id: str | None = None) -> DataFrame:
    """A row for each number, references among them (their ``row`` is ``@``).

    ``value``, ``error`` (standard error) and ``paper_value`` are numbers; ``shown`` and ``paper`` what is printed.
    """
    rows: list[Mapping[str, object]] = []
    for table in _tables(paper, table_id):
        labels = {row.key: row.label for row in (*table.rows, *table.references)}
        headers = {column.key: column.header for column in table.columns}
        for ref, cell in table.cells.items():
            if cell.state != "text":
                rows.append(
                    {
                        "table": table.id,
                        "row": ref.row,
                        "column": ref.column,
                        "label": labels[ref.column if ref.is_reference else ref.row],
                        "header": headers.get(ref.column, ""),
                        "state": cell.state,
                        "shown": cell.shown,
                        "value": None if cell.value is None else float(cell.value),
                        "error": cell.error,
                        "spread": cell.spread,
                        "seeds": len(cell.seeds),
                        "paper": cell.paper.text if cell.paper else None,
                        "paper_value": cell.paper.number if cell.paper else None,
                        "difference": cell.difference_shown,
                        "verdict": cell.verdict,
                        "reason": cell.reason,
                        "origin": cell.origin,
                        "comparable": table.comparable,
                    }
                )
    return _frame(rows)


def claims(paper: Paper, table_id: str | None = None) -> DataFrame:
    """A row for each claim: its verdict here and on the paper's own numbers, and the margin behind it."""
    return _frame(
        [
            {
                "table": table.id,
                "text": claim.text,
                "quote": claim.quote,
                "reading": claim.reading,
                "see": claim.see,
                "relation": claim.relation,
                "verdict": claim.verdict,
                "reason": claim.reason,
                "margin": claim.margin,
                "error": claim.error,
                "half": claim.half,
                "paper_verdict": claim.paper_verdict,
                "paper_margin": claim.paper_margin_shown,
                "comparisons": len(claim.comparisons),
                "scope": claim.scope,
                "possible": claim.possible,
            }
            for table in _tables(paper, table_id)
            for claim in table.claims
        ]
    )


def decisions(paper: Paper, table_id: str, row: str, column: str) -> DataFrame:
    """A row for each seed and image: the true class, the class that was chosen, and whether the number counts it.

    Raises UserError where the number is no count over images, or where its jobs have not run.
    """
    specs = paper.specs()
    specs.table(table_id)
    plan, store = paper.plan([table_id], specs), paper.store()
    planned = {cell.ref: cell for cell in plan.cells[table_id]}
    check_name("row", row, list(dict.fromkeys(known.row for known in planned)))
    check_name("column", column, [known.column for known in planned if known.row == row])
    cell = planned[CellRef(table_id, row, column)]
    value = CellReader(plan, store).read(cell)
    if value is None:
        raise UserError(
            f"no decisions are stored for {table_id}, {row}, {column}\n"
            f"  run what is missing: {paper.call('table', '--id', table_id)}"
        )
    if value.hits is None or cell.read is None:
        raise UserError(f"{table_id}, {row}, {column} is no count over images\n  name a column of accuracies")
    reader = DecisionReader()
    rows: list[Mapping[str, object]] = []
    for seed, job in zip(value.hits, cell.jobs, strict=True):
        result = store.result(job.key)
        assert result is not None
        stored = reader.read(result)
        chosen = stored.choice(cell.read.head)
        for image, (label, choice, hit) in enumerate(zip(stored.labels, chosen, value.hits[seed], strict=True)):
            rows.append(
                {"seed": seed, "image": image, "label": int(label), "choice": int(choice), "counted": bool(hit)}
            )
    return _frame(rows)


def _tables(paper: Paper, table_id: str | None) -> list[Table]:
    specs = paper.specs()
    names = [table_id] if table_id is not None else specs.ordered
    for name in names:
        specs.table(name)
    finisher = Finisher(paper.plan(names, specs), paper.store())
    return [finisher.finish(name) for name in names]


def _frame(rows: list[Mapping[str, object]]) -> DataFrame:
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise NotAvailable(
            "cannot make frames: pandas is not installed\n  pip install 'deit-replicate[figures]'"
        ) from error
    return DataFrame(rows)
