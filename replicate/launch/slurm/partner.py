"""The processes of a training that runs in several: who they are, and what those do that do not lead it."""

from __future__ import annotations

import os
import signal
import socket

from replicate.launch import worker
from replicate.plan.job import Job


def follow(root: str, job: Job) -> None:
    """Take part in a training that another process leads; nothing is written."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    name_processes()
    worker.take_part(root, job)


def name_processes() -> None:
    """What torch.distributed reads from the environment, as submitit works it out from Slurm's."""
    from submitit.helpers import TorchDistributedEnvironment

    found = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if found.local_world_size == found.world_size:
        # One node needs no name, and nothing of it listens to the network.
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    elif not _resolves(found.master_addr):
        # Slurm may call a node what no resolver knows (NodeAddr). The batch script, and with it srun, runs on the
        # first node; without an address torch would try for 20 minutes of every GPU.
        os.environ["MASTER_ADDR"] = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", found.master_addr)
    devices = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if len(devices) == found.local_world_size:
        # Each process sees its own GPU only; where Slurm has bound them (gpus_per_task) there is one already.
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[found.local_rank]


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def world() -> int:
    return int(os.environ.get("SLURM_NTASKS", "1"))
