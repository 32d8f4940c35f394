"""Files of a results folder that are cut, garbage or of other kinds: never a traceback, and never a wrong number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled_results import example, fill, plan_of
from hypothesis import given
from hypothesis import strategies as st
from mutated import few, mutated, nested, scalars

from replicate.actions.recheck import Rechecks
from replicate.backends.backend import JobStates, share_of
from replicate.backends.slurm.submission import SubmissionMap, note_job, read_submissions, write_map
from replicate.errors import ReplicateError, StoreFault
from replicate.jobs.job import Job
from replicate.jobs.key import canonical
from replicate.judge.finish import Finisher
from replicate.nightly.changes import changes
from replicate.nightly.history import CELLS, Checked, Nights
from replicate.nightly.snapshot import CellRecord, JobRecord, Snapshot, TableRecord
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.files import read_json
from replicate.store.provenance import Provenance, differences
from replicate.store.result import RESULT, commit_result, read_result
from replicate.store.store import FAILURE, PROGRESS, Store

JUNK = nested(scalars | st.none())
DEEP = b"[" * 100_000
PIECES = st.sampled_from([b"", b"\0", b"\xff\xfe", b"null", b"[]", b"{", b"1e999", b"NaN", b'"', b"9" * 5000, DEEP])


def spoilt(whole: bytes) -> st.SearchStrategy[bytes]:
    """``whole``, cut or with something else in a place; JSON of it with another value; or neither."""

    def put(place: int, piece: bytes, taken: int) -> bytes:
        return whole[:place] + piece + whole[place + taken :]

    places = st.integers(0, len(whole))
    texts = st.builds(put, places, st.binary(max_size=4) | PIECES, st.integers(0, 30))
    values = mutated(json.loads(whole), JUNK).map(lambda value: json.dumps(value).encode())
    return st.one_of(values, texts, places.map(lambda place: whole[:place]), PIECES, JUNK.map(as_json))


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def job() -> Job:
    return example("predict")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, job: Job) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    fill(store, job)
    return store


@pytest.fixture
def kept(store: Store, job: Job) -> Iterator[Path]:
    """The folder of the job, which is as it was after the test."""
    folder = store.folder(job.key)
    copy = store.root / "copy"
    shutil.copytree(folder, copy)
    yield folder
    shutil.rmtree(folder)
    copy.rename(folder)


def test_a_damaged_result_is_no_number(kept: Path, job: Job) -> None:
    whole = (kept / RESULT).read_bytes()
    sound = read_result(kept, job.key)

    @few(80)
    @given(spoilt(whole))
    def tried(data: bytes) -> None:
        (kept / RESULT).write_bytes(data)
        try:
            found = read_result(kept, job.key)
        except StoreFault:
            return
        assert found == sound

    tried()


def test_a_result_of_another_form_with_a_checksum_that_fits(kept: Path, job: Job) -> None:
    body = json.loads((kept / RESULT).read_bytes())
    del body["digest"]

    @few(50)
    @given(mutated(body, JUNK))
    def tried(changed: Any) -> None:
        try:
            digest = sha256(canonical(changed)).hexdigest()
        except ValueError:
            return
        (kept / RESULT).write_text(json.dumps(changed | {"digest": digest}))
        store = Store(kept.parent)
        store.state(job.key)
        graph = Graph({job.key: job})
        JobStates(graph, store).line(job.key)
        result = store.result(job.key)
        if result is not None:
            assert Provenance.of(result.provenance).code
            assert list(differences(result.provenance, body["provenance"], machine=True)) is not None

    tried()


@pytest.mark.parametrize("name", [PROGRESS, FAILURE, "job.json", ".verified.json"])
def test_files_beside_a_result(kept: Path, job: Job, name: str) -> None:
    wholes: Mapping[str, object] = {
        PROGRESS: {"epoch": 2, "epochs": 30, "step": 7, "steps": 100, "loss": 2.5},
        FAILURE: {"kind": "diverged", "message": "loss is nan", "retry": False},
    }
    path = kept / name
    whole = as_json(wholes[name]) if name in wholes else path.read_bytes()
    if name in wholes:
        (kept / RESULT).unlink()
    graph = Graph({job.key: job})

    @few(80)
    @given(spoilt(whole))
    def tried(data: bytes) -> None:
        path.write_bytes(data)
        store = Store(kept.parent)
        states = JobStates(graph, store)
        assert states.summary()
        states.line(job.key)
        assert store.trouble(job.key)
        assert 0.0 <= share_of(store.progress(job.key)) <= 1.0
        assert isinstance(store.fails_again(job.key), bool)
        with suppress(StoreFault):
            store.prepare(job)
        Rechecks(store, kept.parent).waiting(graph)
        Rechecks(store, kept.parent)._read([kept])

    tried()


def test_the_owner_of_a_lease(tmp_path: Path) -> None:
    assert lease.acquire(tmp_path)
    path = tmp_path / "claim" / lease.OWNER
    whole = path.read_bytes()

    @few(80)
    @given(spoilt(whole))
    def tried(data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        owner = lease.holder(tmp_path)
        lease.renew(tmp_path)
        alive = lease.holder_alive(tmp_path, lambda _owner, _silence: True)
        assert owner is not None or not alive
        taken = lease.acquire(tmp_path, lambda _owner, _silence: True)
        assert taken or alive or not path.exists()

    tried()


def test_a_later_version_may_say_more_of_an_owner(tmp_path: Path) -> None:
    """Taken for damaged, the lease of a living process would be broken."""
    assert lease.acquire(tmp_path)
    path = tmp_path / "claim" / lease.OWNER
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": [1]}))
    assert lease.holder(tmp_path) == lease.Owner.here()
    assert not lease.acquire(tmp_path)


def test_submissions(tmp_path: Path, job: Job) -> None:
    folder = write_map(tmp_path, SubmissionMap("0123456789ab", "predict", {0: [job.key]}, request={"mem": "2G"}), [job])
    note_job(folder, "7", unseen={0: 3.0})
    files = {path: path.read_bytes() for path in (folder / "map.json", folder / "job.json")}

    @few(80)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(files)))
        path.write_bytes(data.draw(spoilt(files[path])))
        for submission in read_submissions(tmp_path):
            assert all(isinstance(key, str) for keys in submission.tasks.values() for key in keys)
            assert submission.map.requeue >= 0 or isinstance(submission.map.requeue, int)
        path.write_bytes(files[path])

    tried()


SNAPSHOT = Snapshot(
    schema=1,
    when="2026-01-01 00:00:00 UTC",
    scale="mini",
    seeds=(0,),
    made={"commit": "a"},
    tables={"t": TableRecord(cells={"a/b": CellRecord(state="done", shown="1.5", value="3/2", jobs=("predict-x",))})},
    jobs={"predict-x": JobRecord(kind="predict", run="r", seed=0, state="done", files="f", made={"commit": "a"})},
    owed=(),
    values="v",
)


def test_nights(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "mini")
    folder = nights.write(1.7e9, {CELLS: SNAPSHOT.text()})
    nights.work.mkdir()
    nights.note_checked({"predict-x": Checked(when=1.5, asked={"commit": "a"})})
    checked = (nights.work / "checked.json").read_bytes()
    body = json.loads(SNAPSHOT.text())
    del body["digest"]

    @few(80)
    @given(spoilt(SNAPSHOT.text().encode()))
    def cells(data: bytes) -> None:
        (folder / CELLS).write_bytes(data)
        assert nights.last() in (None, SNAPSHOT)

    @few(50)
    @given(mutated(body, JUNK))
    def fitting(changed: Any) -> None:
        try:
            digest = sha256(canonical(changed)).hexdigest()
        except ValueError:
            return
        (folder / CELLS).write_text(json.dumps(changed | {"digest": digest}))
        found = nights.last()
        for change in changes(found, SNAPSHOT).changes if found else ():
            assert change.difference is None or Fraction(change.difference) is not None

    @few(50)
    @given(spoilt(checked))
    def looked(data: bytes) -> None:
        (nights.work / "checked.json").write_bytes(data)
        assert all(isinstance(entry.when, float) for entry in nights.checked().values())

    cells()
    fitting()
    looked()


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


ARRAYS = st.sampled_from(
    [
        np.zeros(0, np.int16),
        np.zeros((200, 4), np.int16),
        np.zeros((3, 5), np.int16),
        np.zeros(200, np.float64),
        np.full((200, 5), np.nan),
        np.array("words"),
        np.zeros((200, 5), np.complex128),
        np.full((200, 5), 2**62),
    ]
)


def test_decisions_that_say_nothing(kept: Path, job: Job, plan: Plan) -> None:
    """Whatever a job or a disk has left: a cell has a number from whole decisions, or it has none."""
    whole = (kept / "decisions.npz").read_bytes()
    with np.load(kept / "decisions.npz") as arrays:
        sound = {name: arrays[name] for name in arrays.files}
    (cell,) = [cell for cell in plan.cells["distillation_ablation"] if cell.keys == (job.key,)][:1]

    @few(50)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(sound)))
            np.savez(kept / "decisions.npz", **{**sound, name: data.draw(ARRAYS)})
        else:
            place, taken = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 40))
            piece = data.draw(st.binary(max_size=3))
            (kept / "decisions.npz").write_bytes(whole[:place] + piece + whole[place + taken :])
        commit_result(kept, job.key, ["decisions.npz"], {}, {"wall_seconds": 1.0}, {})
        store = Store(kept.parent)
        try:
            found = Finisher(plan, store).cell(cell)
        except ReplicateError:
            return
        if found.value is not None:
            assert 0 <= found.value <= 100
        else:
            assert job.key in store.damage

    tried()


# The smallest inputs of what these tests found.


@pytest.mark.parametrize(
    "said", [{"pid": 2**40}, {"pid": True}, {"host": ["vm"]}, {"started": "1"}, {"task": None}, {"restart": 1.5}]
)
def test_an_owner_that_no_process_wrote(tmp_path: Path, said: dict[str, object]) -> None:
    assert lease.acquire(tmp_path)
    path = tmp_path / "claim" / lease.OWNER
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    assert lease.holder(tmp_path) is None
    assert lease.acquire(tmp_path)


@pytest.mark.parametrize(
    ("said", "share", "line"),
    [
        ({"step": 5, "steps": "10", "loss": "low"}, 0.0, "running, 0%"),
        ({"step": 5, "steps": 10, "epochs": 0}, 0.0, "running, 0%"),
        ({"step": -50, "steps": 10, "loss": 1}, 0.0, "running, 0%, loss 1.000"),
        ({"step": 5, "steps": 10, "loss": float("nan")}, 0.5, "running, 50%"),
        ({"run": 12, "of": 30}, 0.4, "running, 40%, run 12 of 30"),
        ({"window": 0, "of": 15}, 0.0, "running, 0%, window 0 of 15"),
        ({"images": -3, "of": 2000}, 0.0, "running, 0%, images -3 of 2000"),
        ({"run": 12, "of": 0}, 0.0, "running, 0%"),
        ({"run": "12", "of": 30}, 0.0, "running, 0%"),
        ({"of": 30}, 0.0, "running, 0%"),
    ],
)
def test_progress_that_is_damaged(tmp_path: Path, job: Job, said: dict[str, object], share: float, line: str) -> None:
    store = Store(tmp_path)
    folder = store.prepare(job)
    lease.acquire(folder)
    (folder / PROGRESS).write_text(json.dumps(said))
    states = JobStates(Graph({job.key: job}), store)
    assert (share_of(store.progress(job.key)), states.line(job.key)) == (share, line)


@pytest.mark.parametrize("lacking", ["schema", "key", "files", "cost"])
def test_a_result_that_lacks_a_part(kept: Path, job: Job, lacking: str) -> None:
    body = json.loads((kept / RESULT).read_bytes())
    del body["digest"], body[lacking]
    (kept / RESULT).write_text(json.dumps(body | {"digest": sha256(canonical(body)).hexdigest()}))
    with pytest.raises(StoreFault):
        read_result(kept, job.key)


def test_a_result_whose_files_lie_elsewhere(kept: Path, job: Job) -> None:
    body = json.loads((kept / RESULT).read_bytes())
    del body["digest"]
    body["files"] = {"../secret": "0" * 64}
    (kept / RESULT).write_text(json.dumps(body | {"digest": sha256(canonical(body)).hexdigest()}))
    with pytest.raises(StoreFault, match="lacks a part"):
        read_result(kept, job.key)


def test_json_that_is_nested_too_deeply(kept: Path, job: Job) -> None:
    (kept / RESULT).write_bytes(DEEP)
    with pytest.raises(StoreFault, match="cut short or edited"):
        read_result(kept, job.key)
    assert read_json(kept / RESULT) == {}


@pytest.mark.parametrize("value", ["1/0", "one"])
def test_a_night_whose_numbers_are_none(value: str) -> None:
    text = SNAPSHOT.text().replace('"3/2"', f'"{value}"')
    body = json.loads(text)
    del body["digest"]
    with pytest.raises(ValueError, match="validation error"):
        Snapshot.parse(json.dumps(body | {"digest": sha256(canonical(body)).hexdigest()}))
    with pytest.raises(ValueError, match="checksum"):
        Snapshot.parse("null")


@pytest.mark.parametrize("tasks", [None, [], {"x": ["k"]}, {"0": 3}, {"0": [3]}])
def test_a_map_whose_tasks_are_none(tmp_path: Path, job: Job, tasks: object) -> None:
    folder = write_map(tmp_path, SubmissionMap("0123456789ab", "predict", {0: [job.key]}), [job])
    body = json.loads((folder / "map.json").read_text())
    (folder / "map.json").write_text(json.dumps(body | {"tasks": tasks}))
    assert [submission.tasks for submission in read_submissions(tmp_path)] in ([], [{}])


def test_the_begun_of_a_recheck_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"inputs": ["data"], "payload": [1]}')
    assert Rechecks(Store(tmp_path), tmp_path)._read([tmp_path]) == set()


@pytest.mark.parametrize("labels", [np.zeros((200, 4), np.int16), np.zeros(0, np.int16), np.zeros(200)])
def test_labels_that_are_no_class_of_each_image(kept: Path, job: Job, plan: Plan, labels: Any) -> None:
    with np.load(kept / "decisions.npz") as arrays:
        sound = {name: arrays[name] for name in arrays.files}
    np.savez(kept / "decisions.npz", **{**sound, "labels": labels})
    commit_result(kept, job.key, ["decisions.npz"], {}, {"wall_seconds": 1.0}, {})
    store = Store(kept.parent)
    (cell,) = [cell for cell in plan.cells["distillation_ablation"] if cell.keys == (job.key,)][:1]
    assert Finisher(plan, store).cell(cell).value is None
    assert "decisions.npz: cannot be read" in store.damage[job.key]
