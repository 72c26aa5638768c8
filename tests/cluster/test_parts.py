"""Parts of a map that processes make without knowing of each other, and the scripts for them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from cluster.conftest import ROOT, RUN, SMALL_BLOCKS, TILES

from hyseg_cli.cli.group import cli

EXAMPLES = ROOT / "examples"


def environment(folder=None):
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*([str(folder)] if folder else []), *path]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "models")]),
        "OMP_NUM_THREADS": "1",
    }


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.slow
def test_three_parts_at_once_make_the_same_map_which_others_read(
    tmp_path, scene, lively_model, expected
):
    out = tmp_path / "map.tif"
    words = ["predict", scene, "--out", out, "-m", lively_model, *TILES]

    def start(*flags):
        return subprocess.Popen(
            [sys.executable, "-c", SMALL_BLOCKS + RUN, *map(str, words), *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    parts = [start("--shard", f"{part}/3") for part in (1, 2, 3)]
    told = [part.communicate()[1] for part in parts]
    assert [part.returncode for part in parts] == [0, 0, 0], told
    assert not out.exists()
    merged = start("--merge")
    told = merged.communicate()[1]
    assert merged.returncode == 0, told
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]

    polygons = tmp_path / "map.fgb"
    made = CliRunner().invoke(cli, ["vectorize", str(out), "--out", str(polygons)])
    assert made.exit_code == 0, made.output
    same = CliRunner().invoke(
        cli,
        [
            "evaluate",
            str(out),
            "--reference",
            str(polygons),
            "--class-field",
            "class_name",
            "--json",
        ],
    )
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["overall_accuracy"] == 1.0


SBATCH = """#!/bin/sh
# Runs a job at once; the tasks of an array side by side.
echo "$HYSEG_STEP $*" >> "$LOG"
tasks=
while [ "${1#-}" != "$1" ]; do
    case $1 in --array=1-*) tasks=${1#--array=1-} ;; esac
    shift
done
if [ -n "$tasks" ]; then
    export SLURM_ARRAY_TASK_COUNT=$tasks
    for i in $(seq "$tasks"); do SLURM_ARRAY_TASK_ID=$i sh "$@" >&2 & done
    wait
else
    sh "$@" >&2
fi
echo "42;here"
"""


@pytest.mark.slow
def test_a_slurm_array_maps_a_folder(tmp_path, scene, tiny_model):
    bin_folder, scenes = tmp_path / "bin", tmp_path / "scenes"
    program(bin_folder, "sbatch", SBATCH)
    program(bin_folder, "hyseg", f'#!/bin/sh\nexec {sys.executable} -m hyseg_cli "$@"\n')
    scenes.mkdir()
    (scenes / "a b.tif").symlink_to(scene)
    log = tmp_path / "log"
    done = subprocess.run(
        ["/bin/sh", EXAMPLES / "slurm.sh", scenes, tmp_path / "maps", "-m", tiny_model, *TILES],
        env={
            **environment(bin_folder),
            "PARTS": "2",
            "LOG": str(log),
            "SBATCH_FLAGS": "--partition=gpu",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    part, merge = log.read_text().splitlines()
    assert part.startswith("part --partition=gpu --parsable --gpus-per-task=1")
    assert "--dependency=afterany:42 " in merge
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "a b_hyseg.tif",
        "a b_hyseg.tif.aux.xml",
    }


def test_an_indexed_job_computes_every_part_once(tmp_path):
    log = tmp_path / "log"
    program(tmp_path / "bin", "hyseg", '#!/bin/sh\nprintf "%s\\n" "$*" >> "$LOG"\n')
    parts, merge = yaml.safe_load_all((EXAMPLES / "k8s-job.yaml").read_text())
    count = parts["spec"]["completions"]
    for job, indexes in ((parts, range(count)), (merge, (0,))):
        container = job["spec"]["template"]["spec"]["containers"][0]
        fixed = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        for index in indexes:
            subprocess.run(
                [*container["command"], *container["args"]],
                env={
                    **environment(tmp_path / "bin"),
                    **fixed,
                    "JOB_COMPLETION_INDEX": str(index),
                    "LOG": str(log),
                },
                check=True,
            )
    *shards, last = log.read_text().splitlines()
    common = "predict /data/scenes --out /data/maps"
    assert shards == [f"{common} --shard {part}/{count}" for part in range(1, count + 1)]
    assert last == f"{common} --merge"
