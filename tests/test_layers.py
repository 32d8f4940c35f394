"""The order of the layers, read from the imports; and that whoever only looks needs neither torch nor submitit."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import ROOT, TABLE, Call, copied_tables, environment

LAYERS = (
    "metrics", "specs", "jobs", "plan", "store", "engine", "backends", "judge", "render", "figures", "site", "actions",
    "nightly", "cli",
)  # fmt: skip

UPWARDS = {}

HEAVY = {"torch", "torchvision", "timm", "safetensors", "PIL", "sklearn"}
HEAVY_AT = ("engine",)
HEAVY_INSIDE_FUNCTIONS = ("backends/worker.py",)


class Import(NamedTuple):
    file: str
    line: int
    module: str
    at_top: bool


@cache
def imports() -> tuple[Import, ...]:
    package = ROOT / "replicate"
    return tuple(
        found
        for path in sorted(package.rglob("*.py"))
        for found in _imports(ast.parse(path.read_text()), path.relative_to(package).as_posix(), at_top=True)
    )


def _imports(node: ast.AST, file: str, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, at_top)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}:{child.lineno}: imports are absolute here"
            assert child.module is not None
            for alias in child.names:
                inner = Path(ROOT, *child.module.split("."), f"{alias.name}.py").exists()
                yield Import(file, child.lineno, f"{child.module}.{alias.name}" if inner else child.module, at_top)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, file, at_top and not inside)


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "replicate" and len(parts) > 1 and parts[1] in LAYERS else None


def test_imports_go_one_way_along_the_layers() -> None:
    found = imports()
    assert len(found) > 100
    wrong = []
    for one in found:
        here, there = one.file.split("/")[0], layer_of(one.module)
        if here not in LAYERS or there is None or (here, one.module) in UPWARDS:
            continue
        if LAYERS.index(there) > LAYERS.index(here):
            wrong.append(f"replicate/{one.file}:{one.line} imports {one.module}")
    assert not wrong, "\n".join(wrong)


def test_every_folder_of_the_package_is_a_layer() -> None:
    folders = {path.name for path in (ROOT / "replicate").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(LAYERS)


def test_torch_and_its_kin_are_imported_by_the_engine_only() -> None:
    wrong = [
        f"replicate/{one.file}:{one.line} imports {one.module}"
        for one in imports()
        if one.module.split(".")[0] in HEAVY and one.file.split("/")[0] not in HEAVY_AT
    ]
    assert not wrong, "\n".join(wrong)


def test_the_engine_is_imported_inside_functions_of_the_worker_only() -> None:
    wrong = [
        f"replicate/{one.file}:{one.line} imports {one.module}"
        for one in imports()
        if layer_of(one.module) == "engine"
        and one.file.split("/")[0] != "engine"
        and (one.at_top or one.file not in HEAVY_INSIDE_FUNCTIONS)
    ]
    assert not wrong, "\n".join(wrong)


def test_submitit_is_imported_by_backends_only() -> None:
    wrong = [
        one for one in imports() if one.module.split(".")[0] == "submitit" and not one.file.startswith("backends/")
    ]
    assert not wrong


BLOCKED = """
import sys
for name in ("torch", "torchvision", "timm", "submitit", "safetensors", "sklearn"):
    sys.modules[name] = None
"""

LOOKING = {
    "plan": ("plan", "--id", TABLE),
    "status": ("status", "--id", TABLE),
    "table --no-run": ("table", "--id", TABLE, "--no-run"),
    "a table that is complete": ("table", "--id", TABLE),
    "list": ("list",),
    "report": ("report",),
    "check": ("check",),
    "explain": ("explain", TABLE, "token_both", "b_384"),
}


ALL = """
import json, sys
from pathlib import Path
from command_line import called_here
print(json.dumps({
    name: vars(called_here([sys.executable, "-m", "replicate", *arguments], Path.cwd()))
    for name, arguments in json.load(sys.stdin).items()
}))
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing torch fails as if it were not installed."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKED)
    return {"PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'tests'}"}


@pytest.fixture(scope="module")
def looked(blocked: dict[str, str], filled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command of LOOKING does there. One process for all: half of what each costs is to start Python."""
    here = tmp_path_factory.mktemp("looked")
    results = shutil.copytree(filled, here / "results")
    folders = ("--results", str(results), "--out", str(here / "out"), "--tables", str(copied_tables(here)))
    commands = json.dumps({name: (*arguments, *folders) for name, arguments in LOOKING.items()})
    done = subprocess.run(
        [sys.executable, "-c", ALL],
        input=commands,
        env=environment(**blocked),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", LOOKING)
def test_looking_needs_no_torch(name: str, looked: dict[str, Any]) -> None:
    done = looked[name]
    assert done["stderr"] == ""
    assert done["returncode"] == 0
    assert done["stdout"]


def test_what_would_train_says_what_is_missing(replicate: Call, tables: Path, blocked: dict[str, str]) -> None:
    folders = ("--results", str(tables.parent / "none"), "--tables", str(tables))
    done = replicate("table", "--id", TABLE, *folders, env=blocked)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: cannot train: torch, torchvision, timm, safetensors are not installed\n"
        "  plan, status and table --no-run work; `make demo` creates an environment that trains\n"
    )
    assert not (tables.parent / "none").exists()


def test_torch_is_really_blocked_there(replicate: Call, blocked: dict[str, str], tmp_path: Path) -> None:
    code = "import torch"
    done = subprocess.run([sys.executable, "-c", code], env=blocked, cwd=tmp_path, capture_output=True, text=True)
    assert "ModuleNotFoundError: import of torch halted" in done.stderr
