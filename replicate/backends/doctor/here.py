"""What `doctor` says of this machine, without a cluster: its GPUs, whether torch computes, who can share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from replicate.backends import devices
from replicate.backends.doctor import probe
from replicate.backends.doctor.files import Finding, fail, ok, warn
from replicate.jobs.job import Job
from replicate.specs.scale import Scale
from replicate.text import plural


def examine(
    scale: Scale, jobs: Sequence[Job], asked: Sequence[str] = (), import_torch: bool = True
) -> Iterator[Finding]:
    """One finding for each thing that jobs of ``scale`` need here. asked: the GPUs that were asked for.

    Raises UserError where one of those is not there.
    """
    used = [name for name in devices.for_jobs(scale, asked) if name != devices.NO_GPU]
    needed = devices.need_gpu(jobs)
    for gpu in devices.gpus():
        yield ok("GPU", str(gpu))
    if used:
        yield ok("GPUs of jobs", f"{devices.named(used)}: one a job, and several a training where some would idle")
    elif needed:
        what = f"none, and {plural(len(needed), 'training')} of scale '{scale.id}' cannot run on a CPU"
        yield fail("GPUs of jobs", what, "train on a cluster with --cluster NAME, or use --scale mini")
    else:
        yield ok("GPUs of jobs", f"none: one process a core, {plural(devices.cores(), 'core')}")
    if import_torch:
        yield _torch(bool(used))
    if len(used) > 1:
        yield from _sharing(jobs, len(used))


def _torch(gpu: bool) -> Finding:
    """Whether torch is there and computes on what jobs use: in a process of its own, which CUDA may end."""
    torch = probe.torch_here(gpu)
    if torch.error:
        return fail("torch", f"cannot be imported: {torch.error}", "`make demo` creates an environment that trains")
    build = f"torch {torch.version} ({f'CUDA {torch.cuda}' if torch.cuda else 'without CUDA'})"
    if torch.gpu_error:
        return fail("torch", f"{build} computes on no GPU: {torch.gpu_error}", "install a torch for this driver")
    return ok("torch", f"{build} computed on {torch.gpu}" if torch.gpu else f"{build} is imported")


def _sharing(jobs: Sequence[Job], gpus: int) -> Iterator[Finding]:
    """How many GPUs trainings can spread over, by their batches."""
    most = Counter(job.process_counts(gpus)[-1] for job in jobs if job.shared)
    for count, trainings in sorted(most.items(), reverse=True):
        what = f"{plural(trainings, 'training')} can spread over {plural(count, 'GPU')} of {gpus}"
        yield ok("sharing", what) if count > 1 else warn("sharing", what, "their batch does not divide, or has dropout")
