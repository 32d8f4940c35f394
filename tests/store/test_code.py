"""Which code made a result: its digest, and git's word where git speaks of this code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from replicate.store import code
from replicate.store.code import Code, code_of, diff_of
from replicate.store.provenance import Provenance, differences, provenance


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "as it is")
    return git(folder, "rev-parse", "HEAD")


def package(folder: Path) -> Path:
    """A small package where this one would lie."""
    for name, text in {
        "replicate/__init__.py": "",
        "replicate/engine/predict.py": "x = 1\n",
        "replicate/site/templates/page.html": "<p>\n",
        "tables/runs.toml": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[Callable[[], None]]:
    """What a process has asked once it does not ask again; call it to be another process."""

    def forget() -> None:
        for cached in (code_of, diff_of, provenance):
            cached.cache_clear()

    forget()
    yield forget
    forget()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone in which everything is committed."""
    folder = package(tmp_path / "checkout")
    git(folder, "init", "-q")
    commit(folder)
    return folder


def test_a_checkout_has_its_commit(checkout: Path) -> None:
    found = code_of(checkout)
    assert (found.commit, found.dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    assert len(found.digest) == 64
    assert diff_of(checkout) == b""
    assert "diff_sha256" not in provenance(checkout)


@pytest.mark.parametrize("ignored", [True, False])
def test_the_commit_of_an_enclosing_repository_is_not_ours(tmp_path: Path, ignored: bool) -> None:
    """An unpacked release inside the repository of a thesis, which ignores the folder or has not added it."""
    (tmp_path / ".gitignore").write_text("inner/\n" if ignored else "")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    found = code_of(package(tmp_path / "inner"))
    assert (found.commit, found.dirty) == ("unknown", None)


def test_a_repository_at_this_place_that_does_not_track_the_package(tmp_path: Path) -> None:
    (package(tmp_path) / ".gitignore").write_text("replicate/\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    assert code_of(tmp_path).commit == "unknown"


def test_the_repository_of_a_git_hook_is_not_ours(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "thesis.tex").touch()
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    found = code_of(checkout)
    monkeypatch.delenv("GIT_DIR")
    assert (found.commit, found.dirty) == (git(checkout, "rev-parse", "HEAD"), False)


def edit(checkout: Path) -> None:
    (checkout / "replicate" / "engine" / "predict.py").write_text("x = 2\n")


def test_an_edit_is_a_change_of_the_digest_and_in_the_diff(
    checkout: Path, forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, recorded = code_of(checkout), provenance(checkout)
    edit(checkout)
    (checkout / "replicate" / "new.py").write_text("y = 3\n")
    assert code_of(checkout) == before, "asked once in a process"
    forgetful()
    after = code_of(checkout)
    assert (after.commit, after.dirty, after.digest != before.digest) == (before.commit, True, True)
    assert b"-x = 1\n+x = 2\n" in diff_of(checkout)
    assert b"replicate/new.py" in diff_of(checkout)
    assert b"+y = 3\n" in diff_of(checkout)
    now = provenance(checkout)
    assert differences(recorded, now) == [f"code {before.digest[:12]} → {after.digest[:12]}"]
    # The same changes again are the same code.
    assert differences(now, now) == []
    # The patch makes the one from the other.
    patch = checkout.parent / "code.diff"
    patch.write_bytes(diff_of(checkout))
    git(checkout, "stash", "-qu")
    git(checkout, "apply", str(patch))
    forgetful()
    assert code_of(checkout).digest == after.digest
    forgetful()
    monkeypatch.setattr(code, "LARGEST_DIFF", 100)
    assert len(diff_of(checkout)) < 200
    assert diff_of(checkout).endswith(b"only the first 100 bytes are kept\n")


def test_the_digest_is_of_what_the_package_ships(checkout: Path, forgetful: Callable[[], None]) -> None:
    def digest() -> str:
        forgetful()
        return code_of(checkout).digest

    before = digest()
    cache = checkout / "replicate" / "__pycache__" / "x.pyc"
    cache.parent.mkdir()
    cache.touch()
    (checkout / "README.md").write_text("other")
    assert digest() == before
    copy = Path(shutil.copytree(checkout, checkout.parent / "copy", ignore=shutil.ignore_patterns(".git")))
    assert code_of(copy) == Code(before), "without git it is the same code"
    (checkout / "replicate" / "site" / "templates" / "page.html").write_text("<div>\n")
    assert digest() != before


@pytest.mark.parametrize("trouble", ["slow", "damaged", "hidden"])
def test_where_git_status_does_not_answer_changes_are_unknown(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    edit(checkout)
    expected: bool | None = None
    if trouble == "slow":
        real, program = shutil.which("git"), tmp_path / "bin" / "git"
        program.parent.mkdir()
        program.write_text(f'#!/bin/bash\ncase " $* " in *" status "*) exec sleep 30;; esac\nexec {real} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setattr(code, "_PATIENCE", 2.0)
    elif trouble == "damaged":
        # `ls-files`, which says that the package is tracked, needs the index, too: nothing is known then.
        (checkout / ".git" / "index").write_bytes(b"garbage")
    else:
        git(checkout, "checkout", "-q", ".")
        (checkout / "replicate" / "new.py").touch()
        git(checkout, "config", "status.showUntrackedFiles", "no")
        expected = True
    assert code_of(checkout).dirty is expected


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"code_digest": "a", "commit": "c" * 40}, {"code_digest": "a", "commit": "d" * 40}, []),
        ({"code_digest": "a"}, {"code_digest": "b"}, ["code a → b"]),
        ({"code_digest": "a", "commit": "c", "dirty": True}, {"code_digest": "a", "commit": "c", "dirty": True}, []),
        # What an older version recorded.
        ({"commit": "c", "dirty": False}, {"code_digest": "b", "commit": "c", "dirty": False}, []),
        ({"commit": "c", "dirty": None}, {"code_digest": "b", "commit": "c", "dirty": False}, ["uncommitted code"]),
        ({"commit": "unknown"}, {"code_digest": "b"}, ["code unknown → b"]),
        ({}, {}, ["code unknown"]),
    ],
)
def test_the_digest_says_whether_the_code_is_another(was: dict[str, object], now: dict[str, object], said: str) -> None:
    assert differences(was, now) == said


@pytest.mark.parametrize(
    ("made", "said", "unclean"),
    [
        ({"commit": "c" * 40, "dirty": False}, f"digest unknown, commit {'c' * 12}", False),
        ({"commit": "c", "dirty": None}, "digest unknown, commit c, uncommitted changes unknown", True),
        ({"code_digest": "a" * 64}, f"digest {'a' * 12}, commit unknown", False),
    ],
)
def test_the_code_in_words(made: dict[str, object], said: str, unclean: bool) -> None:
    read = Provenance.of(made)
    assert (read.code, read.unclean) == (said, unclean)
