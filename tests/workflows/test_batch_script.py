"""`examples/batch.sh` as an analyst keeps it in cron."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "batch.sh"


def run(*arguments):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )


def test_a_folder_is_mapped_once_and_bad_scenes_are_told(tmp_path, scene_folder, tiny_model):
    scenes, maps = tmp_path / "scenes", tmp_path / "maps"
    scenes.mkdir()
    shutil.copy(scene_folder / "images" / "east.tif", scenes / "a b.tif")
    (scenes / "bad.tif").write_text("this is no raster")
    flags = ("--model", tiny_model, "--tile-size", 128)
    first = run(scenes, maps, *flags)
    assert first.returncode == 6, first.stderr
    told = json.loads((maps / "summary.json").read_text())
    assert [entry["state"] for entry in told["scenes"]] == ["done", "failed"]
    names = {"a b_hyseg.tif", "a b_hyseg.tif.aux.xml", "a b_hyseg.gpkg", "summary.json"}
    assert {path.name for path in maps.iterdir()} == names
    (scenes / "bad.tif").unlink()
    made = (maps / "a b_hyseg.gpkg").stat().st_mtime_ns
    assert run(scenes, maps, *flags).returncode == 0
    assert (maps / "a b_hyseg.gpkg").stat().st_mtime_ns == made


def test_runs_keep_out_of_each_others_way(tmp_path):
    lock = tmp_path / ".batch.lock"
    lock.mkdir()
    (lock / "pid").write_text(str(os.getpid()))
    assert run(tmp_path, tmp_path).returncode == 75
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    (lock / "pid").write_text(str(ended.pid))
    assert run(tmp_path, tmp_path).returncode == 2  # there are no scenes
    assert not lock.exists()


def test_codes_are_handed_on(tmp_path):
    assert run().returncode == 2
    assert run(tmp_path / "none", tmp_path / "maps").returncode != 0
