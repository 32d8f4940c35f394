#!/usr/bin/env bash
# The entry that cron calls: python -m replicate nightly, with an environment, a log and a notification.
#
#   slurm/nightly.sh [options of nightly]      lines for cron: python -m replicate nightly --print cron [options]
#
# A paper whose folder lies elsewhere is named by --tables, --results and --out, as the printed lines do.
#
# Variables, all optional:
#   REPLICATE_PYTHON   the interpreter; default: that of <repository>/.venv
#   REPLICATE_SETUP    a shell file that is read first: modules, SLURM_CONF, PATH
#   REPLICATE_LOG      folder of the logs; default: <repository>/log/nightly
#   REPLICATE_KEEP     how many logs are kept; default: 30
#   REPLICATE_NOTIFY   a shell command that is told of every night. The summary is its standard input, the exit code
#                      of the night is $1 and $REPLICATE_EXIT. For example:
#                      [ "$1" = 0 ] || mail -s "nightly: exit $1" me@example.org
#
# The exit code is that of the night (docs/nightly.md): 0 same, 1 moved, 2 jobs failed, 3 infrastructure. Where the logs
# cannot be kept the night runs all the same, with its log in a temporary folder, and the code is 3. Nothing is locked
# here: nightly itself never runs twice at once.

# Without -e: a command of this script that fails must neither stop the night nor end with 1, which says "moved".
set -uo pipefail
umask 077

# cron's PATH lacks the folders that sites install Slurm into.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/bin:/opt/slurm/bin"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export PYTHONUNBUFFERED=1
unset CDPATH

script="$(readlink -f -- "${BASH_SOURCE[0]}" 2>/dev/null)" || script="${BASH_SOURCE[0]}"
[[ "$script" == */* ]] || script="./$script"
repository="$(cd "${script%/*}/.." 2>/dev/null && pwd)" || repository="${script%/*}/.."
stamp="$(TZ=UTC0 printf '%(%Y-%m-%dT%H%M%SZ)T' -1)-$$"
wanted="${REPLICATE_LOG:-$repository/log/nightly}"
keep="${REPLICATE_KEEP:-30}"
faults=""

fault() {
    printf 'error: %s\n' "$1" >&2
    faults+="error: $1"$'\n'
}

# Whether logs fit into folder $1; `reason` says why not. On a full disk a file can be created, but not filled.
reason=""
fits() {
    local probe="$1/.probe-$stamp"
    if reason="$({ mkdir -p -- "$1" && printf '%065536d' 0 >"$probe" && rm -- "$probe"; } 2>&1)"; then
        return 0
    fi
    reason="${reason##*: }"
    rm -f -- "$probe" 2>/dev/null
    return 1
}

if ! [[ "$keep" =~ ^[1-9][0-9]{0,5}$ ]]; then
    fault "REPLICATE_KEEP: expected a whole number above 0, got '$keep'; 30 logs are kept"
    keep=30
fi

log=/dev/null
summary=/dev/null
folder="$wanted"
if ! fits "$folder"; then
    why="$reason"
    folder=""
    for base in "${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm; do
        folder="$(mktemp -d "$base/replicate-nightly.XXXXXX" 2>/dev/null)" || continue
        fits "$folder" && break
        rm -rf -- "$folder"
        folder=""
    done
    fault "$wanted: logs cannot be kept there: $why; make room, or name another folder with REPLICATE_LOG"
    fault "the log of this night is ${folder:-nowhere, as no temporary folder can be written either}"
fi
if [[ -n "$folder" ]]; then
    log="$folder/nightly-$stamp.log"
    summary="$folder/nightly-$stamp.md"
fi

# Lines for the log. Whatever becomes of them, the night goes on.
note() {
    { printf '%s\n' "$1" >>"$log"; } 2>/dev/null
}

night() {
    if [[ -n "${REPLICATE_SETUP:-}" ]]; then
        # Files of a site are rarely written for `set -u`; and standard output is the summary's.
        set +u
        # shellcheck disable=SC1090
        . "$REPLICATE_SETUP" >&2 || printf "error: %s: REPLICATE_SETUP ended with %s\n" "$REPLICATE_SETUP" "$?" >&2
        set -u
    fi
    local python="${REPLICATE_PYTHON:-}"
    if [[ -z "$python" && -x "$repository/.venv/bin/python" ]]; then
        set +u
        # shellcheck disable=SC1091
        . "$repository/.venv/bin/activate"
        set -u
        python="$repository/.venv/bin/python"
    fi
    [[ -n "$python" ]] || python=python3
    if ! command -v "$python" >/dev/null; then
        printf "error: REPLICATE_PYTHON: no such interpreter, got '%s'\n" "$python" >&2
        return 3
    fi
    cd "$repository" || return 3
    exec "$python" -m replicate nightly "$@"
}

note "# $stamp: nightly$( (($# == 0)) || printf ' %q' "$@")"
[[ -z "$faults" ]] || note "${faults%$'\n'}"
# Through tee, which goes on reading when the disk is full: a night must not end because its log does.
exec 3> >(exec tee -a -- "$log" >/dev/null 2>&1)
logger=$!
night "$@" >"$summary" 2>&3 3>&- &
child=$!
exec 3>&-
# Whoever stops this script stops the night, which then writes its summary.
trap 'kill -TERM "$child" 2>/dev/null' TERM INT HUP
while :; do
    wait "$child"
    code=$?
    kill -0 "$child" 2>/dev/null || break
done
# A process that the night has left may hold the log open for ever.
for ((tenth = 0; tenth < 50; tenth++)); do
    kill -0 "$logger" 2>/dev/null || break
    sleep 0.1
done

# Python itself ends with 1 and 2 for reasons of its own, but then it has printed no summary.
text="$(cat -- "$summary" 2>/dev/null)"
if [[ -z "$text" ]]; then
    text="$(printf '# exit 3: no summary, and exit %d; the end of the log:\n\n' "$code"; tail -n 30 -- "$log" 2>/dev/null)"
    code=3
    { printf '%s\n' "$text" >"$summary"; } 2>/dev/null
elif ((code > 3)); then
    text="$(printf '# exit 3: the night ended with %d after its summary:\n\n%s' "$code" "$text")"
    code=3
fi
note "$text"
if [[ -n "$folder" ]] && ! fits "$folder"; then
    fault "$folder: the log of this night is not whole: $reason; make room, or name another folder with REPLICATE_LOG"
    log=/dev/null
fi
[[ -z "$faults" ]] || code=3
note "# exit $code"

# The oldest go, but never this night's; names begin with the time, so they sort by it.
shopt -s nullglob
if [[ -n "$folder" ]]; then
    for kind in log md; do
        files=("$folder"/nightly-*."$kind")
        for ((index = 0; index < ${#files[@]} - keep; index++)); do
            [[ "${files[index]}" == *"$stamp"* ]] || rm -f -- "${files[index]}" 2>/dev/null
        done
    done
fi

if [[ -n "${REPLICATE_NOTIFY:-}" ]]; then
    printf '%s%s\n' "$faults" "$text" 2>/dev/null |
        REPLICATE_EXIT="$code" bash -c "$REPLICATE_NOTIFY" notify "$code" >>"$log" 2>&1
    told=${PIPESTATUS[1]}
    ((told == 0)) || note "# REPLICATE_NOTIFY ended with $told"
fi
exit "$code"
