"""Draws what a command prints on a terminal, from standard input, as an SVG on standard output: see `make picture`."""

from __future__ import annotations

import re
import sys
from io import StringIO

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

COLUMNS = 112

console = Console(record=True, width=COLUMNS, file=StringIO())
console.print(Text.from_ansi(sys.stdin.read().rstrip()))
svg = console.export_svg(title=sys.argv[1], theme=DEFAULT_TERMINAL_THEME, unique_id="demo")
# No font from a network: a page that shows the picture should load nothing else.
sys.stdout.write(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
