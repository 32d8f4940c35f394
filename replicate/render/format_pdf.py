"""One table as a document of its own, and its PDF.

The page is as wide as the table needs: TeX measures the tabular first, then sets the paper. So a comparison
of many columns neither overflows nor has to be shrunk until it cannot be read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from replicate.errors import NotAvailable, UserError
from replicate.judge.table import Table
from replicate.render import format_tex, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant
from replicate.render.symbols import definitions, escape
from replicate.store.files import write_bytes

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage{array,booktabs,longtable,multirow,amssymb}
\pdfinfoomitdate=1 \pdftrailerid{} \pdfsuppressptexinfo=-1
\makeatletter\providecommand*{\CT@arc@}{}\makeatother % booktabs needs it, and defines it at \begin{document}
\pagestyle{empty}
\setlength{\parindent}{0pt}"""

# A4 with margins of 1 in: 159.2 mm of text. Claims and notes get at least 5 in under the table.
_PAGE = r"""\setlength{\textwidth}{159.2mm}
\ifdim\wd\measured>\textwidth \setlength{\textwidth}{\wd\measured}\fi
\setlength{\textheight}{246mm}
\ifdim\dimexpr\ht\measured+\dp\measured+5in>\textheight
  \setlength{\textheight}{\dimexpr\ht\measured+\dp\measured+5in}\fi
\setlength{\oddsidemargin}{0pt}
\setlength{\topmargin}{0pt}\setlength{\headheight}{0pt}\setlength{\headsep}{0pt}
\setlength{\pdfpagewidth}{\dimexpr\textwidth+2in}
\setlength{\pdfpageheight}{\dimexpr\textheight+2in}"""

# What LaTeX derives from the text area when a document begins, for a page of another size within it.
_TURNED = r"""\makeatletter
\hsize\textwidth \columnwidth\textwidth \linewidth\textwidth
\global\@colht\textheight \global\@colroom\textheight \global\vsize\textheight
\makeatother"""

_OPTIONS = ("-interaction=nonstopmode", "-halt-on-error", "-file-line-error", "-no-shell-escape")

# The date makes the bytes repeatable, the long lines make the log readable; "p" (paranoid) keeps TeX from
# reading or writing outside its folder and its own trees.
_SETTINGS = {
    "SOURCE_DATE_EPOCH": "0",
    "FORCE_SOURCE_DATE": "1",
    "max_print_line": "1000",
    "openin_any": "p",
    "openout_any": "p",
}

_PACKAGES = "texlive-latex-base texlive-latex-recommended texlive-latex-extra"


def render(table: Table, variant: Variant = "paper") -> str:
    """A document around the tabular: caption above, legend, notes and claims below."""
    inside, outside = _parts(table, variant)
    lines = [
        _PREAMBLE,
        *definitions("\n".join([*inside, *outside])),
        r"\newsavebox{\measured}",
        *_measured(inside),
        _PAGE,
        r"\begin{document}",
        *outside,
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def book(tables: Iterable[Table], variant: Variant = "paper") -> str:
    """One document of all ``tables``, each on pages of its own that are as wide as it needs."""
    parts = [_parts(table, variant) for table in tables]
    text = [line for inside, outside in parts for line in (*inside, *outside)]
    lines = [_PREAMBLE, *definitions("\n".join(text)), r"\newsavebox{\measured}", r"\begin{document}"]
    for inside, outside in parts:
        lines += [r"\clearpage", *_measured(inside), _PAGE, _TURNED, *outside]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def _measured(inside: list[str]) -> list[str]:
    return [r"\begin{lrbox}{\measured}\normalfont\normalsize", *inside, r"\end{lrbox}"]


def _parts(table: Table, variant: Variant) -> tuple[list[str], list[str]]:
    """The tabular, to be measured, and what stands on the page: caption, the box, legend, notes, claims."""
    where = table.spec or f"table {table.id}"
    head = escape(wording.title(table), where)
    outside = [
        r"\begin{center}",
        rf"\parbox{{\textwidth}}{{\textbf{{{head}:}} {format_tex.caption(table, variant)}}}\par",
        r"\medskip\usebox{\measured}\par",
        r"\end{center}",
        *(rf"{{\footnotesize {line}\par}}" for line in format_tex.footnotes(table, variant)),
        *_claims(table, where),
    ]
    tex = format_tex.bare(table, variant)
    inside = [line for line in tex.splitlines() if not line.startswith(r"\providecommand")]
    return inside, outside


def _claims(table: Table, where: str) -> list[str]:
    """The claims with their places, the paper's sentences apart from readings; they may need more than a page."""
    lines = []
    paper = f"paper{wording.dagger(table)}"
    # Of fixed widths, so that one run of LaTeX sets them.
    widths = (".02", ".43", ".14", ".12", ".19")
    columns = "".join(rf">{{\raggedright\arraybackslash}}p{{{width}\textwidth}}" for width in widths)
    for heading, claims in wording.claims_apart(table.claims):
        lines += [
            r"\begingroup\small\tabcolsep=4pt",
            rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            rf" & {heading} & {escape(paper, where)} & here & margin here $\pm$ 95\,\% \\",
            r"\midrule\endhead",
        ]
        for claim in claims:
            place = f"{where}: claim '{claim.text}'"
            said = f"{claim.text} ({claim.see})" if claim.see else claim.text
            fields = (wording.CLAIM_MARKS[claim.verdict], said, wording.claim_paper(claim), wording.claim_here(claim))
            texts = [escape(field, place) for field in (*fields, wording.claim_margin(claim))]
            lines.append(rf"{' & '.join(texts)} \\")
        lines += [r"\bottomrule", r"\end{longtable}", r"\endgroup"]
    return lines


def pdf(tex_path: Path, target: Path | None = None) -> Path:
    """Run pdflatex; the PDF lies beside ``tex_path``, or at ``target``. Same text, same bytes."""
    program = shutil.which("pdflatex")
    if program is None:
        raise NotAvailable(
            "pdf: pdflatex is not on the PATH\n"
            f"  on Debian and Ubuntu: apt-get install --no-install-recommends {_PACKAGES}\n"
            "  or write the other formats; the .tex files need no TeX to be written"
        )
    target = target or tex_path.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(tex_path, Path(folder, "table.tex"))
        done = subprocess.run(
            [program, *_OPTIONS, "table.tex"],
            cwd=folder,
            env={**os.environ, **_SETTINGS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        typeset = Path(folder, "table.pdf")
        if done.returncode != 0 or not typeset.is_file():
            raise UserError(_failure(tex_path, done.stdout.decode(errors="replace")))
        write_bytes(target, typeset.read_bytes())
    return target


def _failure(tex_path: Path, log: str) -> str:
    fault = re.search(r"^(?:\./)?table\.tex:(\d+): (.*)$", log, flags=re.MULTILINE)
    if fault:
        line, message = int(fault[1]), fault[2]
        source = tex_path.read_text(encoding="utf-8").splitlines()[line - 1 : line]
        first = f"{tex_path}:{line}: pdflatex stopped: {message}"
        return "\n".join([first, *(f"  {text}" for text in source)])
    last = [line for line in log.splitlines() if line.strip()][-3:]
    return "\n".join([f"{tex_path}: pdflatex stopped", *(f"  {line}" for line in last)])


def _typeset(document: Path) -> Path:
    return pdf(document, document.with_name(document.name.replace("-standalone.tex", ".pdf")))


FORMAT = Format("-standalone.tex", render, typeset=_typeset)
"""The document stays beside the PDF, so that a reader can change it and run pdflatex again."""
