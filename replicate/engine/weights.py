"""Published weights in place of a training: the file of the release, checked and stored as a training's are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, build_opener

from replicate.engine import models
from replicate.engine.checkpoint import weights_bytes
from replicate.engine.run import Report, Stop
from replicate.engine.sources.imagefolder import root_folder
from replicate.errors import NotAvailable, UserError
from replicate.jobs.network import WEIGHTS
from replicate.jobs.weights import Weights
from replicate.specs.scale import DATA_ROOT, FOLDER, PublishedFile
from replicate.store.files import FULL, sha256_of, write_bytes

_SILENCE = 60.0
"""Seconds without a byte before a download is given up: a compute node's packets may lead nowhere."""


def run(job: Weights, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a weights job: ``model.safetensors``, the same tensors under the names of this timm.

    The file is ``$REPLICATE_DATA/weights/<file>``, else it is downloaded from its address, and not kept.
    Returns parameters, and the file's name and whole SHA-256.
    Errors: `NotAvailable` where there is no file and none comes; `UserError` for one with other digits than its name
    says, or of another network; `OSError` for a full disk.
    """
    wanted = PublishedFile.of(job.file)
    with _found(wanted, folder) as (path, source):
        digest = sha256_of(path)
        if not digest.startswith(wanted.sha256):
            raise UserError(
                f"{source} has the wrong SHA-256: {digest}, expected one that begins with {wanted.sha256}\n"
                "  it is another file, or half of it: fetch it again"
            )
        network = models.published(job.model, job.size, job.data.classes, path)
    write_bytes(folder / WEIGHTS["last"], weights_bytes(network.state_dict()))
    return {"parameters": models.parameter_count(network), "file": wanted.file, "sha256": digest}


@contextmanager
def _found(wanted: PublishedFile, folder: Path) -> Iterator[tuple[Path, str]]:
    """The file, and what people know it by."""
    local = root_folder() / FOLDER / wanted.file if os.environ.get(DATA_ROOT) or not wanted.url else None
    if local is not None and local.is_file():
        yield local, str(local)
        return
    if not wanted.url:
        raise NotAvailable(f"{local} is missing: the published weights '{wanted.file}'\n  put the file there")
    # Hidden, so that it is no artefact of the job if something ends the process here.
    loaded = folder / f".{wanted.file}"
    try:
        _download(wanted.url, loaded)
        yield loaded, wanted.url
    finally:
        loaded.unlink(missing_ok=True)


def _download(url: str, to: Path) -> None:
    # An opener of its own: the one that urlopen keeps goes on with the proxies, and from Python 3.12 on with the
    # certificates, that the environment named at the first request of the process.
    request = Request(url, headers={"User-Agent": "deit-replicate"})  # some servers refuse urllib's own name
    try:
        with build_opener().open(request, timeout=_SILENCE) as answer, to.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise NotAvailable(
            f"{url}: cannot be downloaded from here ({error})\n"
            f"  fetch it where there is a network, and put it under ${DATA_ROOT}/{FOLDER}"
        ) from error
