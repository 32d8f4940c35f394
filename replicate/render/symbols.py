"""Unicode text as TeX: what can be printed is mapped here, everything else is refused by name.

``escape`` is one to one, so what pdflatex typesets can be read back to the text. Neighbours that TeX would
join (``--``, ``''``) are kept apart with ``{}``. Nothing here needs more than amssymb: the symbols come from
the math fonts, because the text companion fonts (TS1) are bitmaps on a Debian TeX without cm-super.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from replicate.errors import UserError
from replicate.text import named

MACROS: Mapping[str, str] = {
    r"\distilled": (
        r"{\unitlength=.1em\begin{picture}(7,7.4)(-.4,.3)\linethickness{.04em}"
        r"\put(2.1,7.2){\line(1,0){2.2}}\put(2.5,4.8){\line(0,1){2.4}}\put(3.9,4.8){\line(0,1){2.4}}"
        r"\qbezier(2.5,4.8)(1.45,2.8)(.4,.8)\qbezier(3.9,4.8)(4.95,2.8)(6,.8)"
        r"\put(.3,.8){\line(1,0){5.8}}\put(1.5,2.6){\line(1,0){3.4}}\end{picture}}"
    ),
    r"\xmark": r"\ensuremath{\times}",
}
"""Emitted with ``\\providecommand`` where used, so that an author's own icon wins over this flask."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\ensuremath{\mathdollar}",  # \$ is a bitmap here
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\`{}",
    '"': r"\texttt{\char34}",  # the roman fonts have no straight quote
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": r"\textquoteright{}",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{THIN SPACE}": r"\,",
    "⚗": r"\distilled{}",
    "✗": r"\xmark{}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ł": r"\l{}",
}

_MATH = {
    "✓": r"\checkmark",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "×": r"\times",
    "÷": r"\div",
    "±": r"\pm",
    "−": "-",
    "·": r"\cdot",
    "•": r"\bullet",
    "°": r"^{\circ}",
    "≥": r"\geq",
    "≤": r"\leq",
    "≈": r"\approx",
    "≠": r"\neq",
    "≡": r"\equiv",
    "∈": r"\in",
    "∞": r"\infty",
    "√": r"\surd",
    "∑": r"\sum",
    "∆": r"\triangle",
    "†": r"\dagger",
    "‡": r"\ddagger",
    "§": r"\mathsection",
    "¶": r"\mathparagraph",
    "○": r"\circ",
    "◐": r"\circleddash",
    "●": r"\bigstar",
    "⚠": r"\blacktriangle",
    "¹": "^{1}",
    "²": "^{2}",
    "³": "^{3}",
    "ε": r"\varepsilon",
    "φ": r"\varphi",
    "ς": r"\varsigma",
    "µ": r"\mathrm{\mu}",  # MICRO SIGN; the Greek letter is below
}

_GREEK_NAMES = (
    "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon chi psi omega"
    " Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_GREEK = {
    letter: f"\\{name}" for letter, name in zip("αβγδζηθικλμνξπρστυχψωΓΔΘΛΞΠΣΥΦΨΩ", _GREEK_NAMES.split(), strict=True)
}

_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": ("`", "aeiouAEIOU"),
    "\N{COMBINING ACUTE ACCENT}": ("'", "aceinosuyzACEINOSUYZ"),
    "\N{COMBINING CIRCUMFLEX ACCENT}": ("^", "aeiouAEIOU"),
    "\N{COMBINING TILDE}": ("~", "anoANO"),
    "\N{COMBINING DIAERESIS}": ('"', "aeiouyAEIOU"),
    "\N{COMBINING RING ABOVE}": ("r", "auAU"),
    "\N{COMBINING CEDILLA}": ("c", "csCS"),
    "\N{COMBINING CARON}": ("v", "cenrszCENRSZ"),
}


def _accented() -> dict[str, str]:
    return {
        unicodedata.normalize("NFC", base + mark): f"\\{accent}{{{chr(92) + 'i' if base == 'i' else base}}}"
        for mark, (accent, bases) in _ACCENTS.items()
        for base in bases
    }


SYMBOLS: Mapping[str, str] = {
    **{chr(code): chr(code) for code in range(0x20, 0x7F)},
    **_accented(),
    **{letter: rf"\ensuremath{{{tex}}}" for letter, tex in (_MATH | _GREEK).items()},
    **_SPECIAL,
}
"""Every character that may stand in a table, with its TeX."""

_JOINED = frozenset({"--", "''", "``", "?`", "!`", ",,"})


def escape(text: str, where: str) -> str:
    """``text`` as TeX; ``where`` names its place in the error for characters that are not in ``SYMBOLS``."""
    unknown = list(dict.fromkeys(character for character in text if character not in SYMBOLS))
    if unknown:
        raise UserError(_refusal(unknown, where))
    parts: list[str] = []
    for character in text:
        tex = SYMBOLS[character]
        last = parts[-1] if parts else ""
        if last[-1:] + tex[:1] in _JOINED:
            parts.append("{}")
        elif character == " " and last in ("", " ", r"\ "):
            tex = r"\ "  # TeX drops a leading space and joins two
        parts.append(tex)
    if parts[-1:] == [" "]:
        parts[-1] = r"\ "
    # After \\ or a rule, [ and * would be read as its optional argument.
    guard = "{}" if text[:1] in ("[", "*") else ""
    return guard + "".join(parts)


def definitions(tex: str) -> list[str]:
    """The ``\\providecommand`` lines that ``tex`` needs."""
    return [rf"\providecommand{{{name}}}{{{body}}}%" for name, body in MACROS.items() if name in tex]


def comment(text: str) -> str:
    """``text`` as one TeX comment line: it cannot leave the comment, and stays readable."""
    return f"% {' '.join(text.split())}".rstrip()


def _refusal(unknown: Iterable[str], where: str) -> str:
    printable = "".join(sorted(c for c in SYMBOLS if not c.isascii() and c.isprintable()))
    return (
        f"{where}: LaTeX cannot print {', '.join(map(named, unknown))}\n"
        f"  beyond ASCII it can print: {printable}\n"
        "  write it in words, or map it in replicate/render/symbols.py"
    )
