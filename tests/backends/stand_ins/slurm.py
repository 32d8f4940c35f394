"""A stand-in for Slurm's programs: jobs are lines of a file, and the environment says how it misbehaves.

It is called by their names, which are links to it (see lab.py). ``STAND_IN`` is the folder of its jobs (``jobs.json``)
and of its calls (``calls``, one a line). Every program PROGRAM reads, as far as it has a meaning:

    STAND_IN_PROGRAM_SAYS   printed instead of its answer; @ is the number of the job
    STAND_IN_PROGRAM_ERR    printed to standard error
    STAND_IN_PROGRAM_RC     exit code
    STAND_IN_PROGRAM_ERR_TIMES    only for so many calls, then it does what it should
    STAND_IN_PROGRAM_EMPTY  an answer without any line
    STAND_IN_CLUSTER        jobs are on this cluster: who does not ask with -M sees nothing
    STAND_IN_COMMENT        what the site makes of a comment: {} is the job's own
    STAND_IN_NAME           likewise of its name
    STAND_IN_HIDDEN         the partition is hidden: jobs are shown with -a only
    STAND_IN_STATE          state of every job that nobody cancelled
    STAND_IN_LIMIT          most elements that may be queued
    STAND_IN_SBATCH_TEST=1  what is said of sbatch holds for its --test-only, too
    STAND_IN_TAKES=0        sbatch keeps nothing (its answer is what the variables say)
"""

import json
import os
import re
import sys
from pathlib import Path

HOME = Path(os.environ["STAND_IN"])
JOBS, CALLS = HOME / "jobs.json", HOME / "calls"


def jobs():
    return json.loads(JOBS.read_text()) if JOBS.exists() else []


def keep(rows):
    JOBS.write_text(json.dumps(rows))


def setting(program, name):
    return os.environ.get(f"STAND_IN_{program.upper()}_{name}")


def misbehaves(program):
    """Whether the variables of ``program`` still hold, counted by the calls before."""
    times = setting(program, "ERR_TIMES")
    if times is None:
        return True
    before = sum(line.split()[0] == program for line in CALLS.read_text().splitlines())
    return before <= int(times)


def indices(array):
    found = []
    for part in array.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def sbatch(arguments):
    if "--test-only" in arguments:
        print("sbatch: Job 1 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1", file=sys.stderr)
        return None
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.M))
    rows = jobs()
    array = indices(options.get("array", "0"))
    limit = os.environ.get("STAND_IN_LIMIT")
    queued = [row for row in rows if row["state"] not in ("CANCELLED", "COMPLETED", "FAILED")]
    if limit and len(queued) + len(array) > int(limit):
        words = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        print("sbatch: error: QOSMaxSubmitJobPerUserLimit", file=sys.stderr)
        print(f"sbatch: error: Batch job submission failed: {words}", file=sys.stderr)
        sys.exit(1)
    number = max((row["number"] for row in rows), default=1000) + 1
    shown = {
        "name": os.environ.get("STAND_IN_NAME", "{}").format(options.get("job-name", "none").strip("'\"")),
        "comment": os.environ.get("STAND_IN_COMMENT", "{}").format(options.get("comment", "(null)").strip("'\"")),
    }
    state = os.environ.get("STAND_IN_STATE", "RUNNING")
    if os.environ.get("STAND_IN_TAKES") != "0":
        keep([*rows, *({"number": number, "index": index, "state": state, **shown} for index in array)])
    says = setting("sbatch", "SAYS")
    if says is not None:
        return says.replace("@", str(number))
    return f"{number}\n" if "--parsable" in arguments else f"Submitted batch job {number}\n"


def squeue(arguments):
    if os.environ.get("STAND_IN_HIDDEN") and "-a" not in arguments:
        return ""
    form = arguments[arguments.index("-o") + 1]
    lines = [f"CLUSTER: {os.environ['STAND_IN_CLUSTER']}"] if os.environ.get("STAND_IN_CLUSTER") else []
    for row in jobs():
        line = form.replace("%i", f"{row['number']}_{row['index']}").replace("%A", str(row["number"]))
        for sign, value in {"%T": row["state"], "%r": "None", "%S": "N/A", "%N": "n1"}.items():
            line = line.replace(sign, value)
        lines.append(line.replace("%j", row["name"]).replace("%k", row["comment"]))
    return "".join(f"{line}\n" for line in lines)


def sacct(arguments):
    (names,) = [argument.partition("=")[2].split(",") for argument in arguments if argument.startswith("--name=")] or [
        ()
    ]
    return "".join(
        f"{row['number']}_{row['index']}|{row['name']}|{row['state']}|0:0|n1|00:01:00|None|1G|Unknown\n"
        for row in jobs()
        if row["name"] in names
    )


def scancel(arguments):
    rows, asked = jobs(), set(arguments)
    for row in rows:
        if {str(row["number"]), f"{row['number']}_{row['index']}"} & asked:
            row["state"] = "CANCELLED"
    keep(rows)
    return ""


def scontrol(arguments):
    if "config" in arguments:
        return (
            "MaxArraySize = 1001\nMaxJobCount = 10000\nMinJobAge = 300 sec\nClusterName = lab\nSLURM_VERSION = 22.05\n"
        )
    number = arguments[-1].partition("_")[0]
    for row in jobs():
        if "job" in arguments and str(row["number"]) == number:
            return f"JobId={number} JobName={row['name']} JobState={row['state']}\n"
    if "job" in arguments:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        sys.exit(1)
    return ""


def sinfo(arguments):
    return "main*|up|1-00:00:00|8|32000|gpu:a100:2|(null)\n"


def sacctmgr(arguments):
    return ""


def srun(arguments):
    return ""


def main():
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    with CALLS.open("a") as file:
        file.write(" ".join([program, *arguments]) + "\n")
    cluster = os.environ.get("STAND_IN_CLUSTER")
    wrong = misbehaves(program) and not ("--test-only" in arguments and setting("sbatch", "TEST") != "1")
    elsewhere = cluster and program not in ("sbatch", "sacctmgr", "srun")
    if elsewhere and f"-M {cluster}" not in " ".join(arguments):
        return 0
    silent = wrong and (
        setting(program, "EMPTY") or (setting(program, "ERR") and (program != "sbatch" or "--test-only" in arguments))
    )
    answer = "" if silent else globals()[program](arguments)
    if not (wrong and setting(program, "ERR") and setting(program, "SAYS") is None):
        sys.stdout.write(answer or "")
    if wrong:
        sys.stderr.write(setting(program, "ERR") or "")
        return int(setting(program, "RC") or 0)
    return 0


sys.exit(main())
