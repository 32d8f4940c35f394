"""Which profile is used, if any. The models of a profile are imported only where one is: they take 15 ms."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.errors import Fault, SpecError, UnknownName, UserError
from replicate.specs import toml_files
from replicate.specs.file import read_toml, shown_path

if TYPE_CHECKING:
    from replicate.backends.slurm.profile import Profile

VARIABLE = "REPLICATE_CLUSTER"
LOCAL = "local"
"""The name that asks for this machine where a variable or a match would have chosen a cluster."""


def find_profile(name: str | None, folder: Path, environ: Mapping[str, str], hostname: str) -> Profile | None:
    """The profile to use, None for this machine: by name, else REPLICATE_CLUSTER, else [match], else none.

    A name with a slash is the path of a file. Raises UnknownName, SpecError, or UserError where two profiles match.
    """
    path = _chosen(name, folder, environ, hostname)
    if path is None:
        return None
    from replicate.backends.slurm.profile import load_profile

    return load_profile(path)


def _chosen(name: str | None, folder: Path, environ: Mapping[str, str], hostname: str) -> Path | None:
    paths = {path.stem: path for path in toml_files(folder)}
    name = name or environ.get(VARIABLE) or None
    if name == LOCAL:
        return None
    if name is not None and "/" in name:
        if not Path(name).is_file():
            raise UserError(f"--cluster names no file: '{name}'\n  a name without a slash is slurm/NAME.toml")
        return Path(name)
    if name is not None:
        if name not in paths:
            raise UnknownName("cluster", name, [*paths, LOCAL])
        return paths[name]
    cluster = environ.get("SLURM_CLUSTER_NAME", "")
    # A folder is no profile. Where one was asked for by this name, it is said above.
    fitting = [path for path in paths.values() if not path.is_dir() and _matches(path, hostname, cluster)]
    if len(fitting) > 1:
        raise UserError(
            f"{', '.join(shown_path(path) for path in fitting)}: match: more than one profile fits {hostname}\n"
            "  name one with --cluster NAME, or this machine with --cluster local"
        )
    return fitting[0] if fitting else None


def _matches(path: Path, hostname: str, cluster: str) -> bool:
    # A file that cannot be read is an error here too: going on locally would train on a login node.
    faults: list[Fault] = []
    raw = read_toml(path, faults)
    if raw is None:
        raise SpecError(faults)
    match = raw.get("match")
    if not isinstance(match, dict):
        return False
    globs, clusters = match.get("hostnames"), match.get("clusters")
    by_host = isinstance(globs, list) and any(isinstance(glob, str) and fnmatchcase(hostname, glob) for glob in globs)
    return by_host or (bool(cluster) and isinstance(clusters, list) and cluster in clusters)
