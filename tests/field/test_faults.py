"""Every command that writes: killed at any moment, on a full or read-only disk, twice at once."""

import errno
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner
from field.killed_commands import digest
from filelock import FileLock
from rasterio.transform import from_origin
from rasters import write_geotiff
from shapely.geometry import box
from workflows.training import train_arguments

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.report import provenance

PROGRAM = Path(__file__).with_name("killed_commands.py")
CLASSES = np.kron(np.random.default_rng(0).integers(0, 3, (8, 8)), np.ones((8, 8))).astype(np.uint8)
LEGEND = {
    "classes": [{"id": i, "name": f"class {i}", "color": f"#{i}{i}{i}{i}{i}{i}"} for i in range(3)]
}


@pytest.fixture
def place(tmp_path):
    """A folder with two maps, a legend, and outputs of an earlier time that are replaced."""
    folder = tmp_path / "place"
    folder.mkdir()
    write_geotiff(folder / "map.tif", CLASSES, nodata=255)
    write_geotiff(folder / "new.tif", CLASSES.T.copy(), nodata=255)
    (folder / "legend.json").write_text(json.dumps(LEGEND))
    parcels = gpd.GeoDataFrame({"owner": ["A"]}, geometry=[box(0, 0, 1, 1)], crs=32632)
    parcels.to_file(folder / "project.gpkg", layer="parcels")
    for name in ("out.csv", "out.tif", "out.html", "sieved.tif"):
        (folder / name).write_text("of an earlier time")
    return folder


COMMANDS = {
    "sample": ("sample", "map.tif", "-o", "project.gpkg", "--count", "200"),
    "change": (
        "change", "map.tif", "new.tif", "--legend", "legend.json", "-o", "out.tif",
        "--csv", "out.csv",
    ),
    "evaluate": (
        "evaluate", "map.tif", "--reference", "new.tif", "--legend", "legend.json",
        "--csv", "out.csv", "--report", "out.html",
    ),
    "vectorize": (
        "vectorize", "map.tif", "-o", "project.gpkg", "--mmu", "4px", "--sieve-out", "sieved.tif",
    ),
    "shapefile": ("vectorize", "map.tif", "-o", "polygons.shp"),
    "geojson": ("vectorize", "map.tif", "-o", "polygons.geojson"),
}  # fmt: skip


def words_of(command, folder):
    """The words of a command, with the names of files in a folder."""
    name, *rest = COMMANDS[command]
    words = [str(folder / word) if "." in word else word for word in rest]
    return [name, *words, "--overwrite"]


def outcomes_of(folder, words, step=1):
    done = subprocess.run(
        [sys.executable, PROGRAM, str(step), folder, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1]), "OMP_NUM_THREADS": "1"},
        check=False, capture_output=True, text=True, cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def require_layers(path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT owner FROM parcels").fetchall() == [("A",)]


def hashes(folder):
    return {path.name: digest(path) for path in folder.iterdir() if path.is_file()}


def some_of(commands, *quick):
    """Commands of which some are always tried, and the others where tests may be slow."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in commands
    ]


@pytest.mark.parametrize("command", some_of(COMMANDS, "sample", "geojson"))
def test_whenever_a_command_is_killed_its_files_are_old_or_new_and_it_can_be_run_again(
    place, command
):
    before = hashes(place)
    *killed, whole = outcomes_of(place, words_of(command, place))
    assert whole["killed"] == 0
    assert len(killed) > 1
    after = whole["left"]
    for number, outcome in enumerate(killed):
        assert outcome["killed"] == -signal.SIGKILL
        for name, found in outcome["found"].items():
            if not name.startswith(".") and ".hyseg/" not in name:
                assert found in (before.get(name), after.get(name)), (number, name)
        assert before.keys() <= outcome["found"].keys()
        assert outcome["mended"] == 0
        assert outcome["left"].keys() == after.keys()
        # What replaces a layer of a GeoPackage for the second time lies elsewhere in the file.
        same = [name for name in after if not name.endswith(".gpkg")]
        assert [outcome["left"][name] for name in same] == [after[name] for name in same]
    if "project.gpkg" in COMMANDS[command]:
        require_layers(place / "project.gpkg")


@pytest.fixture
def mapped(tmp_path, tiny_model):
    """Words that join the maps of two scenes, which exist, to `mosaic.tif` in a folder."""
    folder = tmp_path / "mapped"
    (folder / "scenes").mkdir(parents=True)
    for number in range(2):
        image = np.random.default_rng(number).integers(30, 220, (3, 64, 64), dtype=np.uint8)
        place = from_origin(500_000 + 32 * number, 5_400_000, 0.5, 0.5)
        write_geotiff(folder / f"scenes/{number}.tif", image, transform=place, photometric="RGB")
    words = ["predict", folder / "scenes", "-o", folder / "maps", "-m", tiny_model]
    assert run(*words).exit_code == 0
    return folder, [*words, "--skip-existing", "--mosaic"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mosaic.tif", "mosaic.vrt"])
def test_a_mosaic_that_is_killed_is_whole_or_not_there(mapped, name):
    folder, words = mapped
    *killed, whole = outcomes_of(folder, [*words, folder / name])
    assert whole["killed"] == 0
    assert killed
    for outcome in killed:
        assert outcome["found"].get(name) in (None, whole["left"][name])
        assert outcome["mended"] == 0
        assert outcome["left"] == whole["left"]


@pytest.mark.parametrize("name", ["mosaic.tif", "mosaic.vrt"])
def test_a_mosaic_on_a_full_disk_is_one_error_and_not_there(mapped, small_disk, name):
    filler = small_disk / "filler"
    for left in (0, 4096):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - left)))
        result = run(*mapped[1], small_disk / name)
        filler.unlink()
        if result.exit_code:
            require_one_error(result, 1, "space")
            assert not list(small_disk.iterdir())
    assert run(*mapped[1], small_disk / name).exit_code == 0


def test_a_training_on_a_full_disk_is_one_error_and_leaves_no_model(scene_folder, small_disk):
    filler, out = small_disk / "filler", small_disk / "m.safetensors"
    for left in (0, 65_536):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - left)))
        result = run(
            *train_arguments(scene_folder, out, **{"prior-steps": 1, "steps": 1}), "--resume"
        )
        filler.unlink()
        require_one_error(result, 1, "space")
        assert not out.exists()
        assert not list(small_disk.glob("**/.*"))


def test_of_two_trainings_to_one_model_the_second_is_refused(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    words = train_arguments(scene_folder, out, **{"prior-steps": 1, "steps": 1})
    (tmp_path / "m.run").mkdir()
    with FileLock(tmp_path / "m.run/run.lock"):
        for flags in ((), ("--overwrite",), ("--resume",)):
            require_one_error(run(*words, *flags), 3, "in use by another training")
    assert not out.exists()


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_to_the_same_model(tmp_path, scene_folder):
    folder = tmp_path / "trained"
    folder.mkdir()
    options = {"prior-steps": 2, "steps": 4, "val-every": 2, "save-every": 2, "workers": 0}
    words = train_arguments(scene_folder, folder / "m.safetensors", **options)
    *killed, whole = outcomes_of(folder, [*words, "--resume", "--overwrite"], step=7)
    assert whole["killed"] == 0
    assert killed
    for outcome in killed:
        assert outcome["mended"] == 0
        assert outcome["left"]["m.safetensors"] == whole["left"]["m.safetensors"]
        assert not [name for name in outcome["left"] if name.endswith(".part")]


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def require_one_error(result, code, said):
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "unexpected" not in errors[0]
    assert said in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_error_and_leaves_what_was_there(place, small_disk, command):
    for path in place.iterdir():
        shutil.copy2(path, small_disk)
    before, filler, codes = hashes(small_disk), small_disk / "filler", []
    for left in (0, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - left)))
        result = run(*words_of(command, small_disk))
        filler.unlink()
        codes.append(result.exit_code)
        if codes[-1] == 0:
            break
        require_one_error(result, 1, "space")
        assert hashes(small_disk) == before, left
        assert not list(small_disk.glob("*.hyseg"))
    assert codes[0] == 1
    assert codes[-1] == 0
    if "project.gpkg" in COMMANDS[command]:
        require_layers(small_disk / "project.gpkg")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_disk_is_one_error(place, small_disk, command):
    for path in place.iterdir():
        shutil.copy2(path, small_disk)
    before = hashes(small_disk)
    for mode in ("ro", "rw"):
        words = [shutil.which("mount"), "-o", f"remount,{mode}", small_disk]
        subprocess.run(words, check=True)
        if mode == "ro":
            require_one_error(run(*words_of(command, small_disk)), 1, "permissions")
    assert hashes(small_disk) == before


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 1, 12, tzinfo=tz)


@pytest.mark.parametrize("command", some_of(COMMANDS, "change", "evaluate", "geojson"))
def test_a_share_that_is_gone_for_a_moment_is_one_error_and_the_command_can_be_run_again(
    place, monkeypatch, command
):
    monkeypatch.setattr(provenance, "datetime", Noon)  # a report says in which minute it was made
    before, left, seen = hashes(place), 0, []

    def failing(change):
        def act(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.ESTALE, "Stale file handle")
            return change(*arguments, **options)

        return act

    for name in ("replace", "rename", "fsync", "mkdir"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    for number in itertools.count(1):
        left = number
        result = run(*words_of(command, place))
        if left > 0:
            break
        if result.exit_code:
            require_one_error(result, 1, "Stale file handle")
        seen.append(hashes(place))
    assert number > 2
    assert result.exit_code == 0
    after = hashes(place)
    for found in seen:
        for name in found:
            # A layer that is replaced twice is numbered otherwise in a GeoPackage.
            known = (before.get(name), after.get(name))
            assert found[name] in known or name.endswith(".gpkg"), name
    require_layers(place / "project.gpkg")


@pytest.mark.parametrize("command", ["sample", "change", "vectorize", "geojson"])
def test_of_two_runs_on_one_output_the_second_is_refused(place, command):
    words = words_of(command, place)
    before = hashes(place)
    with WorkFolder(Path(words[words.index("-o") + 1])).locked():
        require_one_error(run(*words), 3, "being written by another run")
    assert hashes(place) == before
    assert run(*words).exit_code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_written_does_not_depend_on_a_clock_that_jumps(place, monkeypatch, command):
    jumps = itertools.cycle([2e9, 0.0, 1e9, 3.0])
    for name in ("time", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: next(jumps))
    for number, path in enumerate(sorted(place.iterdir())):
        os.utime(path, (4e9 * (number % 2), 4e9 * (number % 2)))
    result = run(*words_of(command, place))
    assert result.exit_code == 0, result.output


OF_MODELS = {
    "suggest": ("suggest", "SCENE", "-m", "MODEL", "-o", "project.gpkg", "-n", "5"),
    "pack": ("models", "pack", "MODEL", "-o", "packed.zip"),
    "add": ("models", "add", "MODEL", "--name", "mine"),
    "plugin": ("qgis", "zip", "-o", "plugin.zip"),
    "export": (
        "export", "MODEL", "--scene", "SCENE", "--tile-size", "64", "--format", "pt2",
        "-o", "model.pt2",
    ),
}  # fmt: skip
"""Commands whose inputs lie elsewhere than what they write."""
OF_EXPORT = [
    pytest.mark.slow,
    *(
        pytest.mark.filterwarnings(f"ignore::{kind}")
        for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
    ),
]
"""torch.export takes its time, and warns of what it will change in itself."""
WRITERS = [pytest.param(name, marks=OF_EXPORT) if name == "export" else name for name in OF_MODELS]


@pytest.fixture
def write_to(tmp_path, tiny_model, place, monkeypatch):
    """Gives the words of a command that writes to a folder, which gets what was there before."""
    image = np.random.default_rng(0).integers(30, 220, (3, 160, 160), dtype=np.uint8)
    inputs = {
        "MODEL": str(tiny_model),
        "SCENE": str(write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")),
    }

    def words(command, folder):
        monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
        if not (folder / "project.gpkg").exists():
            shutil.copy2(place / "project.gpkg", folder)
        named = [inputs.get(word, word) for word in OF_MODELS[command]]
        named = [str(folder / word) if word in OUTPUTS else word for word in named]
        return [*named, "--overwrite"]

    return words


OUTPUTS = ("project.gpkg", "packed.zip", "plugin.zip", "model.pt2")


def everything(folder):
    return {
        str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("command", WRITERS)
def test_a_model_or_a_layer_is_not_written_in_part_on_a_full_or_read_only_disk(
    write_to, small_disk, command
):
    words, filler = write_to(command, small_disk), small_disk / "filler"
    before = everything(small_disk)
    for left in (0, 8192):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - left)))
        result = run(*words)
        filler.unlink()
        require_one_error(result, 1, "space")
        assert everything(small_disk) == before, left
    remount = [shutil.which("mount"), "-o"]
    subprocess.run([*remount, "remount,ro", small_disk], check=True)
    result = run(*words)
    subprocess.run([*remount, "remount,rw", small_disk], check=True)
    require_one_error(result, 1, "permissions")
    assert everything(small_disk) == before


@pytest.mark.parametrize("command", ["suggest", "pack", "add", "plugin"])
def test_a_model_or_a_layer_is_old_or_new_whenever_its_command_is_killed(
    write_to, tmp_path, command
):
    folder = tmp_path / "written"
    folder.mkdir()
    words = write_to(command, folder)
    before = everything(folder)
    *killed, whole = outcomes_of(folder, words)
    assert whole["killed"] == 0
    assert killed
    after = whole["left"]
    for outcome in killed:
        for name, found in outcome["found"].items():
            if not any(part.startswith(".") or ".hyseg" in part for part in Path(name).parts):
                assert found in (before.get(name), after.get(name)), name
        assert outcome["mended"] == 0
        assert outcome["left"].keys() == after.keys()
    require_layers(folder / "project.gpkg")


def test_a_training_on_a_read_only_disk_is_one_error(scene_folder, small_disk):
    out = small_disk / "m.safetensors"
    words = train_arguments(scene_folder, out, **{"prior-steps": 1, "steps": 1})
    remount = [shutil.which("mount"), "-o"]
    subprocess.run([*remount, "remount,ro", small_disk], check=True)
    result = run(*words)
    subprocess.run([*remount, "remount,rw", small_disk], check=True)
    require_one_error(result, 1, "permissions")
    assert not list(small_disk.iterdir())
