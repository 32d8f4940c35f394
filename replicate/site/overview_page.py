"""The first page, and the lists beside it: claims, runs, jobs; what is not there and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from replicate import text
from replicate.render import wording
from replicate.render.overview import HEADLINE, ORIGINS, claims_said, counted, line
from replicate.site.book import STATES, Book
from replicate.site.run_page import summary

VERDICTS = ("replicated", "not replicated", "undecided", "not compared", "not run")


def context(book: Book) -> dict[str, Any]:
    """What the template of the first page is given."""
    lines = [line(table) for table in book.tables]
    cells = sum((Counter(one.origins) for one in lines), Counter[str]())
    verdicts = sum((Counter(one.verdicts) for one in lines), Counter[str]())
    claims = book.claims
    return {
        "lines": [
            {
                "line": one,
                "href": book.addresses.table(one.table.id),
                "evidence": book.evidence(one.headline) if one.headline else "",
                "origins": counted(one.origins, ORIGINS),
                "verdicts": counted(one.verdicts, VERDICTS),
                "claims": claims_said(one.claims),
            }
            for one in lines
        ],
        "headline": HEADLINE,
        "cells": counted(cells, ORIGINS),
        "made": sum(cells.values()) - cells["printed in the paper only"] - cells["not run"],
        "wanted": sum(cells.values()),
        "verdicts": counted(verdicts, VERDICTS),
        "claims": claims,
        "holding": sum(entry.claim.verdict == "holds" for entry in claims),
        "other_claims": claims_said(Counter(v for entry in claims if (v := entry.claim.verdict) != "holds")),
        "turned": [entry for entry in claims if entry.claim.reversed],
        "states": _states(book),
        "cost": _cost(book),
        "missing": missing(book),
        "pictures": [
            {"figure": picture.figure, "href": book.addresses.figure(picture.figure.id)} for picture in book.pictures
        ],
    }


def claims_context(book: Book) -> dict[str, Any]:
    entries = book.claims
    counts = Counter[str](entry.claim.verdict for entry in entries)
    return {
        "claims": entries,
        "counts": claims_said(counts),
        "turned": [entry for entry in entries if entry.claim.reversed],
        "differing": [entry for entry in entries if entry.differs and not entry.claim.reversed],
    }


def runs_context(book: Book) -> dict[str, Any]:
    return {"runs": [summary(book, name) for name in book.runs]}


def jobs_context(book: Book) -> dict[str, Any]:
    """Every job in one list, with what it cost and how many numbers rest on it."""
    jobs = [
        {
            "facts": facts,
            "href": book.addresses.job(facts.job.key),
            "run": facts.job.run,
            "seed": "" if facts.seed is None else facts.seed,
            "seconds": facts.result.cost["wall_seconds"] if facts.result else "",
            "wall": text.seconds(facts.result.cost["wall_seconds"]) if facts.result else "",
            "planned": facts.job.seconds,
            "planned_shown": text.seconds(facts.job.seconds),
            "peak": facts.result.cost["peak_mb"] if facts.result else "",
            "memory": text.megabytes(facts.result.cost["peak_mb"]) if facts.result else "",
        }
        for facts in book.jobs.values()
    ]
    return {"jobs": jobs, "states": _states(book), "cost": _cost(book)}


def missing(book: Book) -> list[dict[str, Any]]:
    """Numbers that are not there, by table, state and reason, with the address of the first."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for table in book.tables:
        for cell in table.cells.values():
            if cell.state in ("done", "text") or cell.ref.is_reference:
                continue
            state = "printed in the paper only" if cell.state == "paper-only" else cell.state
            entry = found.setdefault(
                (table.id, state, cell.reason),
                {
                    "table": table,
                    "title": wording.title(table),
                    "state": state,
                    "reason": cell.reason,
                    "count": 0,
                    "href": book.addresses.cell(cell.ref),
                },
            )
            entry["count"] += 1
    return list(found.values())


def _states(book: Book) -> list[tuple[str, int]]:
    counts = Counter(facts.state for facts in book.jobs.values())
    return [(shown, counts[state]) for state, shown in STATES.items() if counts[state]]


def _cost(book: Book) -> str:
    spent = [facts.result.cost["wall_seconds"] for facts in book.jobs.values() if facts.result]
    return f"{text.seconds(sum(spent))} of computing" if spent else "nothing computed yet"
