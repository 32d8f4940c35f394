"""The code as it was when a job was submitted: jobs run a copy, so that editing here changes nothing that is queued."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from replicate.errors import StoreFault
from replicate.store.provenance import provenance

PARTS = ("replicate", "tables")
"""What a result can depend on."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``folder`` goes to the front of Python's path; ``made`` is commit, dirty and the digest of the files."""

    folder: Path
    made: dict[str, object]


def take(root: Path, shared: Path) -> Snapshot:
    """Copy the code of repository ``root`` to ``<shared>/code/<commit>-<digest of the files>``, once.

    What git ignores stays behind. Outside a repository the package itself is copied, of commit ``unknown``.
    """
    root = root if (root / PARTS[0]).is_dir() else Path(__file__).resolve().parents[3]
    repository = provenance(root)
    commit = str(repository["commit"])
    for _ in range(3):
        names = _files(root)
        digest = _digest(root, names)
        folder = shared / "code" / f"{commit[:12]}-{digest[:12]}"
        made: dict[str, object] = {"commit": commit, "dirty": repository["dirty"], "code": digest[:12]}
        if folder.is_dir():
            _check_trusted(folder)
            return Snapshot(folder, made)
        folder.parent.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix=".copying-", dir=folder.parent))
        for name in names:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        if _digest(copy, names) == digest:
            return Snapshot(_placed(copy, folder), made)
        # Somebody saved a file meanwhile.
        shutil.rmtree(copy, ignore_errors=True)
    raise OSError(f"{root}: its files change faster than they can be copied")


def _placed(copy: Path, folder: Path) -> Path:
    # Nothing in it is ever written again; mkdtemp made it for the user alone.
    try:
        copy.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(copy, ignore_errors=True)
    return folder


def _files(root: Path) -> list[str]:
    """Tracked and new files under `PARTS` that exist, with forward slashes."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        names: Sequence[str] = [name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.SubprocessError):
        names = []
    if not names:
        every = (path for part in PARTS for path in (root / part).rglob("*"))
        names = [str(path.relative_to(root)) for path in every if "__pycache__" not in path.parts]
    return sorted({name for name in names if (root / name).is_file()})


def _digest(root: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        content = (root / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _check_trusted(folder: Path) -> None:
    """Raises StoreFault unless nobody but this user could have put code there."""
    now = folder.stat()
    if now.st_uid != os.getuid() or now.st_mode & 0o022:
        raise StoreFault(
            f"{folder}: code that jobs would run, got owner {now.st_uid} and mode {now.st_mode & 0o777:o}\n"
            "  others could have changed it: remove the folder, and it is copied again"
        )
