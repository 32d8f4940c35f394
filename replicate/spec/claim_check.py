"""Faults of the claims of a table: sides that are not there, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator

from replicate.errors import Fault, suggestion
from replicate.spec.sides import CellRef, UnknownSide, pairs, relation
from replicate.spec.table import ClaimSpec, TableSpec, number_of


def check_claims(file: str, spec: TableSpec) -> Iterator[Fault]:
    """Names of a claim that lead nowhere, and ratios that cannot be taken."""
    for index, claim in enumerate(spec.claims):
        where = f"{file}: claims[{index}]"
        try:
            yield from _ratios(where, spec, claim)
        except UnknownSide as error:
            known = tuple(suggestion(error.name, error.known, plural=f"{error.what}s"))
            yield Fault(where, f"the table has no {error.what} '{error.name}'", known)
        except ValueError as error:
            yield Fault(where, str(error))


def _ratios(where: str, spec: TableSpec, claim: ClaimSpec) -> Iterator[Fault]:
    """Of a comparison by ratio, as of two rates, the right side is what is divided by."""
    printed: dict[CellRef, float | None] = {
        CellRef(row.key, column): number_of(value) for row in spec.rows for column, value in row.paper.items()
    } | {CellRef("@", reference.key): reference.paper for reference in spec.references}
    rates = {
        CellRef(row.key, column.key)
        for row in spec.rows
        for column in spec.table.columns
        if (row.metric or column.metric or spec.table.metric) == "throughput"
    }
    kind, both = relation(claim)[0], pairs(spec, claim)
    if kind == "times" or (kind == "above" and any(ref in rates for one in both for ref in one)):
        for right in dict.fromkeys(right for _, right in both):
            if (float(right.column) if right.row == "=" else printed.get(right)) == 0:
                yield Fault(where, f"compares by ratio: the right side should not be 0, got '{right}'")
