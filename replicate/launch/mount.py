"""What kind of file system a folder lies on."""

from __future__ import annotations

import re
from pathlib import Path


def file_system(folder: Path) -> str:
    """Type of the file system (``nfs4``, ``ext4``, ``tmpfs``) that holds ``folder`` or will; empty where unknown.

    Read from /proc/self/mountinfo, so it is empty on systems without one.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split()[4]))
        # Of two mounts on one point the later hides the earlier.
        if (real == point or point in real.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
