#!/bin/sh
# Map scenes with a SLURM array job, one GPU per part, then make the maps in one more job.
#   PARTS=16 sh slurm.sh SCENES MAPS [OPTIONS OF PREDICT...]
# SCENES is a scene, a folder or @LIST; MAPS is a file for one scene, otherwise a folder; both must
# be on storage that all nodes share. Put options of sbatch, such as the partition and the time
# limit, into SBATCH_FLAGS. A part that is stopped or killed continues when it is queued again. Run
# this again to continue everything.
#SBATCH --job-name=hyseg
#SBATCH --requeue
#SBATCH --cpus-per-task=8
#SBATCH --signal=TERM@60
set -u

if [ $# -lt 2 ]; then
    echo "usage: PARTS=16 sh slurm.sh SCENES MAPS [OPTIONS OF PREDICT...]" >&2
    exit 2
fi
scenes=$1 maps=$2
shift 2

case ${HYSEG_STEP:-submit} in
    part)
        exec hyseg predict "$scenes" --out "$maps" \
            --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
        ;;
    merge)
        # Reports what is missing, scene by scene.
        exec hyseg predict "$scenes" --out "$maps" --merge "$@"
        ;;
    submit)
        # Unquoted: several flags.
        # shellcheck disable=SC2086
        array=$(HYSEG_STEP=part sbatch ${SBATCH_FLAGS:-} --parsable --gpus-per-task=1 --ntasks=1 \
            --array="1-${PARTS:-8}" "$0" "$scenes" "$maps" "$@") || exit
        # shellcheck disable=SC2086
        HYSEG_STEP=merge sbatch ${SBATCH_FLAGS:-} --parsable --ntasks=1 \
            --dependency="afterany:${array%%;*}" "$0" "$scenes" "$maps" "$@"
        ;;
esac
