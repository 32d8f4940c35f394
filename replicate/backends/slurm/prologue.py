"""What a batch script does before it starts Python: it makes the environment of the job, then runs ``setup``.

The environment is the profile's. ``--export-file`` hands Slurm an empty one in place of the submitter's, so that a job
of a night (cron has nearly nothing) and one submitted by hand are alike, and no REPLICATE_*, LD_LIBRARY_PATH or
MASTER_PORT of a login shell comes along. ``--export=NONE`` would not do: in Slurm 22.05 every form of it but ALL runs a
login shell of the user for each job (``--get-user-env``), which needs a slurmd that runs as root, and brings along what
that shell sets.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from replicate.backends.slurm.profile import Profile

NO_EXPORTS = "/dev/null"
"""For sbatch's ``--export-file``: no variable of the submitter's."""
KIND, DOCTOR = "REPLICATE_KIND", "doctor"
"""The variable that tells setup which kind of job it is for, and its value in the doctor's small job."""
SETUP_FAILED = 79
"""Exit code of a script one of whose setup lines failed; see `replicate.backends.worker.Outcome` for the others."""
SETUP = "setup"
"""The class of such a failure, as `retry --class` takes it."""
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")


def prologue(profile: Profile, kind: str, note: str, environ: Mapping[str, str]) -> list[str]:
    """Lines of bash. ``note``: the file, quoted for a shell, that says which line of ``setup`` failed.

    kind: of job, or `DOCTOR`; a setup line that is for some kinds only finds it in `KIND`.

    environ: where ``pass_environment`` is read, and the folder of Slurm's programs is found. Setup comes last, so what
    a line of it exports holds: one that copies the images to a disk of the node may set REPLICATE_DATA to the copy.
    """
    lines = [
        "umask 027" if profile.group else "umask 077",
        '[ -n "${HOME:-}" ] || export HOME=~',
        'export USER="$(id -un)" LOGNAME="$(id -un)" LANG=C.UTF-8',
        # Without an environment bash has a PATH of its own, which it does not export.
        f"printenv PATH >/dev/null || export PATH={shlex.quote(':'.join(_path(environ)))}",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports(profile, kind, environ).items()),
    ]
    if profile.setup:
        lines += [
            "setup_line=",
            "setup_ended() {",
            "  setup_code=$?",
            '  [ -z "$setup_line" ] && return',
            "  echo \"setup line '$setup_line' failed (exit code $setup_code); Python is not started\" >&2",
            f'  printf \'%s\\n\' "$setup_code" "$setup_line" >{note}',
            f"  trap - EXIT; exit {SETUP_FAILED}",
            "}",
            # Also for a line that ends the shell.
            "trap setup_ended EXIT",
            f"rm -f {note}",
        ]
    for line in profile.setup:
        lines += [f"setup_line={shlex.quote(line)}", 'echo "+ $setup_line"', 'eval "$setup_line" || setup_ended']
    return [*lines, *(["setup_line="] if profile.setup else [])]


def exports(profile: Profile, kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a job's environment has by the profile."""
    passed = {name: environ[name] for name in profile.pass_environment if name in environ}
    data = {"REPLICATE_DATA": profile.paths.data} if profile.paths.data else {}
    return {"PYTHONDONTWRITEBYTECODE": "1", **data, **passed, **profile.environment, KIND: kind}


def _path(environ: Mapping[str, str]) -> Sequence[str]:
    """The usual places, after that of Slurm's programs where it is another one, as with ``/opt/slurm/bin``."""
    srun = shutil.which("srun", path=environ.get("PATH", os.defpath))
    folder = str(Path(srun).parent) if srun else _PLACES[0]
    return _PLACES if folder in _PLACES else (folder, *_PLACES)


def note_of(folder: Path, index: int | str) -> Path:
    """Where the script of element ``index`` of the submission in ``folder`` says that its setup failed."""
    return folder / f"setup-failed-{index}"


@dataclass(frozen=True, slots=True)
class SetupFailure:
    """A line of ``setup`` that failed on a node; by default one that only the log names."""

    line: str = ""
    code: int = SETUP_FAILED

    @classmethod
    def read(cls, note: Path) -> SetupFailure | None:
        """None where there is no such note."""
        with suppress(OSError, ValueError):
            code, _, line = note.read_text(encoding="utf-8", errors="replace").partition("\n")
            return cls(line.strip(), int(code))
        return None

    @property
    def what(self) -> str:
        if not self.line:
            return "a line of setup failed, and the job's log says which one"
        return f"setup line '{self.line}' failed (exit code {self.code})"

    @property
    def help(self) -> str:
        if self.code == 127 and self.line.split()[:1] in (["module"], ["ml"]):
            return (
                "batch shells have no module command: write 'source /etc/profile.d/modules.sh' (or lmod.sh) before it"
            )
        return "correct setup in the profile"
