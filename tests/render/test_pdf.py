"""pdflatex reads what is written, and says what is wrong when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from replicate.errors import UserError
from replicate.render import format_pdf, format_tex, formats
from replicate.render.layout import Variant
from replicate.render.symbols import SYMBOLS, definitions, escape

from .samples import SAMPLES, TABLE3

pytestmark = [
    pytest.mark.latex,
    pytest.mark.skipif(
        shutil.which("pdflatex") is None and os.environ.get("REPLICATE_REQUIRE_ALL") != "1",
        reason="pdflatex is not installed",
    ),
]


@pytest.mark.parametrize("variant", ["paper", "compare"])
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_sample_compiles(name: str, variant: Variant, tmp_path: Path) -> None:
    paths = formats.write(SAMPLES[name], tmp_path, ["pdf"], variant)
    assert [path.suffix for path in paths] == [".tex", ".pdf"]
    assert paths[1].read_bytes().startswith(b"%PDF-")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
@pytest.mark.parametrize(
    "frame", [r"{}", r"\resizebox{{\textwidth}}{{!}}{{{}}}", r"\begin{{minipage}}{{5cm}}{}\end{{minipage}}"]
)
@pytest.mark.parametrize("variant", ["paper", "compare"])
def test_a_document_that_reads_the_file_prints_its_banner_and_notes(
    variant: Variant, frame: str, tmp_path: Path
) -> None:
    tables = [SAMPLES[name] for name in sorted(SAMPLES)]
    bodies = [frame.format(format_tex.render(table, variant)) for table in tables]
    path = tmp_path / "article.tex"
    path.write_text(
        "\\documentclass{article}\\usepackage{booktabs,multirow,amssymb,graphicx}\n\\begin{document}\n"
        + "".join(f"\\begin{{table}}\\centering\\caption{{My own.}}\n{body}\\end{{table}}\n" for body in bodies)
        + "\\end{document}\n"
    )
    text = subprocess.run(["pdftotext", format_pdf.pdf(path), "-"], capture_output=True, text=True, check=True).stdout
    text = " ".join(text.split())
    for table in tables:
        assert table.banner in text
    assert text.count("Made with changes that were not committed.") == 1
    assert text.count("Fine-tuned from 224 to 384 pixels.") == 3


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    one = formats.write(TABLE3, tmp_path / "a", ["pdf"])[1]
    two = formats.write(TABLE3, tmp_path / "elsewhere", ["pdf"])[1]
    assert one.read_bytes() == two.read_bytes()


def test_every_symbol_compiles_in_bold_and_in_a_caption_with_outline_fonts(tmp_path: Path) -> None:
    texts = [escape(character, "here") for character in SYMBOLS]
    body = " x\n".join(texts)
    path = tmp_path / "all.tex"
    path.write_text(
        "\\documentclass{article}\\usepackage{amssymb}\n"
        + "\n".join(definitions(body))
        + "\n\\begin{document}\n\\begin{table}\\caption{\\textbf{"
        + "} {".join(texts)
        + "}}\\end{table}\n"
        + body
        + "\n\\end{document}\n"
    )
    pdf = format_pdf.pdf(path)
    assert pdf == tmp_path / "all.pdf"
    assert b"/Type3" not in pdf.read_bytes()


def test_a_tex_error_is_shown_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.tex"
    path.write_text("\\documentclass{article}\n\\begin{document}\n\\nosuchthing here\n\\end{document}\n")
    with pytest.raises(UserError) as caught:
        format_pdf.pdf(path)
    assert str(caught.value).splitlines() == [
        f"{path}:3: pdflatex stopped: Undefined control sequence.",
        "  \\nosuchthing here",
    ]
    assert not path.with_suffix(".pdf").exists()


def test_tex_cannot_read_outside_its_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.tex"
    secret.write_text("secret")
    path = tmp_path / "thief.tex"
    path.write_text(f"\\documentclass{{article}}\\begin{{document}}\\input{{{secret}}}\\end{{document}}\n")
    with pytest.raises(UserError, match="pdflatex stopped"):
        format_pdf.pdf(path)
