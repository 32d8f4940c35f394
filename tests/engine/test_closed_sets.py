"""Whatever the type checker does not see: a member of a closed set that some code forgets is refused, not guessed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from command_line import ROOT

CHANGES = {
    "method": ('"hard", "label"', '"hard", "label", "mse"', "losses.py"),
    "reduction": ('"mean", "batchmean"', '"mean", "batchmean", "sum"', "losses.py"),
    "optimizer": ('"adamw", "sgd"', '"adamw", "sgd", "lion"', "optim.py"),
    "precision": ('"fp16", "bf16"', '"fp16", "bf16", "fp8"', "models.py"),
}
"""A new member of each set in specs/recipe.py, and the file of the engine that has to learn it."""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says where all the sets have got a member."""
    pytest.importorskip("mypy")
    copy = tmp_path_factory.mktemp("closed")
    shutil.copytree(ROOT / "replicate", copy / "replicate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    recipe = copy / "replicate" / "specs" / "recipe.py"
    text = recipe.read_text()
    for old, new, _ in CHANGES.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    recipe.write_text(text)
    files = [f"replicate/engine/{name}" for name in ("losses.py", "optim.py", "models.py")]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--follow-imports=silent", *files]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.torch
@pytest.mark.parametrize("name", CHANGES)
def test_a_new_member_is_a_type_error_where_it_is_forgotten(name: str, errors: str) -> None:
    _, new, file = CHANGES[name]
    member = new.rpartition(" ")[2].strip('"')
    told = [line for line in errors.splitlines() if line.startswith(f"replicate/engine/{file}") and member in line]
    assert any("Never" in line for line in told), errors


@pytest.mark.torch
def test_an_unknown_method_never_trains_as_another_one() -> None:
    """Of a value that the type checker never saw."""
    import torch

    from replicate.engine.losses import loss
    from replicate.specs.recipe import Distillation

    how = Distillation.model_construct(method="mse", token=False, weight=0.5, tau=1.0, reduction="batchmean")
    logits = torch.zeros(2, 3)
    with pytest.raises(AssertionError, match="mse"):
        loss({"class": logits}, torch.full((2, 3), 1 / 3), logits, how)
