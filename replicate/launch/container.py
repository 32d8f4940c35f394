"""How Python is started on a node: as it is, or inside the profile's container."""

from __future__ import annotations

import shlex

from replicate.launch.profile import Profile


def python_command(profile: Profile) -> str:
    """The interpreter, quoted for a shell; with apptainer, the command that starts it inside the image."""
    python = shlex.quote(profile.python)
    box = profile.container
    if box is None or box.runtime == "pyxis":
        return python
    mounts = " ".join(f"--bind {shlex.quote(path)}" for path in _mounted(profile))
    return f"apptainer exec --nv {mounts} {shlex.quote(box.image)} {python}"


def srun_arguments(profile: Profile) -> list[str]:
    """Arguments of srun, not yet quoted: the profile's own, and pyxis' where it is the runtime."""
    box = profile.container
    inside: list[str] = []
    if box is not None and box.runtime == "pyxis":
        mounts = ",".join(f"{path}:{path}" for path in _mounted(profile))
        inside = [f"--container-image={box.image}", f"--container-mounts={mounts}"]
    return [*inside, *profile.srun_args]


def _mounted(profile: Profile) -> list[str]:
    return [profile.paths.shared, *([profile.paths.data] if profile.paths.data else [])]
