"""What outlives a run that ends early, and who may go on with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from filelock import FileLock

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import StateMismatchError
from hyseg_cli.geo.output import work_folder as work
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.tiling import blocks
from hyseg_cli.workflows.predict import plan

TILES = ("--tile-size", "64", "--overlap", "32")


@pytest.fixture
def scene(tmp_path, write_raster):
    folder = tmp_path / "scenes"
    folder.mkdir()
    image = np.random.default_rng(0).integers(1, 255, (3, 150, 130), dtype=np.uint8)
    return write_raster(image, "scenes/scene.tif", photometric="RGB")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 6000)


@pytest.fixture
def predict(tmp_path, scene, tiny_model):
    (tmp_path / "maps").mkdir()

    def run(*flags: object):
        words = ["predict", scene, "--out", tmp_path / "maps" / "map.tif", "-m", tiny_model]
        return CliRunner().invoke(cli, [*map(str, [*words, *TILES, *flags])])

    return run


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "an older map"])
def test_a_merge_that_is_killed_anywhere_is_mended(tmp_path, scene, tiny_model, predict, before):
    folder, map_there = tmp_path / "maps", {"nothing": None, "an older map": b"older"}[before]
    flags = ["--confidence", folder / "sure.tif", "--style", "-q"]
    assert predict(*flags).exit_code == 0
    expected = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    assert predict("--shard", "1/1", *flags).exit_code == 0
    if map_there:
        (folder / "map.tif").write_bytes(map_there)
        flags.append("--overwrite")
    words = ["predict", scene, "--out", folder / "map.tif", "-m", tiny_model, *TILES, *flags]
    script = Path(__file__).with_name("killed_merges.py")
    found_there = {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(
        [sys.executable, script, folder, *map(str, words)],
        check=True, capture_output=True, text=True, env=os.environ | found_there,
    )  # fmt: skip
    outcomes = json.loads(printed.stdout.splitlines()[-1])
    old = hashlib.sha256(map_there).hexdigest() if map_there else None
    for outcome in outcomes:
        # Under its name stands the old map or the new one, never half a map.
        assert outcome["found"].get("map.tif") in (old, expected["map.tif"])
        is_complete = outcome["mended"] == 3 and outcome["found"]["map.tif"] == expected["map.tif"]
        assert outcome["mended"] == 0 or is_complete, outcome
        assert outcome["left"] == expected, outcome
    assert len(outcomes) > 12
    assert {True, False} == {"sure.tif" in outcome["found"] for outcome in outcomes}


def test_what_only_a_clearing_run_left_is_removed(tmp_path, predict):
    assert predict().exit_code == 0
    folder = tmp_path / "maps" / "map.tif.hyseg"
    folder.mkdir()
    for name in ("finished", "finishing.json", "row000000000-col000000000.tif"):
        (folder / name).write_text("[]")
    assert predict("--skip-existing").exit_code == 0
    assert not folder.exists()


def test_a_stopped_run_does_not_own_what_it_did_not_write(tmp_path, predict):
    """Between the two names of its outputs a run is killed; another confidence is the user's."""
    assert predict("--confidence", tmp_path / "maps" / "sure.tif").exit_code == 0
    own = WorkFolder(tmp_path / "maps" / "map.tif")
    own.path.mkdir()
    own.start_finishing([own.out, tmp_path / "maps" / "sure.tif"])
    mine = tmp_path / "sure.tif"
    mine.write_bytes(b"mine")
    result = predict("--confidence", mine, "--no-resume")
    assert result.exit_code == 3
    assert "exists already" in result.stderr
    assert mine.read_bytes() == b"mine"


def test_confidence_and_probabilities_of_one_name_are_different_work(tmp_path, predict):
    assert predict("--shard", "1/2", "--confidence", tmp_path / "x.tif").exit_code == 0
    result = predict("--probabilities", tmp_path / "x.tif")
    assert result.exit_code == 3
    assert "outputs was" in result.stderr


def test_parts_that_start_together_settle_once(tmp_path):
    """Each finds an empty folder and all agree; none throws away what another has done."""
    settled, done, errors = {"seed": 1}, threading.Barrier(8), []

    def part(number):
        own = WorkFolder(tmp_path / "map.tif")
        try:
            done.wait()
            with own.locked(f"{number}-of-8"):
                own.settle(settled, resume=True)
                with own.writing(f"row{number}.tif") as path:
                    path.write_text("shard")
                done.wait()
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)
            done.abort()

    threads = [threading.Thread(target=part, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list((tmp_path / "map.tif.hyseg").glob("row*.tif"))) == 8


def test_who_waits_for_a_folder_that_is_removed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "PATIENCE_SECONDS", 0.1)
    own = WorkFolder(tmp_path / "map.tif")
    with own.locked():
        for other in (None, "1-of-2"):
            with pytest.raises(StateMismatchError), WorkFolder(own.out).locked(other):
                pass
        own.settle({}, resume=True)
        own.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_part_in_work_keeps_the_folder(tmp_path):
    own = WorkFolder(tmp_path / "map.tif")
    own.path.mkdir()
    with FileLock(own.path / "part-1-of-2.lock"), pytest.raises(StateMismatchError), own.locked():
        pass
    assert own.path.is_dir()


def test_a_damaged_manifest_is_told(tmp_path, predict):
    assert predict("--shard", "1/2").exit_code == 0
    (tmp_path / "maps" / "map.tif.hyseg" / "manifest.json").write_text("{")
    result = predict()
    assert result.exit_code == 3
    assert "is damaged" in result.stderr
    assert predict("--no-resume").exit_code == 0


def test_parts_of_a_gpu_are_merged_without_one(tmp_path, predict, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(plan, "precision_on", lambda *_: "bfloat16")
        assert predict("--shard", "1/1").exit_code == 0
    manifest = tmp_path / "maps" / "map.tif.hyseg" / "manifest.json"
    assert json.loads(manifest.read_text())["precision"] == "bfloat16"
    assert predict().exit_code == 3  # to compute more of it here would mix them
    assert predict("--merge").exit_code == 0


def test_a_compiled_network_does_not_go_on_with_parts_of_another(predict):
    assert predict("--shard", "1/2").exit_code == 0
    result = predict("--compile")
    assert result.exit_code == 3
    assert "compiled" in result.stderr


def test_an_output_may_lie_on_another_file_system(tmp_path, predict):
    other = Path("/dev/shm")  # noqa: S108 - a file system of its own on most Linux machines
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at hand")
    folder = other / f"hyseg-test-{os.getpid()}"
    folder.mkdir()
    try:
        assert predict("--confidence", folder / "sure.tif").exit_code == 0
        with rasterio.open(folder / "sure.tif") as found:
            assert found.descriptions == ("confidence",)
        assert {path.name for path in folder.iterdir()} == {"sure.tif", "sure.tif.aux.xml"}
    finally:
        shutil.rmtree(folder)


def test_shards_that_are_there_need_no_disk_again(predict, monkeypatch):
    """What is still to be written must fit, not what is written already."""
    assert predict("--shard", "1/1").exit_code == 0
    pixels = 150 * 130
    for free, code in ((0.25 * 1.3 * pixels, 1), (0.25 * 1.5 * pixels, 0)):
        usage = shutil._ntuple_diskusage(10**9, 0, int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert predict().exit_code == code


def test_a_part_that_starts_beside_another_takes_no_new_folder_for_an_old_one(
    tmp_path, predict, monkeypatch
):
    folder = tmp_path / "maps" / "map.tif.hyseg"
    folder.mkdir(parents=True)
    released, held = threading.Event(), FileLock(folder / "run.lock", thread_local=False)
    create = WorkFolder._create

    def start_at_the_same_time(self):
        create(self)
        held.acquire()
        threading.Timer(0.5, lambda: (held.release(), released.set())).start()
        monkeypatch.setattr(WorkFolder, "_create", create)

    # The other has made the folder, and takes the lock when this one has looked at it.
    monkeypatch.setattr(WorkFolder, "_create", start_at_the_same_time)
    assert predict("--shard", "1/2").exit_code == 0
    assert released.is_set()
