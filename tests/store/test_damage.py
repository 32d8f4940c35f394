"""A stored result that was cut short, edited or lost is found; what only saves time is never trusted for more."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from filled_results import example

from replicate.errors import StoreFault, Unreadable
from replicate.jobs.job import from_json, to_json
from replicate.jobs.train import Train
from replicate.store import lease
from replicate.store import result as results
from replicate.store.result import commit_result, read_result
from replicate.store.store import Store

KEY = "train-x-0123456789ab"
STAMP = ".verified.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / KEY
    made.mkdir()
    (made / "decisions.npz").write_bytes(b"PK" + bytes(range(256)) * 20)
    (made / "model.safetensors").write_bytes(b"w" * 4096)
    commit_result(made, KEY, ["decisions.npz", "model.safetensors"], {"loss": 1.5}, {"wall_seconds": 2.0}, {})
    return made


def fault(folder: Path) -> str:
    with pytest.raises(StoreFault) as caught:
        read_result(folder, KEY)
    return str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["decisions.npz", "model.safetensors"])
@pytest.mark.parametrize("damage", [cut, edit])
def test_a_file_cut_short_or_edited(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    assert fault(folder) == f"{KEY}/{name}: cut short or edited (its checksum does not fit)"


@pytest.mark.parametrize("name", ["decisions.npz", "model.safetensors"])
def test_a_file_that_is_gone(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert fault(folder) == f"{KEY}/{name}: missing"


@pytest.mark.parametrize("damage", [cut, edit])
def test_result_json_cut_short_or_edited(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "result.json")
    assert fault(folder).startswith(f"{KEY}/result.json: c")


def test_a_number_edited_in_result_json(folder: Path) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"loss": 1.5', '"loss": 1.4'))
    assert fault(folder) == f"{KEY}/result.json: cut short or edited (its checksum does not fit)"


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"digest": 1}'])
def test_result_json_that_is_something_else(folder: Path, text: str) -> None:
    (folder / "result.json").write_text(text)
    assert fault(folder) == f"{KEY}/result.json: cut short or edited (its checksum does not fit)"


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["result.json", "model.safetensors"])
def test_what_cannot_be_read_is_not_damaged(folder: Path, name: str) -> None:
    folder_instead(folder / name)
    store = Store(folder.parent)
    for ask in (store.result, store.state):
        with pytest.raises(Unreadable) as caught:
            ask(KEY)
        assert str(caught.value) == (
            f"{folder / name}: cannot be read: Is a directory\n"
            "  the result may be intact, so it was not recomputed; fix access to it or move its folder away, then retry"
        )
    assert store.damage == {}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("name", ["result.json", "decisions.npz"])
def test_a_file_system_that_stumbles_damages_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    store = Store(folder.parent)
    with monkeypatch.context() as patch:
        (folder / STAMP).unlink()
        stumble(patch, name, code)
        with pytest.raises(Unreadable, match=rf"{name}: cannot be read: {os.strerror(code)}\n.* then retry"):
            store.state(KEY)
    assert store.state(KEY) == "done"


def stumble(patch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Reading a file called ``name`` fails."""
    read_bytes, sha256_of = Path.read_bytes, results.sha256_of

    def check(path: Path) -> Path:
        if path.name == name:
            raise OSError(code, os.strerror(code), str(path))
        return path

    patch.setattr(Path, "read_bytes", lambda path: read_bytes(check(path)))
    patch.setattr(results, "sha256_of", lambda path: sha256_of(check(path)))


def meanwhile(patch: pytest.MonkeyPatch, event: Callable[[], object]) -> None:
    """``event`` happens once, when the first artefact is about to be hashed."""
    sha256_of, left = results.sha256_of, [event]

    def hashed(path: Path) -> str:
        if left:
            left.pop()()
        return sha256_of(path)

    patch.setattr(results, "sha256_of", hashed)


def test_a_result_that_is_moved_away_while_it_is_read_is_not_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / STAMP).unlink()
    store = Store(folder.parent)
    meanwhile(monkeypatch, lambda: folder.rename(folder.with_name("elsewhere")))
    assert store.result(KEY) is None
    assert store.damage == {}


def test_a_result_that_another_takes_the_place_of_while_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / STAMP).unlink()

    def replace() -> None:
        folder.rename(folder.with_name("elsewhere"))
        folder.mkdir()
        for name in ("decisions.npz", "log.txt"):
            (folder / name).write_bytes(b"others")
        commit_result(folder, KEY, ["decisions.npz"], {"new": 1}, {}, {})
        (folder / STAMP).unlink()

    meanwhile(monkeypatch, replace)
    store = Store(folder.parent)
    result = store.result(KEY)
    assert result is not None
    assert (result.summary, store.damage) == ({"new": 1}, {})


def test_a_file_that_is_edited_after_it_was_hashed_is_not_noted_as_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / STAMP).unlink()
    sha256_of = results.sha256_of

    def hashed(path: Path) -> str:
        found = sha256_of(path)
        edit(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(results, "sha256_of", hashed)
        assert Store(folder.parent).result(KEY) is not None
    assert Store(folder.parent).result(KEY) is None


def test_what_another_process_repaired_meanwhile_is_not_moved_away(folder: Path) -> None:
    path = folder / "result.json"
    whole = path.read_bytes()
    cut(path)
    store = Store(folder.parent)
    assert store.state(KEY) == "damaged"
    path.write_bytes(whole)
    assert store.set_aside(KEY) is None
    assert store.state(KEY) == "done"
    assert not (folder / "claim").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_what_another_process_has_begun_since_is_not_moved_away(folder: Path, damaged: bool) -> None:
    """It moved the same result away first, was killed at work on the next one, and left a checkpoint."""
    if damaged:
        cut(folder / "result.json")
    first, second = Store(folder.parent), Store(folder.parent)
    assert {first.state(KEY), second.state(KEY)} == {"damaged" if damaged else "done"}
    assert first.set_aside(KEY) is not None
    folder.mkdir()
    (folder / "checkpoint.pt").write_text("half of it")
    assert second.set_aside(KEY) is None
    assert [path.name for path in folder.iterdir()] == ["checkpoint.pt"]


def test_a_result_in_the_folder_of_another_job(folder: Path) -> None:
    other = folder.rename(folder.with_name("train-y-000000000000"))
    with pytest.raises(StoreFault, match=f"is of schema 1 and key {KEY}"):
        read_result(other, other.name)


def test_an_edit_that_keeps_the_size_is_found_by_its_time(folder: Path) -> None:
    assert read_result(folder, KEY)
    path = folder / "model.safetensors"
    path.write_bytes(b"v" + path.read_bytes()[1:])
    assert "model.safetensors: cut short or edited" in fault(folder)


def test_the_stamp_only_saves_time(folder: Path) -> None:
    """Same size and same time of change to the nanosecond is taken for untouched: nobody edits like that by
    accident, and hashing every file of 100,000 jobs at each call would cost minutes. Without the stamp, or
    after a copy that sets new times, everything is hashed again and even that is found."""
    path = folder / "model.safetensors"
    times = path.stat()
    path.write_bytes(b"v" + path.read_bytes()[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_result(folder, KEY)
    (folder / STAMP).unlink()
    assert "model.safetensors: cut short or edited" in fault(folder)


def test_touched_files_are_hashed_again_and_stay_good(folder: Path) -> None:
    os.utime(folder / "model.safetensors")
    before = (folder / STAMP).read_text()
    assert read_result(folder, KEY)
    assert (folder / STAMP).read_text() != before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model.safetensors": [1, 2]}'])
def test_a_damaged_stamp_does_no_harm(folder: Path, text: str) -> None:
    (folder / STAMP).write_text(text)
    assert read_result(folder, KEY)
    edit(folder / "model.safetensors")
    assert fault(folder)


def test_the_result_exists_only_with_its_last_file(folder: Path) -> None:
    (folder / "result.json").unlink()
    assert read_result(folder, KEY) is None
    assert Store(folder.parent).state(KEY) == "absent"


def test_the_store_notes_damage_once_and_sets_it_aside(folder: Path) -> None:
    store = Store(folder.parent)
    edit(folder / "decisions.npz")
    assert store.result(KEY) is None
    assert store.state(KEY) == "damaged"
    assert store.damage == {KEY: f"{KEY}/decisions.npz: cut short or edited (its checksum does not fit)"}
    aside = store.set_aside(KEY)
    assert aside is not None
    assert sorted(path.name for path in aside.iterdir())[-1] == "result.json"
    assert not (aside / "claim").exists()
    assert store.state(KEY) == "absent"
    assert store.damage == {}
    assert store.set_aside(KEY) is None


def test_states_of_many_are_the_states_of_each(folder: Path) -> None:
    def make(name: str) -> Path:
        made = folder.parent / name
        made.mkdir()
        return made

    (make("failed") / "failure.json").write_text("{}")
    lease.acquire(make("running"))
    make("begun")
    (make("damaged") / "result.json").write_text("{")
    keys = [KEY, "never", "failed", "running", "begun", "damaged"]
    states = Store(folder.parent).states(keys)
    assert list(states.items()) == [(key, Store(folder.parent).state(key)) for key in keys]
    assert set(states.values()) == {"done", "failed", "running", "damaged", "absent"}
    # What was found out before stays found out, wherever the folder has gone.
    store = Store(folder.parent)
    store.states(keys)
    folder.parent.rename(folder.parent.with_name("moved"))
    assert store.states([KEY, "damaged", "failed"]) == {KEY: "done", "damaged": "damaged", "failed": "absent"}


def test_folders_aside_are_no_results(folder: Path) -> None:
    store = Store(folder.parent)
    assert store.keys() == [KEY]
    store.set_aside(KEY)
    assert store.keys() == []


def test_a_field_that_came_later_is_no_other_job(tmp_path: Path) -> None:
    store, new = Store(tmp_path), example("train")
    assert isinstance(new, Train)
    new = replace(new, key=KEY)
    old = {name: value for name, value in to_json(new)["payload"].items() if name != "init_weights"}
    old["recipe"] = {name: value for name, value in old["recipe"].items() if name != "clip_norm"}
    (tmp_path / KEY).mkdir()
    (tmp_path / KEY / "job.json").write_text(json.dumps(to_json(new) | {"payload": old}))
    folder = store.prepare(from_json(json.loads((tmp_path / KEY / "job.json").read_text())))
    assert json.loads((folder / "job.json").read_text()) == json.loads(json.dumps(to_json(new)))
    other = replace(new, recipe=new.recipe.model_copy(update={"clip_norm": 0.5}))
    with pytest.raises(StoreFault, match="another job of the same key"):
        store.prepare(other)


def test_result_json_says_what_it_is(folder: Path) -> None:
    body = json.loads((folder / "result.json").read_text())
    assert body["schema"] == 1
    assert sorted(body["files"]) == ["decisions.npz", "model.safetensors"]
    assert all(len(digest) == 64 for digest in [body["digest"], *body["files"].values()])
