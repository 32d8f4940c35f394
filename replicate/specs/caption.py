"""A caption with the numbers of the scale it is printed at: ``{epochs.deit} epochs`` is 300 epochs, or 30.

Tables and figures have captions alike, so this stands in neither. A number of epochs, images or pixels that is written
out would be the paper's at every scale, and is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from replicate.errors import Fault, unknown_name
from replicate.specs.resolve import merged
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.sources import ImageData

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_WRITTEN_OUT = re.compile(r"\d[\d,]*[ -](epoch|image|pixel)s?\b")
NAMES = {
    "epochs": ("recipe", "{epochs.RECIPE}"),
    "images": ("data set", "{images.DATA}"),
    "pixels": ("resolution", "{pixels.224}"),
}
"""What a placeholder begins with: what it is followed by, and how it is written."""


def _epochs(value: object) -> int:
    # Of a recipe that is at fault itself: its place is named where recipes are checked.
    return value if isinstance(value, int) else 0


def filled(where: str, text: str, runs: RunsFile, scale: Scale, faults: list[Fault]) -> str:
    """``text`` with the number of each placeholder at ``scale``; what is wrong with it is added to ``faults``."""
    if out := _WRITTEN_OUT.search(text):
        what = f"'{out[0]}' is the paper's number at every scale"
        faults.append(Fault(where, what, (f"write the number as {NAMES[f'{out[1]}s'][1]}",)))
    known: dict[str, Mapping[str, int]] = {
        "epochs": {name: _epochs(merged(runs.layers(name, scale.recipes)).get("epochs")) for name in runs.recipes},
        "images": {name: data.train for name, data in scale.data.items() if isinstance(data, ImageData)},
        "pixels": scale.resolutions,
    }

    def number(placeholder: re.Match[str]) -> str:
        begin, _, name = placeholder[1].partition(".")
        missing = unknown_name(where, "placeholder", begin, known)
        missing = missing or unknown_name(where, NAMES[begin][0], name, known[begin])
        faults.extend(missing)
        return placeholder[0] if missing else f"{known[begin][name]:,}"

    return _PLACEHOLDER.sub(number, text)
