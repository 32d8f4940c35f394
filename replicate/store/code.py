"""The identity of the code: a digest of the package's own files, and beside it what git says of them.

The digest is there wherever the code is: in a checkout, an unpacked release or an installed package. A commit counts
only where the work tree is the folder that holds the package and the package is tracked in it: an enclosing repository
(of a thesis, or of whoever calls this from a git hook) answers for its own files, not for these.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "replicate"
PARTS = (PACKAGE, "tables")
"""What a result can depend on."""
ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package that runs."""
UNKNOWN = "unknown"
DIFF = "code.diff"
"""In the folder of a job: what its code had beyond the commit."""
LARGEST_DIFF = 1_000_000
"""Bytes of it that are kept."""

_PATIENCE = 60.0
"""Seconds for an answer of git: on a network file system, a first ``git status`` takes more than ten."""


@dataclass(frozen=True, slots=True)
class Code:
    """digest: SHA-256 of the package's files. dirty: whether code or specs differ from ``commit``; None is unknown."""

    digest: str
    commit: str = UNKNOWN
    dirty: bool | None = None


@cache
def code_of(root: Path = ROOT) -> Code:
    """Return the identity of the package in the folder ``root``, as it was when this process first asked."""
    digest = digest_of(root, _package_files(root))
    said = git(root, "rev-parse", "--show-toplevel", "HEAD")
    top, _, commit = (said or b"").decode(errors="replace").strip().rpartition("\n")
    if not top or Path(top).resolve() != root.resolve() or not git(root, "ls-files", "--", f"{PACKAGE}/__init__.py"):
        return Code(digest)
    # The user may have told git to show no new files; a new module is a change all the same.
    changes = git(root, "status", "--porcelain", "--untracked-files=all", "--", *PARTS)
    return Code(digest, commit, None if changes is None else bool(changes))


@cache
def diff_of(root: Path = ROOT) -> bytes:
    """Return what the code and specs in ``root`` have beyond their commit, new files included, as a patch.

    It is empty where nothing is known to be changed, and ends after `LARGEST_DIFF` bytes with a line that says so.
    """
    if not code_of(root).dirty:
        return b""
    how = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--binary")
    found = git(root, *how, "HEAD", "--", *PARTS) or b""
    for name in (git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *PARTS) or b"").split(b"\0"):
        if name and len(found) <= LARGEST_DIFF:
            # Its exit code is 1 where there is a difference, as there always is.
            found += git(root, *how, "--no-index", "--", os.devnull, os.fsdecode(name), codes=(0, 1)) or b""
    if len(found) <= LARGEST_DIFF:
        return found
    return found[:LARGEST_DIFF] + f"\n# cut here: only the first {LARGEST_DIFF} bytes are kept\n".encode()


def digest_of(root: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of the names and contents of files in ``root``."""
    digest = hashlib.sha256()
    for name in names:
        content = (root / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _package_files(root: Path) -> list[str]:
    """What the package ships: modules, templates and its mark for type checkers. With forward slashes, sorted."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in (root / PACKAGE).rglob("[!.]*")
        if (path.suffix == ".py" or path.parent.name == "templates" or path.name == "py.typed") and path.is_file()
    )


def git(root: Path, *arguments: str, codes: Collection[int] = (0,)) -> bytes | None:
    """Return what git prints in ``root``, None where it fails or does not answer.

    GIT_DIR and its kin, which a hook of any repository sets, would win over the folder.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode in codes else None
