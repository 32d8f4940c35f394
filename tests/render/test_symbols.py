"""TeX escaping: nothing is lost, nothing is run, what cannot be printed is refused by name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.errors import UserError
from replicate.render.symbols import MACROS, SYMBOLS, comment, definitions, escape

# Read TeX back without the table that wrote it: what each control sequence prints, from the LaTeX companion.
WORDS = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|", "textquoteright": "’", "ldots": "…", "distilled": "⚗", "xmark": "✗", "ss": "ß", "o": "ø",
    "O": "Ø", "ae": "æ", "AE": "Æ", "l": "ł",
}  # fmt: skip
MATHS = {
    r"\checkmark": "✓", r"\uparrow": "↑", r"\downarrow": "↓", r"\rightarrow": "→", r"\leftarrow": "←",
    r"\leftrightarrow": "↔", r"\times": "×", r"\div": "÷", r"\pm": "±", "-": "−", r"\cdot": "·", r"\bullet": "•",
    r"^{\circ}": "°", r"\geq": "≥", r"\leq": "≤", r"\approx": "≈", r"\neq": "≠", r"\equiv": "≡", r"\in": "∈",
    r"\infty": "∞", r"\surd": "√", r"\sum": "∑", r"\triangle": "∆", r"\dagger": "†", r"\ddagger": "‡",
    r"\mathsection": "§", r"\mathparagraph": "¶", r"\circ": "○", r"\circleddash": "◐", r"\bigstar": "●",
    r"\blacktriangle": "⚠", "^{1}": "¹", "^{2}": "²", "^{3}": "³", r"\mathrm{\mu}": "µ", r"\mathdollar": "$",
    r"\alpha": "α", r"\beta": "β", r"\gamma": "γ", r"\delta": "δ", r"\varepsilon": "ε", r"\zeta": "ζ",
    r"\eta": "η", r"\theta": "θ", r"\iota": "ι", r"\kappa": "κ", r"\lambda": "λ", r"\mu": "μ", r"\nu": "ν",
    r"\xi": "ξ", r"\pi": "π", r"\rho": "ρ", r"\sigma": "σ", r"\varsigma": "ς", r"\tau": "τ", r"\upsilon": "υ",
    r"\varphi": "φ", r"\chi": "χ", r"\psi": "ψ", r"\omega": "ω", r"\Gamma": "Γ", r"\Delta": "Δ",
    r"\Theta": "Θ", r"\Lambda": "Λ", r"\Xi": "Ξ", r"\Pi": "Π", r"\Sigma": "Σ", r"\Upsilon": "Υ", r"\Phi": "Φ",
    r"\Psi": "Ψ", r"\Omega": "Ω",
}  # fmt: skip
MARKED = {
    "`": dict(zip("aeiouAEIOU", "àèìòùÀÈÌÒÙ", strict=True)),
    "'": dict(zip("aceinosuyzACEINOSUYZ", "áćéíńóśúýźÁĆÉÍŃÓŚÚÝŹ", strict=True)),
    "^": dict(zip("aeiouAEIOU", "âêîôûÂÊÎÔÛ", strict=True)),
    "~": dict(zip("anoANO", "ãñõÃÑÕ", strict=True)),
    '"': dict(zip("aeiouyAEIOU", "äëïöüÿÄËÏÖÜ", strict=True)),
    "r": dict(zip("auAU", "åůÅŮ", strict=True)),
    "c": dict(zip("csCS", "çşÇŞ", strict=True)),
    "v": dict(zip("cenrszCENRSZ", "čěňřšžČĚŇŘŠŽ", strict=True)),
}
LIGATURES = {"---": "—", "--": "–", "``": "“", "''": "”", "`": "‘", "{}": "", r"\ ": " ", r"\,": "\u2009", "~": "\xa0"}
TOKEN = re.compile(
    r"\\ensuremath\{(?P<math>(?:[^{}]|\{[^{}]*\})*)\}"
    r"|\\texttt\{\\char34\}"
    r"|\\(?P<accent>[`'^~\"]|[rcv](?=\{))\{(?P<base>\\?[A-Za-z]?)\}"
    r"|\\(?P<word>[A-Za-z]+)\{\}"
    r"|\\(?P<sign>[{}&#_%])"
    r"|(?P<ligature>---?|``?|''|\{\}|\\ |\\,|~)"
    r"|(?P<plain>[^\\{}$&#_%^])"
)


def unescape(tex: str) -> str:
    text, place = "", 0
    while place < len(tex):
        match = TOKEN.match(tex, place)
        assert match, f"not TeX that prints: {tex[place:]!r}"
        place = match.end()
        if match["math"]:
            text += MATHS[match["math"]]
        elif match["accent"]:
            text += MARKED[match["accent"]][match["base"].lstrip("\\")] if match["base"] else match["accent"]
        elif match["word"]:
            text += WORDS[match["word"]]
        elif match[0].startswith(r"\texttt"):
            text += '"'
        elif match["ligature"]:
            text += LIGATURES[match["ligature"]]
        else:
            text += match["sign"] or match["plain"]
    return text


@given(st.text(st.sampled_from(sorted(SYMBOLS)), max_size=30))
def test_what_is_escaped_reads_back(text: str) -> None:
    assert unescape(escape(text, "here")) == text


@given(st.text(st.sampled_from("-–—'’`‘“”\"?! ,[*{}\\"), max_size=12))
def test_neighbours_that_tex_would_join_read_back(text: str) -> None:
    assert unescape(escape(text, "here")) == text


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("50 % & #1_a", r"50 \% \& \#1\_a"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("DeiT⚗ – 384↑", r"DeiT\distilled{} -- 384\ensuremath{\uparrow}"),
        ("a--b", r"a-{}-b"),
        ("–-", r"--{}-"),
        ("a  b ", r"a \ b\ "),
        ("[5mm]", r"{}[5mm]"),
        ("*", r"{}*"),
        ("Jégou", r"J\'{e}gou"),
    ],
)
def test_escape(text: str, tex: str) -> None:
    assert escape(text, "here") == tex


def test_unmapped_characters_are_named_with_their_place() -> None:
    with pytest.raises(UserError) as caught:
        escape("a ☃ and \n", "tables/x.toml: row hard: label")
    first = str(caught.value).splitlines()[0]
    assert first.startswith("tables/x.toml: row hard: label: ")
    assert "'☃' (U+2603 SNOWMAN)" in first
    assert "U+000A" in first
    assert "⚗" in str(caught.value), "the known ones are listed"


def test_a_comment_stays_a_comment() -> None:
    assert comment("tables/x%\n\\input{y}.toml") == r"% tables/x% \input{y}.toml"


def test_only_the_macros_in_use_are_defined() -> None:
    assert definitions(r"DeiT\distilled{}") == [rf"\providecommand{{\distilled}}{{{MACROS[chr(92) + 'distilled']}}}%"]
