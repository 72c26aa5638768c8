#!/bin/sh
# Map every scene of a folder that has no map yet and make polygons of the maps; for cron.
#   batch.sh SCENES MAPS [OPTIONS OF PREDICT...]
# Exits with 0 if everything is done, 6 if some scenes failed (the next run tries them again), 75 if
# another run is active, and otherwise with the code of the command that failed. Run it again to
# continue after a stop.
set -u

if [ $# -lt 2 ]; then
    echo "usage: batch.sh SCENES MAPS [OPTIONS OF PREDICT...]" >&2
    exit 2
fi
scenes=$1 maps=$2
shift 2
mkdir -p "$maps" || exit 1

# The folder is a lock: mkdir checks and creates it in one step. A run that was killed leaves the
# number of a process that no longer exists.
lock=$maps/.batch.lock
if ! mkdir "$lock" 2>/dev/null; then
    if kill -0 "$(cat "$lock/pid" 2>/dev/null || echo x)" 2>/dev/null; then
        echo "another run is active in $maps" >&2
        exit 75
    fi
    echo "clearing the lock of a run that was killed" >&2
fi
echo $$ > "$lock/pid"
trap 'rm -rf "$lock"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

hyseg predict "$scenes" --out "$maps" --skip-existing --json "$@" > "$maps/summary.json"
code=$?
case $code in
    0 | 6) ;; # all mapped, or all but some: the summary says which and why
    *) exit "$code" ;;
esac

for map in "$maps"/*_hyseg.tif; do
    [ -e "$map" ] || continue
    polygons=${map%.tif}.gpkg
    [ -e "$polygons" ] && continue
    hyseg vectorize "$map" --out "$polygons" --smooth --simplify 1px --quiet >/dev/null
    failed=$?
    if [ "$failed" -ne 0 ]; then
        echo "$map: vectorize ended with $failed" >&2
        [ "$failed" -ge 128 ] && exit "$failed"
        code=6
    fi
done
exit "$code"
