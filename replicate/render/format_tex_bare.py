"""The tabular of a table and nothing else, for authors who set banner, legend and notes themselves.

Those stand in the file as comment lines. It is written where ``tex-bare`` is asked for by name.
"""

from __future__ import annotations

from replicate.render import format_tex
from replicate.render.formats import Format

FORMAT = Format("-bare.tex", format_tex.bare)
