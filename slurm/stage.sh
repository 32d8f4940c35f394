#!/usr/bin/env bash
# Unpacks an archive onto a disk of this node, once: the environment of the jobs, or their images.
#
#   slurm/stage.sh ARCHIVE FOLDER
#
# For `setup` of a profile (docs/cluster.md). Jobs that start on a node meanwhile wait until it is unpacked. What was cut
# off is unpacked anew. FOLDER is on a disk of the node, in a folder that exists, such as /tmp/NAME or /scratch/NAME;
# another archive needs another FOLDER, for jobs may still read this one. Removing FOLDER is your site's or yours to do.
set -euo pipefail
umask 077

fail() { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 1; }

(($# == 2)) || fail "two arguments, got $#" "slurm/stage.sh ARCHIVE FOLDER"
archive="$1" folder="${2%/}"
[[ -r "$archive" ]] || fail "no such archive on $(hostname), got '$archive'" "name one on the shared file system"
[[ "$folder" == /?* ]] || fail "the folder must be absolute, got '$2'"
[[ -d "$(dirname "$folder")" ]] || fail "no folder $(dirname "$folder") on $(hostname)"
mark="$(stat -c '%s %Y' "$archive") $archive"

# What somebody else put there would run as you.
yours() { [[ ! -e "$1" && ! -L "$1" ]] || [[ -O "$1" && ! -L "$1" ]]; }
for path in "$folder" "$folder.lock"; do
    yours "$path" || fail "$path on $(hostname) is another user's, or a link" "name another folder"
done

exec 9>>"$folder.lock"
flock 9
if [[ -e "$folder" ]]; then
    [[ "$(<"$folder/.staged")" == "$mark" ]] || fail "$folder on $(hostname) is from another archive" \
        "there: $(<"$folder/.staged")" "here:  $mark" "name another folder, or remove it where no job reads it"
    exit 0
fi
# Only what is whole gets the name.
rm -rf "$folder.part"
mkdir "$folder.part"
begin=$SECONDS
tar -xf "$archive" -C "$folder.part" 9>&- || { rm -rf "$folder.part"; fail "cannot unpack $archive on $(hostname)"; }
# An archive brings the mode of its top folder along.
chmod 700 "$folder.part"
printf '%s\n' "$mark" >"$folder.part/.staged"
mv -T "$folder.part" "$folder"
echo "unpacked $archive to $folder on $(hostname) in $((SECONDS - begin)) s"
