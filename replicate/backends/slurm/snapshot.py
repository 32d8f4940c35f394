"""The code as it was when a job was submitted: jobs run a copy, so that editing here changes nothing that is queued."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from replicate.errors import StoreFault
from replicate.store.code import DIFF, PACKAGE, PARTS, ROOT, code_of, diff_of, digest_of, git
from replicate.store.provenance import OF_CODE, provenance


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``folder`` goes to the front of Python's path; ``made`` is what is recorded of the code of its results."""

    folder: Path
    made: dict[str, object]


def take(root: Path, shared: Path) -> Snapshot:
    """Copy the code of repository ``root`` to ``<shared>/code/<commit>-<digest of the files>``, once.

    What git ignores stays behind. Where ``root`` holds no package, the one that runs is copied. Beside uncommitted
    changes lies their diff.
    """
    root = root if (root / PACKAGE).is_dir() else ROOT
    code, recorded = code_of(root), provenance(root)
    made = {name: value for name, value in recorded.items() if name in OF_CODE}
    for _ in range(3):
        names = _files(root)
        digest = digest_of(root, names)
        folder = shared / "code" / f"{code.commit[:12]}-{digest[:12]}"
        if folder.is_dir():
            _check_trusted(folder)
            return Snapshot(folder, made)
        folder.parent.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix=".copying-", dir=folder.parent))
        for name in names:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        if changes := diff_of(root):
            (copy / DIFF).write_bytes(changes)
        if digest_of(copy, names) == digest:
            return Snapshot(_placed(copy, folder), made)
        # Somebody saved a file meanwhile.
        shutil.rmtree(copy, ignore_errors=True)
    raise OSError(f"{root}: its files change faster than they can be copied")


def planned(root: Path, shared: Path) -> Snapshot:
    """What `take` would make, without a copy."""
    root = root if (root / PACKAGE).is_dir() else ROOT
    digest = digest_of(root, _files(root))
    return Snapshot(shared / "code" / f"{code_of(root).commit[:12]}-{digest[:12]}", {})


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
    said = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS)
    names: Sequence[str] = [os.fsdecode(name) for name in (said or b"").split(b"\0") if name]
    if not names:
        every = (path for part in PARTS for path in (root / part).rglob("*"))
        names = [str(path.relative_to(root)) for path in every if "__pycache__" not in path.parts]
    return sorted({name for name in names if (root / name).is_file()})


def _check_trusted(folder: Path) -> None:
    """Raises StoreFault unless nobody but this user could have put code there."""
    now = folder.stat()
    if now.st_uid != os.getuid() or now.st_mode & 0o022:
        raise StoreFault(
            f"{folder} can be changed by others: its owner is {now.st_uid}, its mode {now.st_mode & 0o777:o}\n"
            "  jobs run the code in it: remove the folder, and it is copied again"
        )
