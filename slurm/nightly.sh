#!/usr/bin/env bash
# The entry that cron calls: python -m replicate nightly, with an environment, a log and a notification.
#
#   slurm/nightly.sh [options of nightly]      lines for cron: python -m replicate nightly --print cron [options]
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
# The exit code is that of the night (docs/nightly.md): 0 same, 1 moved, 2 jobs failed, 3 infrastructure. Nothing is
# locked here: nightly itself never runs twice at once.
set -euo pipefail
umask 077

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(dirname "$here")"
log_folder="${REPLICATE_LOG:-$repository/log/nightly}"
keep="${REPLICATE_KEEP:-30}"
if ! [[ "$keep" =~ ^[1-9][0-9]{0,5}$ ]]; then
    printf "error: REPLICATE_KEEP: expected a whole number above 0, got '%s'\n" "$keep" >&2
    exit 3
fi

if ! mkdir -p -- "$log_folder"; then
    printf "error: %s: logs cannot be written there; name another folder with REPLICATE_LOG\n" "$log_folder" >&2
    exit 3
fi
stamp="$(date -u +%Y-%m-%dT%H%M%SZ)-$$"
log="$log_folder/nightly-$stamp.log"
summary="$log_folder/nightly-$stamp.md"

# cron's PATH lacks what sites install Slurm into.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/bin:/opt/slurm/bin"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export PYTHONUNBUFFERED=1

night() {
    if [[ -n "${REPLICATE_SETUP:-}" ]]; then
        # Files of a site are rarely written for `set -u`.
        set +eu
        # shellcheck disable=SC1090
        . "$REPLICATE_SETUP" || printf "error: %s: REPLICATE_SETUP ended with %s\n" "$REPLICATE_SETUP" "$?" >&2
        set -eu
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
    "$python" -m replicate nightly "$@"
}

code=0
printf '# %s: nightly' "$stamp" >"$log"
printf ' %q' "$@" >>"$log"
printf '\n' >>"$log"
(night "$@") >"$summary" 2>>"$log" || code=$?
# Python itself ends with 1 and 2 for reasons of its own, but then it has printed no summary.
if [[ ! -s "$summary" ]]; then
    ((code >= 128)) || code=3
    { printf '# exit %d: no summary; the end of the log:\n\n' "$code"; tail -n 30 -- "$log"; } >"$summary"
fi
cat -- "$summary" >>"$log"
printf '# exit %d\n' "$code" >>"$log"

# The oldest go; names begin with the time, so they sort by it.
shopt -s nullglob
for kind in log md; do
    files=("$log_folder"/nightly-*."$kind")
    for ((index = 0; index < ${#files[@]} - keep; index++)); do
        rm -f -- "${files[index]}"
    done
done

if [[ -n "${REPLICATE_NOTIFY:-}" ]]; then
    REPLICATE_EXIT="$code" \
        bash -c "$REPLICATE_NOTIFY" notify "$code" <"$summary" >>"$log" 2>&1 ||
        printf '# REPLICATE_NOTIFY ended with %d\n' "$?" >>"$log"
fi
exit "$code"
