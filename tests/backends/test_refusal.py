"""What Slurm's programs say, and whether it is tried again, made shorter, queued or reported."""

from __future__ import annotations

import pytest

from replicate.backends.slurm.client import Answer
from replicate.backends.slurm.refusal import Refusal, perhaps_taken, refusal

_FAILED = "sbatch: error: Batch job submission failed: "
_POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
_RETRYING = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"


@pytest.mark.parametrize(
    "words",
    [
        _FAILED + "Socket timed out on send/recv operation",
        _FAILED + "Resource temporarily unavailable",
        _RETRYING + _FAILED + "Resource temporarily unavailable",
        _FAILED + "Unable to contact slurm controller (connect failure)",
        _FAILED + "Zero Bytes were transmitted or received",
        _FAILED + "Invalid job credential",
        _FAILED + "Error generating job credential",
        _FAILED + "Protocol authentication error",
        _FAILED + "Unexpected message received",
        _FAILED + "Message receive failure",
        _FAILED + "Rate limit exceeded, please retry momentarily",
        _FAILED + "Slurm backup controller in standby mode",
        _FAILED + "Unable to create job record, try again",
        "squeue: error: slurm_load_jobs error: Unexpected message received",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "squeue: error: Munge encode failed: Failed to access \"/run/munge/munge.socket.2\": No such file or directory",
        "sbatch: error: If munged is up, restart with --num-threads=10",
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:db:6819: "
        "Connection refused\nsacct: error: Sending PersistInit msg: Connection refused",
        "sacct: error: Problem talking to the database: Connection timed out",
        "sacctmgr: error: slurmdbd: Unable to connect to database",
        "sinfo: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\nsinfo: error: fetch_config: DNS SRV "
        "lookup failed\nsinfo: fatal: Could not establish a configuration source",
        "scontrol: error: auth_p_create: authentication plugin not ready",
        "bash: fork: retry: Resource temporarily unavailable",
        "sbatch: error: Batch job submission failed: Connection timed out establishing",
    ],
)  # fmt: skip
def test_nothing_can_be_done_just_now(words: str) -> None:
    assert refusal(words) is Refusal.OUTAGE


@pytest.mark.parametrize(
    "words",
    [
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: QOSMaxSubmitJobPerAccountLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: QOSGrpSubmitJobsLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: AssocMaxSubmitJobLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: AssocGrpSubmitJobsLimit\n{_FAILED}{_POLICY}",
        "allocation failure: " + _POLICY,
        _FAILED + "MaxJobCount limit reached",
        _FAILED + "Invalid job array specification",
        "sbatch: error: Slurm job queue full, sleeping and retrying\n" + _FAILED + "Unable to create job record",
    ],
)  # fmt: skip
def test_fewer_jobs_or_later(words: str) -> None:
    assert refusal(words) is Refusal.LIMIT


@pytest.mark.parametrize(
    "words",
    [
        "allocation failure: Requested node configuration is not available",
        "allocation failure: Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority",
        "allocation failure: Required node not available (down, drained or reserved)",
        "allocation failure: Requested nodes are busy",
        _FAILED + "Required partition not available (inactive or drain)",
        "allocation failure: Job can not start due to maintenance reservation.",
        _FAILED + "Requested reservation not usable now",
    ],
)
def test_nodes_are_not_there_now(words: str) -> None:
    assert refusal(words) is Refusal.UNAVAILABLE


@pytest.mark.parametrize(
    "words",
    [
        "",
        _FAILED + "Invalid account or account/partition combination specified",
        _FAILED + "Invalid qos specification",
        _FAILED + "invalid partition specified: gpu\n" + _FAILED + "Invalid partition name specified",
        _FAILED + "Requested time limit is invalid (missing or exceeds some limit)",
        f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: QOSMaxCpuPerJobLimit\n{_FAILED}{_POLICY}",
        f"sbatch: error: AssocMaxNodePerJobLimit\n{_FAILED}{_POLICY}",
        _FAILED + "Job size specification needs to be provided",
        "sbatch: error: Memory specification can not be satisfied",
        _FAILED + "Access/permission denied",
        "sbatch: unrecognized option '--comment'",
        "slurm_load_ctl_conf error: Access/permission denied",
        "slurm_load_jobs error: Invalid job id specified",
    ],
)
def test_what_the_request_has_to_change(words: str) -> None:
    assert refusal(words) is Refusal.REFUSED


def test_what_may_be_in_the_queue_all_the_same() -> None:
    assert perhaps_taken(_FAILED + "Socket timed out on send/recv operation")
    assert perhaps_taken(_FAILED + "Zero Bytes were transmitted or received")
    assert perhaps_taken("no answer within 60 s: timed out")
    assert not perhaps_taken(_RETRYING + "no answer within 60 s: timed out")
    assert not perhaps_taken(_FAILED + "Unable to contact slurm controller (connect failure)")
    assert not perhaps_taken(_FAILED + "Invalid qos specification")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(0, "", ""), None),
        (Answer(0, "", "Note: two-factor authentication is required from May; try again if it fails\n"), None),
        (Answer(0, "7_0|7|RUNNING\n", "squeue: warning: this answer is a minute old\n"), None),
        (Answer(0, "7_0|7|RUNNING\n", "squeue: error: spank: cannot open plugin\n"), None),
        (Answer(0, "", "squeue: error: spank: cannot open plugin\n"), Refusal.OUTAGE),
        (Answer(0, "7_0|7|RUNNING\n", "squeue: error: Socket timed out\n"), Refusal.OUTAGE),
        (Answer(0, "", "slurm_load_jobs error: Unspecified error\n"), Refusal.OUTAGE),
        (Answer(0, "", "sbatch: error: read our news on authentication\n", order=True), None),
        (Answer(1, "", "sbatch: error: Invalid qos specification\n", order=True), Refusal.REFUSED),
    ],
)
def test_words_beside_an_answer(answer: Answer, expected: Refusal | None) -> None:
    assert answer.refusal is expected
