"""What a finished job left behind: ``result.json``, written last, with a checksum of itself and of every file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from replicate.errors import StoreFault, Unreadable
from replicate.store.files import canonical, sha256_of, write_json

SCHEMA = 1
RESULT = "result.json"
JOB = "job.json"
_STAMP = ".verified.json"


@dataclass(frozen=True, slots=True)
class Result:
    """``files`` maps the name of an artefact to its sha256. ``summary`` is what the engine said of the job.

    ``cost``: wall and CPU seconds, peak memory in MB. ``provenance``: commit, versions, machine.
    """

    key: str
    folder: Path
    summary: Mapping[str, Any]
    files: Mapping[str, str]
    cost: Mapping[str, float]
    provenance: Mapping[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / name


def commit_result(
    folder: Path,
    key: str,
    files: list[str],
    summary: Mapping[str, Any],
    cost: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> None:
    """Make the result of ``key`` exist: hash ``files`` of ``folder`` and rename ``result.json`` into place."""
    hashes = {name: sha256_of(folder / name) for name in sorted(files)}
    body = {
        "schema": SCHEMA,
        "key": key,
        "summary": dict(summary),
        "files": hashes,
        "cost": dict(cost),
        "provenance": dict(provenance),
    }
    write_json(folder / RESULT, body | {"digest": sha256(canonical(body)).hexdigest()})
    _stamp(folder, list(hashes))


def read_result(folder: Path, key: str) -> Result | None:
    """The result in ``folder``; None where there is none. Raises StoreFault where it is damaged.

    Damaged is only what was read and is not what was written. Raises Unreadable where reading itself failed: a network
    file system that stumbles, rights that were changed, a folder in the place of a file.
    Files are hashed again only when their size or time of change differ from when they last were found intact.
    """
    try:
        text = (folder / RESULT).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(folder / RESULT, error) from error
    except UnicodeDecodeError as error:
        raise StoreFault(f"{key}/{RESULT}: is no text ({error})") from error
    try:
        body = json.loads(text)
        digest = body.pop("digest")
        intact = digest == sha256(canonical(body)).hexdigest()
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise StoreFault(f"{key}/{RESULT}: cut short or edited (its checksum does not fit)")
    if body["schema"] != SCHEMA or body["key"] != key:
        raise StoreFault(f"{key}/{RESULT}: is of schema {body['schema']} and key {body['key']}")
    _check_files(folder, key, body["files"])
    return Result(key, folder, body["summary"], body["files"], body["cost"], body["provenance"])


def _check_files(folder: Path, key: str, files: Mapping[str, str]) -> None:
    if _stats(folder, list(files)) == _read_stamp(folder):
        return
    for name, digest in files.items():
        try:
            found = sha256_of(folder / name)
        except FileNotFoundError as error:
            raise StoreFault(f"{key}/{name}: missing") from error
        except OSError as error:
            raise _unreadable(folder / name, error) from error
        if found != digest:
            raise StoreFault(f"{key}/{name}: cut short or edited (its checksum does not fit)")
    _stamp(folder, list(files))


def _unreadable(path: Path, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path}: cannot be read, got '{error.strerror}'\n"
        "  it may be whole, so nothing was redone: see to it (or move its folder away), then try again"
    )


def _stats(folder: Path, names: list[str]) -> dict[str, list[int]] | None:
    try:
        stats = {name: (folder / name).stat() for name in names}
    except OSError:
        return None
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read_stamp(folder: Path) -> Any:
    try:
        return json.loads((folder / _STAMP).read_text())
    except (OSError, ValueError):
        return "none"


def _stamp(folder: Path, names: list[str]) -> None:
    # Only saves time: a store that cannot be written to is still readable.
    try:
        write_json(folder / _STAMP, _stats(folder, names))
    except OSError:
        return
