"""The summary of a night: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from replicate.actions.recheck import Recheck
from replicate.nightly.agenda import Agenda, DueJob
from replicate.nightly.changes import Change, Changes
from replicate.render.format_md import escape
from replicate.store.provenance import Provenance
from replicate.text import plural

SCHEMA = 1
SHOWN = 20
"""Lines of a list in the Markdown; the JSON has all of them."""

MEANINGS = {
    0: "nothing moved",
    1: "numbers moved beyond their tolerance",
    2: "jobs failed",
    3: "the night could not be carried out in full",
}


@dataclass(slots=True)
class Summary:
    """What a night has to say; the night fills it in as it goes on.

    run: False of a look, which computes and records nothing. faults: of the surroundings (Slurm, disk). failed:
    jobs, with the reason. suspicious: trainings that run and look doomed, with the reason. counts: cells by state.
    submitted: keys to Slurm's numbers. recovered: jobs that had ended without a result and were submitted again, with
    how they had ended.
    """

    when: str
    scale: str
    seeds: tuple[int, ...]
    where: str
    made: Mapping[str, object]
    budget: float
    run: bool
    code: int = 0
    changes: Changes = field(default_factory=Changes)
    agenda: Agenda = field(default_factory=Agenda)
    rechecks: list[Recheck] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)
    submitted: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    suspicious: dict[str, str] = field(default_factory=dict)
    recovered: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    digest: str = ""

    @property
    def headline(self) -> str:
        return f"exit {self.code}: {MEANINGS[self.code]}"


def as_json(summary: Summary) -> str:
    agenda = summary.agenda
    # Its jobs are named below; asdict would copy their payloads.
    body = asdict(replace(summary, agenda=Agenda()))
    body["schema"], body["headline"] = SCHEMA, summary.headline
    body["agenda"] = {
        "missing": [_due(due) for due in agenda.missing],
        "again": [_due(due) for due in agenda.again],
        "left": [_due(due) for due in agenda.over_budget],
        "unasked": [job.key for job in agenda.skipped],
        "owed": list(agenda.unfinished),
        "hours": round(agenda.hours, 4),
    }
    return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n"


def _due(due: DueJob) -> dict[str, object]:
    return {"key": due.job.key, "reason": due.reason, "hours": round(due.hours, 4)}


def as_markdown(summary: Summary) -> str:
    parts = [*_head(summary), *_moved(summary.changes), *_failed(summary), *_suspicious(summary), *_work(summary)]
    return "\n".join(parts) + "\n"


def _head(summary: Summary) -> list[str]:
    first = "the first night" if summary.run else "no night to compare with"
    since = f"compared with the night of {summary.changes.since}" if summary.changes.since else first
    since = since if summary.digest else "compared with no other night"
    states = ", ".join(f"{count} {state}" for state, count in summary.counts.items())
    provenance = Provenance.of(summary.made)
    packages = ", ".join(f"{name} {version}" for name, version in provenance.packages.items())
    lines = [f"# {'Night of' if summary.run else 'A look at'} {summary.when}: {summary.headline}", ""]
    for fault in summary.faults:
        lines += [f"**Fault:** {escape(fault)}", ""]
    return [
        *lines,
        f"- scale {summary.scale}, seeds {', '.join(map(str, summary.seeds))}, on {escape(summary.where)}, {since}",
        f"- code {provenance.code}",
        f"- python {provenance.python}; {packages}",
        *([f"- cells: {states}"] if states else []),
        *([f"- {summary.files} files rendered, digest of all cells {summary.digest[:16]}"] if summary.digest else []),
        *(f"- {escape(note)}" for note in summary.notes),
    ]


def _moved(changes: Changes) -> list[str]:
    lines: list[str] = []
    titles = {
        "moved": "Moved beyond tolerance",
        "vanished": "No longer there",
        "failed": "Failed cells",
        "within": "Moved within tolerance",
        "new": "New",
    }
    for kind, title in titles.items():
        listed = [change for change in changes.changes if change.kind == kind]
        if listed:
            lines += ["", f"## {title}: {len(listed)}", "", *_table_of(listed), *_causes(listed)]
    claims = changes.of("claim")
    if claims:
        shown = claims[:SHOWN]
        rows = [f"| {_code(claim.table)} | {escape(claim.place)} | {claim.was} | {claim.now} |" for claim in shown]
        lines += [
            "",
            f"## Claims judged otherwise: {len(claims)}",
            "",
            "| table | claim | was | is |",
            "|---|---|---|---|",
        ]
        lines += [*rows, *_more(claims)]
    return lines


def _table_of(listed: Sequence[Change]) -> list[str]:
    rows = ["| table | cell | was | is | difference | allowed |", "|---|---|---|---|---|---|"]
    for change in listed[:SHOWN]:
        difference = "" if change.difference is None else f"{change.difference:+.3g}"
        allowed = "" if change.allowed is None else f"±{change.allowed:.3g}"
        values = f"{escape(change.was)} | {escape(change.now or change.reason)} | {difference} | {allowed}"
        rows.append(f"| {_code(change.table)} | {_code(change.place)} | {values} |")
    return rows + _more(listed)


def _causes(listed: Sequence[Change]) -> list[str]:
    """Each job once, however many cells rest on it."""
    causes = {cause.key: cause for change in listed for cause in change.causes}
    lines = []
    for cause in list(causes.values())[:SHOWN]:
        before = f" (was `{cause.before}`)" if cause.before else ""
        what = "; ".join(cause.what) or "nothing that is recorded: same commit, packages and machine"
        lines.append(f"- `{cause.key}`{before}: {escape(what)}")
    return ["", "What changed behind them:", "", *lines, *_more(list(causes))] if lines else []


def _failed(summary: Summary) -> list[str]:
    if not summary.failed:
        return []
    rows = []
    for key, reason in list(summary.failed.items())[:SHOWN]:
        age = summary.changes.failed.get(key, "new")
        rows.append(f"- `{key}` ({age}): {escape(reason)}")
    return ["", f"## Failed jobs: {len(summary.failed)}", "", *rows, *_more(list(summary.failed))]


def _suspicious(summary: Summary) -> list[str]:
    if not summary.suspicious:
        return []
    rows = [f"- `{key}`: {escape(why)}" for key, why in list(summary.suspicious.items())[:SHOWN]]
    title = f"## Suspicious trainings, which go on: {len(summary.suspicious)}"
    return ["", title, "", *rows, *_more(list(summary.suspicious))]


def _work(summary: Summary) -> list[str]:
    agenda = summary.agenda
    planned = f"{agenda.hours:.3g} processor hours planned, of a budget of {summary.budget:g}"
    lines = ["", "## Work", "", f"- {planned if summary.run else 'nothing was run, settled or recorded, as asked'}"]
    if summary.computed:
        lines.append(f"- {plural(len(summary.computed), 'job')} computed")
    if summary.submitted:
        lines.append(f"- {plural(len(summary.submitted), 'job')} submitted; a later night finds what they make")
    if summary.rechecks:
        outcomes = [recheck.outcome for recheck in summary.rechecks]
        words = {"same": "identical", "within": "measured anew within tolerance", "moved": "different"}
        counted = ", ".join(f"{outcomes.count(name)} {word}" for name, word in words.items() if name in outcomes)
        lines.append(f"- {plural(len(outcomes), 'result')} computed again and compared: {counted}")
    for key, why in list(summary.recovered.items())[:SHOWN]:
        lines.append(f"- `{key}` had ended without a result and goes on: {escape(why)}")
    if agenda.skipped:
        lines.append(f"- not begun, as `--train` was not asked for: {plural(len(agenda.skipped), 'training')}")
    if agenda.over_budget:
        hours = sum(due.hours for due in agenda.over_budget)
        why = "did not fit into the budget" if summary.run else "due"
        lines += [
            f"- {plural(len(agenda.over_budget), 'job')} {why} ({hours:.3g} hours):",
            *_over_budget(agenda.over_budget),
        ]
    shown = [recheck for recheck in summary.rechecks if recheck.outcome != "same"]
    if shown:
        lines += ["", "### Compared and not identical", ""]
        for recheck in shown[:SHOWN]:
            cause = "; ".join(recheck.cause) or "same commit, packages and machine"
            kept = "; the old result is kept in .aside" if recheck.aside else ""
            lines.append(f"- `{recheck.key}`: {escape(recheck.detail)} ({escape(cause)}){kept}")
        lines += _more(shown)
    return lines


def _over_budget(listed: Sequence[DueJob]) -> list[str]:
    rows = [f"  - `{due.job.key}`: {escape(due.reason)}, {due.hours:.3g} hours" for due in listed[:SHOWN]]
    return rows + [f"  {line}" for line in _more(listed)]


def _more(listed: Sequence[object]) -> list[str]:
    return [f"- ... and {len(listed) - SHOWN} more (the JSON has all)"] if len(listed) > SHOWN else []


def _code(text: str) -> str:
    # Nothing is escaped in a span of code, so what would end it (or the cell of a table) is taken out.
    return "`" + " ".join(text.replace("`", "'").replace("|", "/").split()) + "`"
