"""When a training is suspicious: the rules on curves of any shape, the band of stored trainings, and who says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from filled_results import example, fill
from hypothesis import given
from hypothesis import strategies as st

from replicate.backends.backend import JobStates
from replicate.backends.worker import Lookout
from replicate.jobs.train import CURVE, Train
from replicate.nightly.summary import Summary, as_json, as_markdown
from replicate.plan.graph import Graph
from replicate.site.book import JobFacts
from replicate.specs.watch import Watch
from replicate.store import epochs, lease
from replicate.store.epochs import EpochLine
from replicate.store.files import write_json
from replicate.store.result import commit_result
from replicate.store.store import PROGRESS, Store
from replicate.store.suspicion import Expected, expected_of, suspicion

RULES = Watch()
TEN = Expected(warmup=3, classes=10, images=256)


def lines(losses: Sequence[float], top1: Sequence[float | None] = ()) -> list[EpochLine]:
    """A line for each loss, with top-1 where there is one."""
    seen = [*top1, *[None] * (len(losses) - len(top1))]
    return [
        EpochLine(number, len(losses), loss, 1e-3, seen[number - 1], 100 * number, 1.0, 0.0, 100.0, 1.0, 0)
        for number, loss in enumerate(losses, 1)
    ]


def test_a_good_training_is_never_suspicious() -> None:
    losses = [2.3 - 0.05 * number + 0.1 * (number % 3) for number in range(30)]
    top1 = [10.0 + 2 * number - 5 * (number % 2) for number in range(30)]
    good = lines(losses, top1)
    band = replace(TEN, bands=[[12.0 + 2 * number for number in range(30)]])
    assert [suspicion(good[:number], RULES, band) for number in range(31)] == [""] * 31


def test_answers_by_chance_count_from_ten_epochs_after_the_warm_up() -> None:
    # 10 % by chance; one standard error of 256 images is 1.9 %.
    doomed = lines([2.3] * 20, [9.0, 12.0, 15.5] * 7)
    said = [suspicion(doomed[:number], RULES, TEN) for number in range(21)]
    assert said[:13] == [""] * 13
    assert said[13] == "top-1 is 15.5 % at best in the epochs up to 13, as by chance (10.0 %)"
    assert all(said[13:])
    recovered = [*doomed[:15], *lines([2.3] * 18, [None] * 15 + [15.7, 10.0, 10.0])[15:]]
    assert suspicion(recovered, RULES, TEN) == ""
    assert suspicion(doomed, RULES, replace(TEN, classes=0)) == "", "nobody knows what chance is"
    assert suspicion(lines([2.3] * 20), RULES, TEN) == "", "no validation"


def test_a_training_below_the_band_of_its_recipe() -> None:
    bands = [[20.0 + 2 * number for number in range(30)], [25.0 + 2 * number for number in range(30)]]
    low = lines([2.0] * 12, [20.0 + 2 * number for number in range(7)] + [20.0, 18.0, 22.0, 21.0, 23.0])
    expected = replace(TEN, bands=bands)
    assert suspicion(low[:11], RULES, expected) == "", "four epochs"
    assert suspicion(low, RULES, expected) == (
        "top-1 is 23.0 % after epoch 12, for 5 epochs more than 10 points below the 40.0 % of finished trainings of "
        "the same recipe"
    )
    assert suspicion(low, Watch(band_points=20.0), expected) == ""
    assert suspicion(low, RULES, TEN) == "", "no training of this recipe is finished"


def test_a_spike_counts_that_does_not_come_back() -> None:
    down = [6.9, 6.0, 5.0, 4.0]
    assert suspicion(lines([*down, 6.5, 6.6]), RULES, Expected()) == ""
    assert suspicion(lines([*down, 6.5, 6.6, 4.1]), RULES, Expected()) == ""
    assert suspicion(lines([*down, 6.5, 6.6, 6.7]), RULES, Expected()) == (
        "the loss is 6.700 after epoch 7, for 3 epochs far above the 4.000 of epoch 4"
    )
    assert suspicion(lines([2.0, 0.01, 0.03, 0.03, 0.03]), RULES, Expected()) == "", "three times next to nothing"


def test_a_loss_that_is_not_finite() -> None:
    assert suspicion(lines([2.0, math.nan]), RULES, TEN) == "the loss of epoch 2 is nan"


NUMBER = st.floats() | st.sampled_from([0.0, -1.0, 1e308, 2.3])
LINE = st.builds(
    EpochLine,
    epoch=st.integers(1, 40),
    epochs=st.integers(1, 40),
    loss=NUMBER,
    rate=NUMBER,
    top1=st.none() | NUMBER,
    images=st.integers(1, 10**9),
    seconds=NUMBER,
    waiting=NUMBER,
    speed=NUMBER,
    memory_mb=NUMBER,
    gpus=st.integers(0, 8),
)
BANDS = st.lists(st.lists(st.none() | NUMBER, max_size=40), max_size=3)


@given(
    st.lists(LINE, max_size=40, unique_by=lambda line: line.epoch),
    st.builds(Expected, st.integers(0, 50), st.integers(0, 1000), st.integers(0, 256), BANDS),
    st.builds(Watch, chance_epochs=st.integers(1, 50), band_epochs=st.integers(1, 9), spike_epochs=st.integers(1, 9)),
)
def test_no_curve_is_too_odd_to_be_judged(curve: list[EpochLine], expected: Expected, rules: Watch) -> None:
    said = suspicion(curve, rules, expected)
    assert isinstance(said, str)
    assert suspicion(curve[::-1], rules, expected) == said, "the order in which lines are read is no matter"


def training(seed: int = 0, **changes: object) -> Train:
    job = example("train")
    assert isinstance(job, Train)
    digits = f"{seed}" * 12
    key = f"{job.key.rpartition('-s')[0]}-s{seed}-{digits}"
    return replace(job, key=key, seed=seed, inputs={"data": example("data").key}, **changes)


def finish(store: Store, job: Train, curve: object) -> None:
    folder = store.prepare(job)
    write_json(folder / CURVE, curve)
    commit_result(folder, job.key, [CURVE], {}, {}, {})


def test_the_band_is_of_finished_trainings_of_the_same_recipe(tmp_path: Path) -> None:
    store, job = Store(tmp_path), training()
    assert expected_of(store, job) == Expected(warmup=job.recipe.warmup_epochs, bands=[])
    fill(store, example("data"))
    finish(store, training(1), [{"validation": 20.0}, {"loss": 1.0}, {"validation": math.inf}, 3, {"validation": 30}])
    finish(store, training(2), {"validation": 1.0})
    finish(store, training(3, size=job.size + 8), [{"validation": 1.0}])
    finish(store, training(4, recipe=job.recipe.model_copy(update={"epochs": 7})), [{"validation": 1.0}])
    finish(store, training(5), [{"validation": 2.0}])
    (store.folder(training(5).key) / CURVE).write_text("[")
    store.prepare(training(6))
    finish(store, training(7), [{"validation": 3.0}])
    (store.folder(training(7).key) / "job.json").write_text("{}")
    found = expected_of(Store(tmp_path), job)
    assert (found.classes, found.images) == (10, 200)
    assert found.bands == [[20.0, None, None, None, 30.0]]


def test_all_who_show_a_running_training_say_why_it_is_suspicious(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, job, graph = Store(tmp_path), training(watch=RULES), Graph()
    graph.jobs[job.key] = job
    folder = store.prepare(job)
    lookout = Lookout(store, job)
    for line in lines([6.9, 4.0, 6.9, 6.9, 6.9, 6.9]):
        epochs.append(folder, line)
        fields = {"epoch": line.epoch, "epochs": 6, "step": 1, "steps": 2, "loss": line.loss}
        lookout.look(fields)
        lookout.look({**fields, "step": 2})
    assert not lookout.stop
    why = "the loss is 6.900 after epoch 6, for 3 epochs far above the 4.000 of epoch 2"
    assert lookout.why == why
    # Said once, in the log.
    assert capsys.readouterr().out.count("suspicious: ") == 1
    write_json(folder / PROGRESS, {**fields, "suspicious": why})
    assert lease.acquire(folder)
    try:
        states = JobStates(graph, store)
        assert states.line(job.key).endswith(f", suspicious: {why}")
        assert states.suspicious() == {job.key: why}
    finally:
        lease.release(folder)
    facts = JobFacts(job, 0, "running", None, "", (), 1, "run", store.epochs(job.key), store.suspicion(job.key))
    assert facts.suspicion == why
    night = Summary("now", "mini", (0,), "here", {}, 24.0, True, suspicious=states.suspicious())
    assert f"## Suspicious trainings, which go on: 1\n\n- `{job.key}`: {why}\n" in as_markdown(night)
    assert why in as_json(night)


def test_a_training_is_stopped_where_that_was_asked_for_and_epochs_are_left(tmp_path: Path) -> None:
    store, job = Store(tmp_path), training(watch=Watch(stop=True))
    folder = store.prepare(job)
    lookout = Lookout(store, job)
    for line in lines([6.9, 4.0, 6.9, 6.9, 6.9]):
        epochs.append(folder, line)
    lookout.look({"epoch": 5, "epochs": 5, "step": 2, "steps": 2})
    assert (bool(lookout.why), lookout.stop) == (True, False), "the last epoch"
    lookout.look({"epoch": 5, "epochs": 6, "step": 2, "steps": 2})
    assert lookout.stop


def test_progress_that_is_damaged_is_no_suspicion(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    for damage in ("", "[]", '{"suspicious": 3}', '{"suspicious": null}'):
        (tmp_path / "job" / PROGRESS).write_text(damage)
        assert Store(tmp_path).suspicion("job") == ""
