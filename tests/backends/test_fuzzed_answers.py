"""Whatever Slurm's programs print: never a traceback, never a wrong number."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from replicate.backends.doctor.site import partitions
from replicate.backends.slurm.client import Answer, Client, number_of
from replicate.backends.slurm.ending import meaning
from replicate.backends.slurm.limits import Limits
from replicate.backends.slurm.queue import Queue as Rows
from replicate.backends.slurm.queue import Row, ask_accounting, forget, indices_of, look
from replicate.backends.slurm.refusal import Refusal, perhaps_taken, refusal
from replicate.backends.slurm.submission import Submission, SubmissionMap, Task, comment, submission_of

NAME, OTHER = "0123456789ab", "fedcba987654"
WORDS = st.text(max_size=40) | st.sampled_from(
    [
        "",
        "|",
        "7_3",
        "7_[4-6,9%2]",
        "7_[0-4000000000]",
        "RUNNING",
        "replicate-",
        f"replicate-{NAME[:8]}",
        "(null)",
        "a|b",
    ]
)
LINE = st.lists(WORDS, max_size=10).map("|".join)
TEXT = st.lists(LINE, max_size=8).map("\n".join)


class Told(Client):
    """Every program prints ``out``."""

    out = ""

    def call(self, *command: str) -> Answer:
        return Answer(0, self.out, "")


def told(out: str) -> Told:
    client = Told({}, patience=0.0)
    client.out = out
    return client


def submission() -> Submission:
    return Submission(Path("/nowhere"), SubmissionMap(NAME, "train", {3: ["train-a"]}), time.time(), "7")


@given(TEXT)
@settings(max_examples=150, deadline=None)
@example("7_٣|7|RUNNING|None|N/A|n1|replicate-0123456789ab")
def test_any_answer(text: str) -> None:
    client = told(text)
    queue = look(client, [NAME])
    ask_accounting(client, queue, [submission()])
    forget(client, queue, [(Task(NAME, 3), Row("7_3", "RUNNING"))])
    assert client.longest_array >= 1
    assert all(limit.count >= 0 for limit in Limits(client).of({"account": "a", "partition": "p", "qos": "q"}))
    partitions(client)
    assert refusal(text) in Refusal
    perhaps_taken(text)
    meaning(text)
    number = number_of(text)
    assert number is None or (number.isascii() and number.isdigit() and int(number) > 0)


@given(
    WORDS, WORDS, st.integers(1, 10**9), st.integers(0, 4_000_000), st.sampled_from(["PENDING", "RUNNING", "FAILED"])
)
@settings(max_examples=100, deadline=None)
def test_our_row_among_others(before: str, after: str, number: int, index: int, state: str) -> None:
    """Others' rows of any shape change neither whose ours is nor its state."""
    others = [one for one in (before, after) if submission_of(one) is None]
    shown = f"{number}_{index}|{number}|{state}|None|N/A|n1|1:02|normal|lab"
    for ours in (f"replicate-{NAME}|(null)", f"x|y|{comment('t', NAME, ['train-a'])};site=1"):
        queue = look(told("\n".join([*others, f"{shown}|{ours}", *others])))
        assert queue.rows[Task(NAME, index)].state == state
        assert {task.submission for task in queue.rows} == {NAME}


FORMS = ["Submitted batch job {}", "{}", "{};lab", "Submitted batch job {} on cluster b"]
LINES = st.lists(st.text(max_size=30), max_size=4)


@given(st.integers(1, 10**9), st.sampled_from(FORMS), LINES, LINES)
@settings(max_examples=100, deadline=None)
def test_a_number_among_banners(number: int, form: str, before: list[str], after: list[str]) -> None:
    later = [line for line in after if number_of(line) is None]
    assert number_of("\n".join([*before, form.format(number), *later])) == str(number)


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=40), st.integers(1, 99))
@settings(max_examples=100, deadline=None)
def test_ranges_of_sacct(indices: set[int], throttle: int) -> None:
    listed = ",".join(map(str, sorted(indices)))
    assert indices_of(f"7_[{listed}%{throttle}]") == sorted(indices)


def test_names_of_others_are_not_ours() -> None:
    queue = Rows()
    ask_accounting(told(f"9_3|replicate-{OTHER}|RUNNING|0:0|n1|1|None|1G|x\n"), queue, [submission()])
    assert queue.rows == {}
    assert queue.asked == {NAME}
