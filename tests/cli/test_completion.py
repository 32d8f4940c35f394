"""Completion as bash does it: the script is sourced, and asked with the words typed so far."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, environment, missing

ASK = """
{script}
COMP_WORDS=({words} "{last}")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_deit_replicate_completion deit-replicate
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def bash(script: str) -> str:
    found = shutil.which("bash")
    if found is None:
        missing("bash is not installed")
    environ = environment()
    path = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        [str(found), "-c", script], cwd=ROOT, env=environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def script() -> str:
    return bash("deit-replicate completion bash")


def complete(script: str, words: str, last: str) -> list[str]:
    return bash(ASK.format(script=script, words=words, last=last)).split()


@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        ("deit-replicate table --id", "distillation", ["distillation_ablation"]),
        ("deit-replicate st", "st", ["status"]),
        ("deit-replicate", "exp", ["explain"]),
        ("deit-replicate table --scale", "pa", ["paper"]),
        ("deit-replicate explain distillation_ablation", "token_b", ["token_both"]),
        ("deit-replicate explain distillation_ablation hard", "b_3", ["b_384"]),
        ("deit-replicate completion", "b", ["bash"]),
        ("deit-replicate table", "--no", ["--no-run", "--no-train"]),
    ],
)
def test_completion(script: str, words: str, last: str, expected: list[str]) -> None:
    assert complete(script, words.removesuffix(" st"), last) == expected


def test_tables_are_offered_and_runs_are_not(script: str) -> None:
    offered = complete(script, "deit-replicate table --id", "")
    assert "distillation_ablation" in offered
    assert "runs" not in offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell: str) -> None:
    command = [sys.executable, "-m", "replicate", "completion", shell]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "_DEIT_REPLICATE_COMPLETE" in done.stdout
