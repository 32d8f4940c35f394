"""The result of a finished job: ``result.json``, written last, with a checksum of itself and of every artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from replicate.errors import StoreFault, Unreadable
from replicate.jobs.key import canonical
from replicate.store.files import parsed, sha256_of, write_json
from replicate.store.provenance import Provenance

SCHEMA = 1
RESULT = "result.json"
JOB = "job.json"
_STAMP = ".verified.json"


@dataclass(frozen=True, slots=True)
class Result:
    """A stored result.

    files: SHA-256 by name of artefact. summary: plain JSON that the engine returned. cost: wall and CPU seconds, peak
    memory in MB. provenance: commit, versions, machine.
    """

    key: str
    folder: Path
    summary: Mapping[str, Any]
    files: Mapping[str, str]
    cost: Mapping[str, float]
    provenance: Mapping[str, object]

    @property
    def made(self) -> Provenance:
        """The provenance, as far as it is read."""
        return Provenance.of(self.provenance)

    def path(self, name: str) -> Path:
        return self.folder / name


def commit_result(
    folder: Path,
    key: str,
    files: list[str],
    summary: Mapping[str, object],
    cost: Mapping[str, float],
    provenance: Mapping[str, object],
) -> None:
    """Hash ``files`` of ``folder``, then rename ``result.json`` into place: from then on the result exists."""
    stats = _stats(folder, sorted(files))
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
    _stamp(folder, stats)


def read_result(folder: Path, key: str) -> Result | None:
    """Return the result in ``folder``, None without one.

    Raises StoreFault for a damaged result, whose bytes are not those that were written, and Unreadable if reading
    failed: a network file system in trouble, changed rights, a folder in the place of a file. Artefacts are hashed
    again only if size or time of change differ from the last time they were intact.
    """
    data = _read(folder)
    while data is not None:
        try:
            return _result(folder, key, data)
        except StoreFault:
            # Another process may have moved the result away meanwhile, or put another in its place.
            before, data = data, _read(folder)
            if data == before:
                raise
    return None


def _read(folder: Path) -> bytes | None:
    try:
        return (folder / RESULT).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(folder / RESULT, error) from error


def _result(folder: Path, key: str, data: bytes) -> Result:
    try:
        body = parsed(data.decode())
        digest = body.pop("digest")
        intact = digest == sha256(canonical(body)).hexdigest()
    except UnicodeDecodeError as error:
        raise StoreFault(f"{key}/{RESULT}: not text ({error})") from error
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise StoreFault(f"{key}/{RESULT}: cut short or edited (its checksum does not fit)")
    if body.get("schema") != SCHEMA or body.get("key") != key:
        raise StoreFault(f"{key}/{RESULT}: is of schema {body.get('schema')} and key {body.get('key')}")
    if not _well_formed(body):
        raise StoreFault(f"{key}/{RESULT}: lacks a part, or has one of another kind")
    _check_files(folder, key, body["files"])
    return Result(key, folder, body["summary"], body["files"], body["cost"], body["provenance"])


def _well_formed(body: Mapping[str, Any]) -> bool:
    parts = [body.get(name) for name in ("summary", "files", "cost", "provenance")]
    if not all(isinstance(part, dict) for part in parts):
        return False
    costs = all(isinstance(number, int | float) for number in body["cost"].values())
    return costs and all(isinstance(digest, str) and _inside(name) for name, digest in body["files"].items())


def _inside(name: str) -> bool:
    """Whether an artefact of this name lies in the folder of its job."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _check_files(folder: Path, key: str, files: Mapping[str, str]) -> None:
    stats = _stats(folder, list(files))
    if stats == _read_stamp(folder):
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
    _stamp(folder, stats)


def _unreadable(path: Path, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path}: cannot be read: {error.strerror}\n"
        "  the result may be intact, so it was not recomputed; fix access to it or move its folder away, then retry"
    )


def _stats(folder: Path, names: list[str]) -> dict[str, list[int]] | None:
    try:
        stats = {name: (folder / name).stat() for name in names}
    except OSError:
        return None
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read_stamp(folder: Path) -> Any:
    try:
        return parsed((folder / _STAMP).read_bytes())
    except (OSError, ValueError):
        return "none"


def _stamp(folder: Path, stats: dict[str, list[int]] | None) -> None:
    """Note the ``stats`` of files that are intact, taken before they were hashed: a later change then differs."""
    # The stamp only saves time: a store on a read-only disk stays readable.
    try:
        write_json(folder / _STAMP, stats)
    except OSError:
        return
