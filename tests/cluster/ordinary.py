"""An ordinary user of the testbed: what root sees and may do, others do not, and root is who runs these tests in CI."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from command_line import ROOT

from cluster.testbed import Testbed

NAME = "nobody"
"""Every machine has this user, and nothing has to be added to it."""
_LIBRARIES = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Ordinary:
    """``folder`` is this user's own on the testbed: home, checkout, and the shared folder of the profile."""

    testbed: Testbed
    folder: Path
    python: Path

    @property
    def profile(self) -> Path:
        return self.folder / "testbed.toml"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @cached_property
    def checkout(self) -> Path:
        """A copy of the repository's code that belongs to the user: this one may be closed to others."""
        copy = self.folder / "checkout"
        if (ROOT / ".git").exists():
            # Files of a table name the commit.
            subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, copy], check=True, timeout=60)
        left = shutil.ignore_patterns("__pycache__", "testbed.toml")
        for part in ("replicate", "tables", "slurm"):
            shutil.copytree(ROOT / part, copy / part, ignore=left, dirs_exist_ok=True)
        return self.own(copy)

    def own(self, folder: Path) -> Path:
        """Give ``folder`` and all in it to the user."""
        entry = pwd.getpwnam(NAME)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        return folder

    @property
    def prefix(self) -> list[str]:
        """Words before a command that make it this user's."""
        return _as_ordinary()

    def run(self, *command: str | Path, check: bool = True) -> str:
        """Standard output of a client that this user calls."""
        words = [*self.prefix, *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, env=self.environ, timeout=60, cwd="/")
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    @property
    def environ(self) -> dict[str, str]:
        return {**self.testbed.environ, "HOME": str(self.folder), "USER": NAME, "LOGNAME": NAME}


def _as_ordinary() -> list[str]:
    entry = pwd.getpwnam(NAME)
    return ["setpriv", f"--reuid={NAME}", f"--regid={grp.getgrgid(entry.pw_gid).gr_name}", "--init-groups", "--"]


def admit(testbed: Testbed) -> Ordinary:
    """Let the ordinary user submit to ``testbed``. Only root can."""
    python = startable(testbed.folder / "python")
    testbed.options += ["--user", NAME]
    testbed.python = python
    testbed.up()
    return Ordinary(testbed, testbed.folder / "users" / NAME, python)


def startable(folder: Path) -> Path:
    """This interpreter, or, where the user may not read it (a home folder of root), the same one in ``folder``.

    Hard links where they can be: an interpreter is 200 MB.
    """
    # Where it cannot reach its own library, the loader may find another version's.
    asked = [*_as_ordinary(), sys.executable, "-c", "import sys, numpy; print(sys.version)"]
    if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == sys.version:
        return Path(sys.executable)
    base, binary = Path(sys.base_prefix), Path(sys.executable).resolve()
    libraries = folder / "lib" / _LIBRARIES
    shutil.copytree(
        base / "lib" / _LIBRARIES,
        libraries,
        copy_function=_linked,
        ignore=lambda _, names: {"site-packages", "test", "__pycache__"} & set(names),
    )
    for library in (base / "lib").glob("libpython*.so*"):
        _linked(str(library), str(folder / "lib" / library.name))
    (folder / "bin").mkdir()
    _linked(str(binary), str(folder / "bin" / _LIBRARIES))
    (libraries / "site-packages").mkdir()
    packages = _site_packages()
    (libraries / "site-packages" / "borrowed.pth").write_text("".join(f"{path}\n" for path in packages))
    # Its own library is looked for where it was installed, which is closed.
    start = folder / "bin" / "python"
    start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={folder}/lib exec {folder}/bin/{_LIBRARIES} "$@"\n')
    start.chmod(0o755)
    _open(folder)
    return start


def _site_packages() -> Iterable[Path]:
    return [Path(path) for path in sys.path if Path(path).name == "site-packages"]


def _linked(source: str, target: str) -> object:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        return shutil.copy2(source, target)
    return target


def _open(folder: Path) -> None:
    for path in (folder.parent, folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o055 if path != folder.parent else 0o711)
