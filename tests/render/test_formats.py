"""Every format against its golden file, and the promises that hold in all of them.

``UPDATE_GOLDEN=1 pytest tests/render`` rewrites the files; read the difference before you commit it.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from replicate.actions.files import TABLE_FORMATS
from replicate.errors import NotAvailable, UnknownName, UserError
from replicate.judge.table import Cell, Claim, Column, Comparison, Note, Row, SeedValue, Table
from replicate.render import (
    format_csv,
    format_html,
    format_json,
    format_md,
    format_pdf,
    format_tex,
    format_txt,
    formats,
    layout,
    wording,
)
from replicate.render.formats import find, names
from replicate.render.layout import Variant
from replicate.render.symbols import escape
from replicate.text import Printed

from .samples import CLAIMS, HOSTILE, HOSTILE_TEXT, MINI, NUMBERS, SAMPLES, STATES, TABLE3, at

GOLDEN = Path(__file__).parent / "golden"
VARIANTS: tuple[Variant, ...] = ("paper", "compare")
STATE_CELLS = [("none", "b_384"), ("soft", "b_384"), ("hard", "b_384"), ("both", "b_384")]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", sorted(names()))
@pytest.mark.parametrize("name", ["mini", "states", "table3"])
def test_golden(name: str, kind: str, variant: Variant) -> None:
    found = find(kind).render(SAMPLES[name], variant)
    path = GOLDEN / f"{name}-{variant}{find(kind).suffix}"
    if not find(kind).varies:
        path = GOLDEN / f"{name}{find(kind).suffix}"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", sorted(names()))
def test_a_banner_is_printed_and_nothing_is_confirmed(kind: str, variant: Variant) -> None:
    cells = {key: replace(cell, verdict="replicated") for key, cell in MINI.cells.items()}
    for table in (MINI, replace(MINI, cells=cells)):
        text = find(kind).render(table, variant).lower()
        assert "replicated" not in text
        assert "reproduced" not in text
        # CSV has no line to spare for a banner: there each cell says so.
        assert ("not compared" if kind == "csv" else "says nothing about imagenet") in " ".join(text.split())


def test_without_a_banner_the_verdicts_are_printed() -> None:
    assert "replicated" in format_csv.render(TABLE3)
    assert '"verdict": "differs"' in format_json.render(TABLE3)
    assert "−0.4 ✗" in format_txt.render(TABLE3, "compare")


def test_the_field_decides_what_is_compared_and_not_the_banner() -> None:
    said = replace(TABLE3, banner="A draft.")
    assert "−0.4 ✗" in format_txt.render(said, "compare")
    assert "A draft." in format_txt.render(said, "compare")
    other = replace(TABLE3, comparable=False)
    assert {wording.verdict(other, cell) for cell in other.cells.values()} == {"not compared"}
    assert "−0.4" not in format_txt.render(other, "compare")
    assert wording.legend(other, "compare") == [("†", wording.OTHER_MEANING)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_differ_and_are_never_blank(variant: Variant) -> None:
    faces = [layout.face(STATES.cell(*key)) for key in STATE_CELLS]
    assert faces == ["○", "◐", "⚠", "[84.5]"]
    faces = [layout.shown(STATES.cell(*key), variant) for key in STATE_CELLS]
    rendered = [find(name).render(STATES, variant) for name in ("md", "html", "txt")]
    for text in rendered:
        for face in faces:
            assert face in text.replace("\\", "")
    tex = format_tex.render(STATES, variant)
    for mark in (
        r"\ensuremath{\circ}",
        r"\ensuremath{\circleddash}",
        r"\ensuremath{\blacktriangle}",
        faces[-1].replace("–", "--"),
    ):
        assert mark in tex.split(r"\end{tabular}")[0]


@pytest.mark.parametrize("kind", sorted(names()))
def test_what_is_called_ours_is_never_the_papers_number(kind: str) -> None:
    text = find(kind).render(STATES, "compare").replace("\\", "")
    assert "84.5" in text
    assert "[84.5" not in text
    assert "here 84.5" not in text
    assert "here [84.5" not in text


def test_a_value_of_the_paper_wins_no_bold() -> None:
    cell = replace(TABLE3.cell("both", "b_384"), state="paper-only", shown="", bold=True)
    table = replace(TABLE3, cells={**TABLE3.cells, cell.ref: cell})
    assert "[84.5]" in format_tex.render(table)
    assert r"\textbf{[84.5]}" not in format_tex.render(table)


def test_the_legend_names_the_marks_that_occur_and_no_others() -> None:
    assert [mark for mark, _ in wording.legend(STATES, "paper")] == ["○", "◐", "⚠", "[ ]", "‡"]
    assert [mark for mark, _ in wording.legend(STATES, "compare")] == ["○", "◐", "⚠", "[–]", "‡", "✓", "✗"]
    teacher = replace(STATES.reference("teacher"), state="paper-only", shown="")
    both = replace(STATES, cells={**STATES.cells, teacher.ref: teacher})
    assert [mark for mark, _ in wording.legend(both, "compare")][3:5] == ["[–]", "[ ]"]
    assert [mark for mark, _ in wording.legend(TABLE3, "compare")] == ["✓", "✗", "?"]
    assert [mark for mark, _ in wording.legend(MINI, "compare")] == ["†"]
    assert wording.legend(TABLE3, "paper") == []


def test_caption_says_banner_origin_seeds_and_error() -> None:
    assert wording.caption(MINI, "compare").replace("\xa0", " ") == (
        "Distillation on ImageNet with DeiT, 300 epochs of pre-training. Mini scale: small networks on generated"
        " 32-pixel images. It shows that the pipeline works, and says nothing about ImageNet. Numbers: trained"
        " here; mean of n = 2 seeds (0, 1). ± is half of the 95 % interval, over seeds and test images."
    )


def test_latex_has_the_layout_of_the_paper() -> None:
    lines = format_tex.render(TABLE3).splitlines()
    assert lines[1] == r"% needs \usepackage{booktabs,multirow,amssymb}"
    assert r"\begin{tabular}{lcccccc}" in lines
    assert r" & \multicolumn{2}{c}{supervision} & \multicolumn{4}{c}{ImageNet top-1 (\%)} \\" in lines
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-7}" in lines
    assert lines.count(r"\midrule") == 2
    assert (
        r"DeiT\distilled{}: distil. embedding & \ensuremath{\checkmark} & hard"
        r" & \textbf{74.6} & \textbf{81.2} & 83.1 & 84.4 \\"
    ) in lines


@pytest.mark.parametrize("variant", VARIANTS)
def test_latex_prints_its_banner_and_explains_its_marks(variant: Variant) -> None:
    released = replace(STATES.cell("none", "b_224"), verdict="undecided")
    cells = {**STATES.cells, released.ref: released}
    for table in (MINI, replace(MINI, banner=""), replace(STATES, cells=cells)):
        tex = format_tex.render(table, variant)
        printed = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
        above, below = printed.split(r"\begin{tabular}{@{}l@{}}")[1].split(r"\usebox{\replicatetable}")
        assert (wording.banner(table) == "") == table.comparable
        assert escape(wording.banner(table), "") in above
        for mark, meaning in wording.legend(table, variant):
            assert escape(f"{mark} {meaning}", "").removeprefix("{}") in below
        for note in table.notes:
            assert escape(wording.note_text(note), "") in below
        assert escape(wording.origins(table, variant), "") in below


def test_latex_is_bare_where_that_is_asked_for_by_name() -> None:
    bare = find("tex-bare")
    assert bare.suffix == "-bare.tex"
    assert "tex-bare" not in TABLE_FORMATS
    code = [line for line in bare.render(MINI, "paper").splitlines() if not line.startswith(("%", r"\providecommand"))]
    assert (code[0], code[-1]) == (r"\begin{tabular}{lcccccc}", r"\end{tabular}%")
    assert f"% BANNER: {MINI.banner}" in bare.render(MINI, "paper")


def test_latex_compares_without_differences_under_a_banner() -> None:
    assert r"\cmidrule(lr){4-6} \cmidrule(lr){7-9} \cmidrule(lr){10-12} \cmidrule(lr){13-15}" in format_tex.render(
        TABLE3, "compare"
    )
    mini = format_tex.render(MINI, "compare")
    assert r"\cmidrule(lr){4-5} \cmidrule(lr){6-7} \cmidrule(lr){8-9} \cmidrule(lr){10-11}" in mini
    assert r"paper\ensuremath{\dagger}" in mini
    assert r"\Delta" not in mini


def _narrow(values: tuple[str, ...]) -> Table:
    refs = [at(f"r{n}", "x") for n in range(len(values))]
    cells = {ref: Cell(ref, "done", value) for ref, value in zip(refs, values, strict=True)}
    rows = tuple(Row(f"r{n}", f"row {n}") for n in range(len(values)))
    return replace(TABLE3, columns=(Column("x", "im/s"),), rows=rows, cells=cells, notes=(), claims=(), references=())


def test_numbers_of_a_column_are_padded_to_one_width() -> None:
    tex = format_tex.render(_narrow(("4458.4", "96.9", "292", "86M")))
    assert "row 0 & 4458.4 \\\\" in tex
    assert r"row 1 & \phantom{00}96.9 \\" in tex
    assert r"row 2 & \phantom{0}292\phantom{.0} \\" in tex
    assert r"row 3 & 86M \\" in tex


def test_a_footnote_mark_moves_no_number_of_its_column() -> None:
    tex = format_tex.render(_narrow(("78.9†", "8.9", "79.9 ± 0.1")))
    assert r"row 0 & 78.9\rlap{\ensuremath{\dagger}} \\" in tex
    assert r"row 1 & \phantom{0}8.9 \\" in tex
    assert r"row 2 & 79.9 \ensuremath{\pm} 0.1 \\" in tex


def test_row_groups_span_their_rows() -> None:
    tex = format_tex.render(STATES)
    assert r"\multirow{3}{*}{no token} & DeiT -- no distillation" in tex
    assert tex.count(r"\multirow") == 2
    assert '<th scope="rowgroup" class="group" rowspan="3">no token</th>' in format_html.render(STATES)


def test_an_unprintable_character_names_its_cell() -> None:
    cell = replace(TABLE3.cell("soft", "teacher"), shown="sof☃t")
    table = replace(TABLE3, cells={**TABLE3.cells, cell.ref: cell})
    with pytest.raises(UserError, match=r"distillation_ablation\.toml: row soft, column teacher: .*SNOWMAN"):
        format_tex.render(table)


@pytest.mark.parametrize("variant", VARIANTS)
def test_hostile_text_runs_in_no_format(variant: Variant) -> None:
    for tex in (format_tex.render(HOSTILE, variant), format_pdf.render(HOSTILE, variant)):
        code = [line for line in tex.splitlines() if not line.startswith("%")]
        assert not any(r"\input" in line for line in code)
    assert "<script" not in format_html.render(HOSTILE, variant)
    text = format_md.render(HOSTILE, variant)
    assert "<script" not in text
    grids = [[line for line in block.splitlines() if line.startswith("|")] for block in text.split("\n\n")]
    for grid in grids:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid}) <= 1, "an unescaped pipe adds a column"


def test_csv_is_one_harmless_line_a_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(format_csv.render(HOSTILE))))
    assert len(rows) == 36
    assert rows[0]["row_label"] == "'=" + HOSTILE_TEXT
    assert format_csv.render(TABLE3).splitlines()[0] == (
        "table,row,row_label,column,column_label,state,value,shown,error,spread,n_seeds,correct,images,paper,"
        "difference,origin,verdict,reason,jobs"
    )
    mini = {(row["row"], row["column"]): row for row in csv.DictReader(io.StringIO(format_csv.render(MINI)))}
    assert mini["hard", "ti_224"]["correct"] == "1351;1377"
    assert mini["hard", "ti_224"]["images"] == "2000;2000"
    assert mini["hard", "ti_224"]["value"] == "68.2"
    assert "\r" not in format_csv.render(TABLE3)


def test_csv_reads_differences_as_numbers_and_texts_as_text() -> None:
    cell = replace(TABLE3.cell("soft", "teacher"), shown="-soft")
    table = replace(TABLE3, cells={**TABLE3.cells, cell.ref: cell})
    rows = {(row["row"], row["column"]): row for row in csv.DictReader(io.StringIO(format_csv.render(table)))}
    assert rows["hard", "b_224"]["difference"] == "-0.4"
    assert rows["none", "b_224"]["difference"] == "+0.1"
    assert rows["soft", "teacher"]["shown"] == "'-soft"


@pytest.mark.parametrize(("kind", "variant"), [("txt", "paper"), ("md", "compare"), ("html", "compare")])
def test_readings_stand_apart_from_the_papers_sentences(kind: str, variant: Variant) -> None:
    text = find(kind).render(TABLE3, variant)
    sentences, _, readings = text.partition("eadings of its tables")
    assert CLAIMS[0].text[:40] in sentences
    assert CLAIMS[1].text[:40] in readings
    assert CLAIMS[1].text[:40] not in sentences
    if kind != "txt":
        assert f"“{CLAIMS[0].quote}” (Section 5.2)" in sentences
        assert "reading of Table 3, B 224" in readings


def test_a_claim_says_what_it_allows_and_over_how_many_comparisons() -> None:
    several, one = CLAIMS
    assert wording.claim_scope(several) == "on average over 2"
    assert wording.claim_scope(replace(several, scope="every")) == "weakest of 2 comparisons"
    assert wording.claim_scope(one) == ""
    chosen = replace(one, within=0.05, relation="not-below")
    assert wording.claim_within(chosen) == "within 0.05, chosen after the paper's numbers"
    needs = wording.would_decide(one)
    assert wording.claim_note(chosen) == f"(p 0.16 (Holm 0.16); within 0.05, chosen after the paper's numbers; {needs})"
    ratio = replace(one, within=0.1, relation="times", within_source="the interval of a measurement")
    assert wording.claim_within(ratio) == "within 10 % (the interval of a measurement)"
    assert "within" not in wording.claim_note(ratio)
    assert wording.claim_within(one) == ""


def test_what_would_decide_stands_below_the_claims() -> None:
    undecided = CLAIMS[1]
    assert wording.would_decide(undecided) == "needs 8 seeds"
    unknown = replace(undecided, verdict="undecided", error=None, note="no seed noise is known", needs="a second seed")
    assert wording.would_decide(unknown) == "no seed noise is known; needs a second seed"
    many = replace(undecided, seeds_needed=301, needs="301 seeds")
    beyond = replace(undecided, seeds_needed=None, needs="more than 1,000 seeds")
    assert wording.decided_by([undecided, many, beyond, replace(unknown, seeds_needed=None)]) == (
        "4 claims are undecided. At this noise, margins like the paper's are decided in 80 % of cases: "
        "2 with 8 to 301 seeds, 1 with more than 1,000 seeds. Of 1 no error is known."
    )
    assert wording.would_decide(CLAIMS[0]) == ""
    assert wording.decided_by(CLAIMS[:1]) == ""
    for kind in ("txt", "md", "html"):
        text = html.unescape(find(kind).render(replace(TABLE3, claims=(undecided,))))
        assert wording.decided_by([undecided]) in " ".join(text.split())
        assert wording.by_chance([undecided]) in " ".join(text.split())


def test_json_holds_exact_values_and_both_sides_of_a_claim() -> None:
    text = format_json.render(MINI)
    assert text.endswith("}\n")
    assert "⚗" in text
    document = json.loads(text)
    assert (document["schema"], document["id"], document["number"]) == (2, "distillation_ablation", 3)
    cell = next(c for c in document["cells"] if (c["row"], c["column"]) == ("hard", "ti_224"))
    assert (cell["value"], cell["exact"], cell["paper"], cell["difference"]) == (68.2, "341/5", 74.3, None)
    assert [(s["seed"], s["correct"], s["images"], s["exact"]) for s in cell["seeds"]] == [
        (0, 1351, 2000, "1351/20"),
        (1, 1377, 2000, "1377/20"),
    ]
    assert (document["claims"][1]["paper_verdict"], document["claims"][1]["verdict"]) == ("holds", "fails")
    whole = json.loads(format_json.render(TABLE3))["cells"]
    hard = next(c for c in whole if (c["row"], c["column"]) == ("hard", "b_224"))
    assert (hard["difference"], hard["seeds"][0]["correct"], hard["seeds"][0]["images"]) == (-0.4, 41300, 50000)
    teacher = next(c for c in whole if c["ref"] == "distillation_ablation/@/teacher")
    assert (teacher["value"], teacher["exact"], teacher["row"], teacher["column"]) == (82.9, "829/10", "@", "teacher")


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        ("4.3*", 4.3),
        ("86M", 86e6),
        ("−0.3", -0.3),
        ("78.9†", 78.9),
        ("79.9 ± 0.1", 79.9),
        ("9/0.5", None),
    ],
)
def test_json_has_the_numbers_of_what_the_paper_prints(printed: str, number: float | None) -> None:
    cell = replace(TABLE3.cell("hard", "b_224"), paper=Printed(printed))
    document = json.loads(format_json.render(replace(TABLE3, cells={**TABLE3.cells, cell.ref: cell})))
    written = next(c for c in document["cells"] if c["ref"] == str(cell.ref))
    assert (written["paper"], written["paper_shown"]) == (number, printed)


def test_json_dumps_every_field_of_the_model_and_docs_explain_each() -> None:
    explained = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    document = json.loads(format_json.render(MINI))
    parts = {
        Table: document,
        Column: document["columns"][0],
        Row: document["rows"][0],
        Cell: document["cells"][2],
        SeedValue: document["cells"][2]["seeds"][0],
        Claim: document["claims"][0],
        Comparison: document["claims"][0]["comparisons"][0],
        Note: document["notes"][0],
    }
    for model, part in parts.items():
        assert {field.name for field in fields(model)} <= set(part)
        section = explained.partition(f"## `{model.__name__}`")[2].partition("\n## ")[0]
        assert [name for name in part if f"`{name}`" not in section] == [], model.__name__


@dataclass(frozen=True)
class _Later:
    """A model with what a later version may add."""

    share: Fraction | None
    newest: Column

    @property
    def twice(self) -> float:
        return 2.0 * float(self.share or 0)


def test_json_of_a_later_field_needs_no_change() -> None:
    column = {"key": "k", "header": "h", "group": "", "text": False}
    assert format_json.dump(_Later(Fraction(1, 3), Column("k", "h"))) == {
        "share": pytest.approx(1 / 3),
        "share_exact": "1/3",
        "newest": column,
        "twice": pytest.approx(2 / 3),
    }
    assert format_json.dump(_Later(None, Column("k", "h")))["share_exact"] is None


class _Tags(HTMLParser):
    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.widths: list[int] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [f"{name}={value}" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.widths.append(0)
        if tag in ("td", "th"):
            self.widths[-1] += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_html_is_well_formed_and_needs_nothing_from_outside(name: str) -> None:
    tags = _Tags()
    page = format_html.render(SAMPLES[name], "compare")
    tags.feed(page)
    assert tags.open == []
    assert tags.addresses == []
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("kind", sorted(names()))
def test_a_table_without_spanners_notes_and_claims(kind: str) -> None:
    table = _narrow(("4458.4", "96.9"))
    for variant in VARIANTS:
        text = find(kind).render(table, variant)
        assert "im/s" in text
        assert "supervision" not in text
        assert r"\cmidrule" not in text or variant == "compare"


def test_html_cells_tell_what_they_rest_on() -> None:
    page = format_html.render(MINI)
    assert page.count('colspan="4"') == 1
    assert (
        'title="here 68.2 · paper 74.3 · seed 0: 1,351 of 2,000 · seed 1: 1,377 of 2,000 · '
        "±2.0 (95 %, seeds and test images)"
        ' · trained here · not compared · another experiment than the paper&#39;s"'
    ) in page


@pytest.mark.parametrize("variant", VARIANTS)
def test_terminal_fits_80_columns_without_colour(variant: Variant) -> None:
    for table in (TABLE3, MINI, STATES):
        out = io.StringIO()
        format_txt.show(table, Console(file=out, width=80, no_color=True), variant)
        lines = out.getvalue().splitlines()
        assert "\x1b" not in out.getvalue()
        assert max(map(len, lines)) <= 80
        # One block: the label column and all six columns stand side by side.
        assert sum("method ↓" in line for line in lines) == 1


def test_terminal_splits_a_table_that_is_too_wide() -> None:
    out = io.StringIO()
    format_txt.show(TABLE3, Console(file=out, width=60, no_color=True))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    heads = [line.split() for line in lines if line.startswith("method ↓")]
    assert heads == [
        ["method", "↓", "label", "teacher"],
        ["method", "↓", "Ti", "224", "S", "224", "B", "224", "B↑384ᵇ"],
    ]
    assert sum("distil. embedding" in line for line in lines) == 2


def test_terminal_shows_colour_and_bold_where_there_is_a_terminal() -> None:
    out = io.StringIO()
    format_txt.show(TABLE3, Console(file=out, width=100, force_terminal=True, color_system="standard"), "compare")
    assert "\x1b[31m−0.4 ✗" in out.getvalue()
    assert re.search(r"\x1b\[1m *74\.6", out.getvalue())


def test_terminal_passes_no_escape_sequence_of_a_label() -> None:
    rows = (replace(TABLE3.rows[0], label="\x1b[2Jevil"), *TABLE3.rows[1:])
    assert "\x1b" not in format_txt.render(replace(TABLE3, rows=rows))


def test_terminal_says_reversed() -> None:
    line = next(line for line in format_txt.render(MINI).splitlines() if line.startswith("✗"))
    assert [part.strip() for part in line.split("  ")][-2:] == ["holds (+0.2)", "fails (reversed) −4.8 ± 1.2"]


def test_write_names_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert formats.write(TABLE3, folder, ["tex", "csv", "tex"], "compare") == [
        folder / "distillation_ablation-compare.tex",
        folder / "distillation_ablation.csv",
    ]
    assert (folder / "distillation_ablation.csv").read_text() == format_csv.render(TABLE3)
    with pytest.raises(UnknownName, match="did you mean 'html'"):
        formats.write(TABLE3, folder, ["htm"])


def test_every_number_is_in_every_format() -> None:
    for kind in map(find, names()):
        text = kind.render(TABLE3, "paper")
        for row in TABLE3.rows:
            for column in NUMBERS:
                assert TABLE3.cell(row.key, column).shown in text


def test_without_pdflatex_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "table.tex"
    path.write_text("")
    with pytest.raises(NotAvailable, match="texlive-latex-extra"):
        format_pdf.pdf(path)
